"""What every exporter hands back, and the proof that a file holds what its plan says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesmith.errors import ExportError
from edgesmith.records import Plan, Scheme, TensorSpec


@dataclass(frozen=True)
class Artifact:
    """An exported model.

    Attributes:
        path: its file; `edgesmith.records.model_files` names those beside it.
        stored: dtype that each planned layer's weight has in the file, read back from it.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    stored: dict[str, str]


def check_stored(path: Path, plan: Plan, stored: Mapping[str, str]) -> None:
    """Compares what was read back with the plan.

    Args:
        stored: layer -> dtype of its weight in the file.

    Raises:
        ExportError: the file does not hold what the plan says; every difference is named.
    """
    wrong = [
        f"{entry.layer} is {stored[entry.layer]}, planned {entry.weight}"
        for entry in plan.layers
        if stored[entry.layer] != entry.weight
    ]
    if wrong:
        raise ExportError(f"{path.name} does not hold what the plan says: {'; '.join(wrong)}.")


def check_schemes(path: Path, plan: Plan, stored: Mapping[str, Sequence[Scheme]]) -> dict[str, str]:
    """The same down to what shares a scale and how inputs arrive.

    Args:
        stored: layer -> its schemes in the file, one for all of its operators if nothing went wrong.

    Returns:
        Layer -> dtype of its weight.

    Raises:
        ExportError: the file does not hold what the plan says; every difference is named.
    """
    wrong = [
        f"{entry.layer} is {' and '.join(map(str, stored[entry.layer]))}, planned {entry.scheme}"
        for entry in plan.layers
        if not all(scheme.agrees_with(entry.scheme) for scheme in stored[entry.layer])
    ]
    if wrong:
        raise ExportError(f"{path.name} does not hold what the plan says: {'; '.join(wrong)}.")
    return {layer: schemes[0].weight for layer, schemes in stored.items()}
