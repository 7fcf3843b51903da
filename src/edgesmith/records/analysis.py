"""What is predicted of a model on a device. Nothing here was measured on a model: rates may have been, and say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgesmith.records.measurement import Prediction

Bound = Literal["compute", "bandwidth", "cache", "unknown"]
"""What limits a layer; ``cache``: nothing is multiplied and nothing comes from memory."""


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One component of a model, counted, and its predicted times.

    Attributes:
        weight_bytes, activation_bytes: read, and read or written, by one inference in the table's precision.
        traffic_bytes: of these, what is predicted to come from memory or go there, because no cache holds it.
        intensity: multiply-accumulates for each byte of that traffic; None where there is none.
        floor_ms: precision -> predicted time at the unit's peak; None where the profile states too little.
        expected_ms: the same from measured kernel rates; only for precisions that were measured.
    """

    name: str
    macs: int
    weight_bytes: int
    activation_bytes: int
    traffic_bytes: int
    intensity: float | None
    bound: Bound
    floor_ms: dict[str, float | None]
    expected_ms: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class UnitPrediction:
    """A model on one unit of a device in one precision, batch 1.

    Attributes:
        threads: cores that compute; None where the unit has no such thing, or its number is not known.
        weight_bytes: stored, with scales; counted.
        floor: latency in ms at the unit's peak, which no runtime reaches; None where the profile states too little.
        expected: latency in ms from measured kernel rates; None where none were measured.
        utilisation: part of the peak that the expected latency uses, or, without one, the floor.
        energy: mJ at the upper end of the power envelope, for the expected latency or the floor.
        rate: most inferences a second, one after another.
        peak_memory: bytes of weights and activations.
        bandwidth_share: part of the floor that bandwidth limits.
        notes: what the prediction lacks.
    """

    unit: str
    precision: str
    threads: int | None
    weight_bytes: int
    floor: Prediction | None
    expected: Prediction | None
    utilisation: Prediction | None
    energy: Prediction | None
    rate: Prediction | None
    peak_memory: Prediction
    bandwidth_share: float | None
    notes: tuple[str, ...] = ()

    @property
    def latency(self) -> Prediction | None:
        """Expected where it is known, else the floor."""
        return self.expected or self.floor


@dataclass(frozen=True, kw_only=True)
class DeadlineLimit:
    """What meets a deadline, predicted.

    Attributes:
        basis: which latency it was solved for; by a floor, nothing larger is possible, and less may be.
        largest: longest sequence in tokens, or side of the largest square image in pixels; None where none meets it.
        is_most: it is as long as the model takes, or as large as was tried.
        meets: whether the input that was analysed does.
        rate: most inputs a second of the size analysed; None where it does not meet the deadline.
    """

    unit: str
    precision: str
    deadline_ms: float
    basis: Literal["floor", "expected"]
    unit_of_size: Literal["tokens", "pixels"]
    largest: int | None
    is_most: bool
    meets: bool
    rate: float | None


@dataclass(frozen=True, kw_only=True)
class MemoryStep:
    """Activations in memory while one operator runs, predicted.

    Attributes:
        live_bytes: what it reads and writes, and what waits meanwhile.
    """

    part: str
    operator: str
    live_bytes: int


@dataclass(frozen=True, kw_only=True)
class Roof:
    """A unit's limits in the precision of the table; None is not known.

    Attributes:
        macs_per_s: peak.
        bytes_per_s: memory bandwidth.
        source: where they are from.
    """

    macs_per_s: float | None
    bytes_per_s: float | None
    source: str


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Counts of a model, and what they predict for a device.

    Attributes:
        target, unit: None where no device was named that states anything.
        precision: that bytes, traffic and timeline of the table are for.
        tokens: length of the input.
        image_pixels: side of the image; None for texts.
        timeline: in the order of execution.
        notes: assumptions behind the figures.
    """

    model: str
    target: str
    unit: str
    precision: str
    tokens: int
    image_pixels: int | None
    parameters: int
    macs: int
    layers: tuple[LayerCost, ...]
    predictions: tuple[UnitPrediction, ...]
    roof: Roof
    timeline: tuple[MemoryStep, ...]
    deadlines: tuple[DeadlineLimit, ...] = ()
    notes: tuple[str, ...] = ()
    label: str = "predicted"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A model of the zoo in one precision, for a device and a latency.

    Attributes:
        quality: published of the pretrained model in FP32, not of what quantization leaves; None where none is.
        latency_ms: predicted; `basis` says how.
        meets: inside the latency asked for; None where nothing can be predicted.
        is_pareto: nothing else that meets is both as fast and as good, and better in one.
        reasons: for its place.
    """

    model: str
    precision: str
    unit: str
    quality: float | None
    parameters: int
    weight_bytes: int
    latency_ms: float | None
    basis: Literal["floor", "expected", "none"]
    energy_mj: float | None
    meets: bool | None
    is_pareto: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Choices, the best first.

    Attributes:
        metric: what `Choice.quality` is.
        tokens: length that latencies are predicted for; None for images, whose models have their own.
    """

    task: str
    target: str
    unit: str
    max_latency_ms: float
    tokens: int | None
    metric: str
    choices: tuple[Choice, ...]
    notes: tuple[str, ...] = ()
    label: str = "predicted"

    @property
    def best(self) -> Choice | None:
        """The first that meets the latency; None where none does."""
        return next((choice for choice in self.choices if choice.meets), None)
