"""The precision plan: what each weight is stored in and how its layer computes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

WeightDtype = Literal["int4", "int8", "fp16", "fp32"]
Granularity = Literal["per_tensor", "per_channel"]
Activation = Literal["none", "dynamic_int8"]
LayerKind = Literal["linear", "embedding"]

BITS: dict[WeightDtype, int] = {"int4": 4, "int8": 8, "fp16": 16, "fp32": 32}
INTEGERS: tuple[WeightDtype, ...] = ("int4", "int8")


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """One weight's entry.

    Attributes:
        layer: module path in the PyTorch model, such as ``layers.0.attention.qkv``.
        kind: what the module is.
        weight: dtype of the stored weight.
        granularity: what shares one scale. ``per_channel`` means one scale an output channel of a linear layer,
            and one scale a row of an embedding table.
        activation: how the layer's input is quantized.
        sensitivity: mean KL divergence in nats to the reference outputs when only this layer is quantized: to `weight`,
            or, where that is a floating-point format, to INT8.
        reason: why, in words.
    """

    layer: str
    kind: LayerKind
    weight: WeightDtype
    granularity: Granularity = "per_channel"
    activation: Activation = "none"
    sensitivity: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every quantizable weight of a model, decided once, lowered by each exporter."""

    layers: tuple[LayerPlan, ...]
    version: int = 1

    def entry(self, layer: str) -> LayerPlan:
        return next(entry for entry in self.layers if entry.layer == layer)

    def counts(self) -> dict[str, int]:
        """Number of layers by weight dtype."""
        return dict(Counter(entry.weight for entry in self.layers))
