"""What of a model hangs together, and what pruning did to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgesmith.records.coverage import TextCoverage

UnitKind = Literal["heads", "neurons", "layers", "hidden"]

PruningStage = Literal["before", "search", "rearrangement", "tuning", "embedding", "recovery"]

Schedule = Literal["none", "one-shot", "gradual"]
"""Whether what was cut is recovered: once, or after each of several cuts."""


@dataclass(frozen=True, kw_only=True)
class CoupledGroup:
    """Units of one kind in one place, each of which can be cut from everything that holds a part of it.

    Attributes:
        layer: from 0; None for what runs through all layers.
        units: how many.
        parameters, macs: of one unit; of hidden units, which share square matrices, the mean.
        slices: what is cut of which weight, in words.
    """

    kind: UnitKind
    layer: int | None
    units: int
    parameters: int
    macs: int
    slices: tuple[str, ...]

    @property
    def name(self) -> str:
        if self.layer is None:
            return self.kind
        return f"layer {self.layer}" + ("" if self.kind == "layers" else f" {self.kind}")


@dataclass(frozen=True, kw_only=True)
class CoupledModel:
    """The groups of a model.

    Attributes:
        tokens: of the input that MACs are counted for.
        parameters, macs: of the whole model.
    """

    model: str
    model_type: str
    tokens: int
    parameters: int
    macs: int
    groups: tuple[CoupledGroup, ...]


@dataclass(frozen=True, kw_only=True)
class KeptUnits:
    """What stays of a group.

    Attributes:
        indices: of the units that stay.
        scales: least and greatest factor that tuning gave to one of them; None where nothing was tuned.
    """

    name: str
    units: int
    indices: tuple[int, ...]
    scales: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """What `edgesmith prune` did.

    Attributes:
        folder: where the model lies.
        model_class: what opens it: a class of `transformers`, or of ours where shapes became irregular.
        quality: stage -> the metric's value on validation rows; stages that were left out are missing.
        agreement: the same of the share of validation rows with the answer of the model as it came.
        tokens: of the input that MACs are counted for.
        parameters_before, parameters_after: counted in the models' weights.
        wall_s: seconds of each stage.
        vocabulary, table: rows, and weights with those of a factorisation, of the word table before and after; None where it
            stays as it is.
        coverage: what that does to the validation rows; None where every token stays.
        epochs: of recovery.
        earlier: the cuts before the last, each recovered; in a gradual schedule.
        predicted_ms: latency on `target` before and after, in FP32; None where it was not limited. Nothing was timed.
    """

    model: str
    folder: str
    model_class: str
    metric: str
    validation_rows: int
    quality: dict[PruningStage, float]
    agreement: dict[PruningStage, float]
    kept: tuple[KeptUnits, ...]
    tokens: int
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int
    wall_s: dict[str, float]
    vocabulary: tuple[int, int] | None = None
    table: tuple[int, int] | None = None
    coverage: TextCoverage | None = None
    schedule: Schedule = "none"
    epochs: float = 0.0
    earlier: tuple[Pruning, ...] = ()
    predicted_ms: tuple[float, float] | None = None
    target: str | None = None
    schema_version: int = 1
