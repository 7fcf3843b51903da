"""What works with what: family x runtime x precision, read off the capability tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesmith.records import TOKEN_TASKS, Task
from edgesmith.records.plan import WeightDtype
from edgesmith.targets.capabilities import CAPABILITIES, TASKS_ON, runtime_names

WEIGHT_DTYPES: tuple[WeightDtype, ...] = ("fp32", "fp16", "int8", "int4")

_TEXTS: tuple[Task, ...] = ("text-classification", "text-regression", *TOKEN_TASKS)
_IMAGES: tuple[Task, ...] = ("image-classification",)

FAMILIES: dict[str, tuple[Task, ...]] = {
    "bert": _TEXTS,
    "distilbert": _TEXTS,
    "mobilebert": (),
    "vit": _IMAGES,
    "deit": _IMAGES,
    "dinov2": _IMAGES,
}
"""Family -> tasks that `compress` takes its models for."""


@dataclass(frozen=True, kw_only=True)
class Support:
    """One cell of the matrix.

    Attributes:
        computes: number format in which linear layers stored so are multiplied; None where the three do not go together.
        reason: why they do not, and what would work.
    """

    family: str
    runtime: str
    precision: WeightDtype
    computes: WeightDtype | None
    reason: str = ""


def support(family: str, runtime: str, precision: WeightDtype) -> Support:
    """Whether `compress` makes an artifact of a family for a runtime with linear layers in a precision."""
    reason = _obstacle(FAMILIES[family], runtime, precision)
    computes = None if reason else _computes(runtime)[precision]
    return Support(family=family, runtime=runtime, precision=precision, computes=computes, reason=reason)


def support_matrix() -> list[Support]:
    """Every cell, by family, then runtime, then precision."""
    return [
        support(family, runtime, precision)
        for family in FAMILIES
        for runtime in runtime_names()
        for precision in WEIGHT_DTYPES
    ]


def _obstacle(tasks: tuple[Task, ...], runtime: str, precision: WeightDtype) -> str:
    """Why not, and what would work; empty where it does."""
    if not tasks:
        return "no compact form: prune it with edgesmith prune, or time it whole with edgesmith compare"
    if not {*tasks} & {*TASKS_ON[runtime]}:
        others = [name for name in runtime_names() if {*tasks} & {*TASKS_ON[name]}]
        return (
            f"{runtime} takes {', '.join(TASKS_ON[runtime])}; for {', '.join(tasks)} take {_either(others)}"
        )
    if precision not in _computes(runtime):
        others = [name for name in runtime_names() if precision in _computes(name)]
        here = [known.upper() for known in WEIGHT_DTYPES if known in _computes(runtime)]
        return f"nothing is written in {precision.upper()} for {runtime}: store {_either(here)}, or take {_either(others)}"
    return ""


def _computes(runtime: str) -> dict[WeightDtype, WeightDtype]:
    """What the runtime stores a linear layer in -> what it multiplies it in."""
    return {
        row.weight: row.computes for row in CAPABILITIES if (row.runtime, row.kind) == (runtime, "linear")
    }


def _either(names: Sequence[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
