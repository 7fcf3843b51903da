"""The precision plan: what each weight is stored in and how its layer computes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

WeightDtype = Literal["int4", "int8", "fp16", "fp32"]
Granularity = Literal["per_tensor", "per_channel", "per_block"]
Activation = Literal["none", "dynamic_int8", "static_int8"]
LayerKind = Literal["linear", "embedding"]

BITS: dict[WeightDtype, int] = {"int4": 4, "int8": 8, "fp16": 16, "fp32": 32}
INTEGERS: tuple[WeightDtype, ...] = ("int4", "int8")
BLOCK = 32
"""Inputs of a channel, or values of a row, that share a scale ``per_block``."""


@dataclass(frozen=True)
class Scheme:
    """How a weight is stored and its layer computes. The granularity of a floating-point weight tells nothing."""

    weight: WeightDtype
    granularity: Granularity = "per_channel"
    activation: Activation = "none"

    @property
    def stored(self) -> str:
        """Such as ``int8 per_channel``: the weight alone."""
        return f"{self.weight} {self.granularity}"

    @property
    def arriving(self) -> str:
        """Such as ``static`` or ``dynamic per_block``: the inputs alone; of a block of a weight, inputs have blocks too."""
        name = self.activation.removesuffix("_int8")
        return f"{name} per_block" if self.granularity == "per_block" else name

    @property
    def is_integer(self) -> bool:
        return self.weight in INTEGERS

    def agrees_with(self, other: Scheme) -> bool:
        """Whether both are the same, but for the granularity of a floating-point weight."""
        return self == other or (not self.is_integer and self.weight == other.weight)

    def __str__(self) -> str:
        """Such as ``int8 static`` or ``int4 per_block dynamic``."""
        if not self.is_integer:
            return self.weight
        words = (
            self.weight,
            "" if self.granularity == "per_channel" else self.granularity,
            "" if self.activation == "none" else self.activation.removesuffix("_int8"),
        )
        return " ".join(filter(None, words))


_SMALLEST = 2.0**-126
"""Normal number of FP32: the scale of what is always 0."""


def uint8_steps(value_range: tuple[float, float]) -> tuple[float, int]:
    """Scale and zero point under which UINT8 holds a range and 0 exactly."""
    low, high = min(value_range[0], 0.0), max(value_range[1], 0.0)
    scale = max((high - low) / 255, _SMALLEST)
    return scale, round(-low / scale)


def int8_step(value_range: tuple[float, float]) -> float:
    """Scale under which INT8 with zero point 0 holds a range: its farther end becomes 127 or -127."""
    return max(*map(abs, value_range), 127 * _SMALLEST) / 127


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """One weight's entry.

    Attributes:
        layer: module path in the PyTorch model, such as ``layers.0.attention.qkv``.
        kind: what the module is.
        weight: dtype of the stored weight.
        granularity: what shares one scale. ``per_channel`` means one scale an output channel of a linear layer,
            and one scale a row of an embedding table; ``per_block``, one scale for `BLOCK` values of it.
        activation: how the layer's input is quantized.
        input_range: lowest and highest input that a static activation tells apart; None for any other.
        output_range: the same of the layer's outputs, where a runtime's static layers give INT8; None elsewhere.
        sensitivity: mean KL divergence in nats to the reference outputs when only this layer is quantized: to `weight`,
            or, where that is a floating-point format, to INT8.
        reason: why, in words.
    """

    layer: str
    kind: LayerKind
    weight: WeightDtype
    granularity: Granularity = "per_channel"
    activation: Activation = "none"
    input_range: tuple[float, float] | None = None
    output_range: tuple[float, float] | None = None
    sensitivity: float | None = None
    reason: str = ""

    @property
    def scheme(self) -> Scheme:
        return Scheme(self.weight, self.granularity, self.activation)


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
