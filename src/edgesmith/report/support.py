"""The support matrix as tables: what each family becomes on each runtime, and what each runtime takes."""

from __future__ import annotations

from typing import get_args

from edgesmith.records import Task
from edgesmith.report.facts import NONE, Table
from edgesmith.targets import TASKS_ON, WEIGHT_DTYPES, Support, runtime_names, support_matrix


def matrix() -> Table:
    """Family x runtime x precision, with the reason for every gap under it."""
    cells = support_matrix()
    reasons = list(dict.fromkeys(cell.reason for cell in cells if cell.reason))
    rows: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        rows.setdefault((cell.family, cell.runtime), []).append(_cell(cell, reasons))
    return Table(
        title="Support",
        columns=("family", "runtime", *(precision.upper() for precision in WEIGHT_DTYPES)),
        align="l" * (2 + len(WEIGHT_DTYPES)),
        rows=tuple((*pair, *row) for pair, row in rows.items()),
        notes=(
            "A column says how linear layers are stored, a cell what they are multiplied in, or the number of the reason "
            "why not.",
            *(f"({number}) {reason}." for number, reason in enumerate(reasons, 1)),
        ),
    )


def tasks() -> Table:
    """Task x runtime."""
    names = runtime_names()
    return Table(
        title="Tasks",
        columns=("task", *names),
        align="l" * (1 + len(names)),
        rows=tuple(
            (task, *("yes" if task in TASKS_ON[name] else NONE for name in names)) for task in get_args(Task)
        ),
    )


def _cell(cell: Support, reasons: list[str]) -> str:
    return f"({1 + reasons.index(cell.reason)})" if cell.computes is None else cell.computes.upper()
