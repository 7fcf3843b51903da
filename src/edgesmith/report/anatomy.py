"""Bytes by component, before and after: counted from the tensors that the run has left, never estimated."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

from edgesmith.records.plan import BITS
from edgesmith.report.facts import Table
from edgesmith.report.load import Run
from edgesmith.report.units import megabytes, times

WORDS, POSITIONS, ATTENTION, FFN, HEAD = "word embeddings", "other embeddings", "attention", "FFN", "head"
REST = "scales, graph, names"
COMPONENTS = (WORDS, POSITIONS, ATTENTION, FFN, HEAD, REST)


@dataclass(frozen=True, kw_only=True)
class Component:
    """Bytes of one component in the teacher's FP32 file and in the artifact's file."""

    name: str
    teacher_bytes: int
    artifact_bytes: int


def components(run: Run) -> list[Component]:
    """The components in order; they add up to both files.

    Empty where the pruned model was removed from the run, and where a file is smaller than its tensors together, so
    that they cannot be what it holds.
    """
    if not run.tensors:
        return []
    teacher = Counter[str]()
    for name, parameters in run.teacher_parts.items():
        teacher[_of_part(name)] += BITS["fp32"] * parameters // 8
    artifact = Counter[str]()
    for name, shape in run.tensors.items():
        artifact[_of_tensor(name)] += _bits(run, name) * prod(shape) // 8
    teacher[REST] = run.verdict.baseline_size_bytes - teacher.total()
    artifact[REST] = run.verdict.model_size_bytes - artifact.total()
    if min(teacher[REST], artifact[REST]) < 0:
        return []
    return [
        Component(name=name, teacher_bytes=teacher[name], artifact_bytes=artifact[name])
        for name in COMPONENTS
        if teacher[name] or artifact[name]
    ]


def _of_part(part: str) -> str:
    """Component of a part of the analysis, such as ``layer 0 attention``."""
    if part.startswith("layer "):
        return part.split()[-1]
    return part if part in COMPONENTS else POSITIONS


def _of_tensor(name: str) -> str:
    """Component of a weight of the compressed model, such as ``layers.0.ffn.output.weight``."""
    if name.startswith(("embeddings.word.", "embeddings.projection.")):
        return WORDS
    if name.startswith("embeddings."):
        return POSITIONS
    if name.startswith("layers."):
        return ATTENTION if name.split(".")[2].startswith("attention") else FFN
    return HEAD


def _bits(run: Run, tensor: str) -> int:
    """Of an element; what the plan does not name (biases, norms) stays in FP32."""
    planned = {f"{entry.layer}.weight": entry.weight for entry in (run.plan.layers if run.plan else ())}
    return BITS[planned.get(tensor, "fp32")]


def anatomy(run: Run) -> Table:
    """Where the bytes are."""
    found = components(run)
    whole = Component(
        name="the whole file",
        teacher_bytes=run.verdict.baseline_size_bytes,
        artifact_bytes=run.verdict.model_size_bytes,
    )
    rows = tuple(
        (
            component.name,
            megabytes(component.teacher_bytes),
            megabytes(component.artifact_bytes),
            times(component.teacher_bytes / component.artifact_bytes),
        )
        for component in (*found, whole)
        if component.artifact_bytes > 0
    )
    return Table(
        title="Where the bytes are",
        columns=("component", "teacher", "artifact", "smaller by"),
        align="lrrr",
        rows=rows if found else (),
        notes=(
            "Counted: elements of each tensor x the width it is stored in (the teacher in FP32, the artifact as its "
            f"precision plan says). {REST}: what then remains of the measured file.",
        ),
    )
