"""Parameters, multiply-accumulates and bytes of an encoder, counted from its shape."""

from __future__ import annotations

from dataclasses import dataclass

from edgesmith.analyze.operators import Operator, Shape, operators
from edgesmith.records import EncoderShape

GRAPH_BYTES = 9_000
GRAPH_BYTES_PER_LAYER = 11_000
"""Nodes and names of an ONNX file with INT8 linear layers: 42 kB at 3 layers, 75 kB at 6, measured."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One component of an encoder.

    Attributes:
        matrix: elements of its weight matrices, which quantization shrinks.
        channels: output channels (or table rows), each with a scale of its own in INT8.
        vector: elements of biases, norms and small tables, which stay in FP32.
        macs: for one input.
    """

    name: str
    matrix: int
    channels: int
    vector: int
    macs: int

    @property
    def parameters(self) -> int:
        return self.matrix + self.vector

    @property
    def int8_bytes(self) -> int:
        """One byte an element; a scale and a zero point a channel; the vectors in FP32."""
        return self.matrix + 5 * self.channels + 4 * self.vector


def count(shape: Shape, tokens: int) -> list[Part]:
    """The parts of an encoder with its head, each the sum of its `operators`.

    Args:
        tokens: length of the input the MACs are for; `positions` of an image. Every layer is counted over all tokens.
    """
    parts: dict[str, list[Operator]] = {}
    for operator in operators(shape, tokens):
        parts.setdefault(operator.part, []).append(operator)
    return [
        Part(
            name=name,
            matrix=sum(one.matrix for one in found),
            channels=sum(one.channels for one in found),
            vector=sum(one.vector for one in found),
            macs=sum(one.macs for one in found),
        )
        for name, found in parts.items()
    ]


def parameters(shape: Shape) -> int:
    return sum(part.parameters for part in count(shape, 1))


def macs(shape: Shape, tokens: int) -> int:
    return sum(part.macs for part in count(shape, tokens))


def int8_file_bytes(shape: EncoderShape) -> int:
    """Predicted bytes of the ONNX file with every matrix in INT8."""
    return (
        sum(part.int8_bytes for part in count(shape, 1)) + GRAPH_BYTES + GRAPH_BYTES_PER_LAYER * shape.depth
    )
