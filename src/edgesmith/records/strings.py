"""Names in a graph that takes a text and gives its label."""

from __future__ import annotations

INPUT = "text"
OUTPUTS = ("label", "probabilities", "logits")
REFUSAL = "refused: the text has a NUL character or is not valid UTF-8"
"""The node that fails on a text that must not be read; ONNX Runtime's error says its name."""
