"""The structures that were considered: what each lost, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from edgesmith.records import Candidate
from edgesmith.report.load import Run, export_step
from edgesmith.report.plots.svg import LIGHT, Plot, canvas, finish, mark_limit, name_axes
from edgesmith.report.units import megabytes, milliseconds, points

_NAME_WIDTH, _NAME_HEIGHT = 44, 26
"""Units that a name and its mark take."""


@dataclass(frozen=True, kw_only=True)
class _Point:
    """A candidate after a trial or when built.

    Attributes:
        x: size or latency.
        drop: in points; None where the candidate was not tried.
        marker: a circle, or a diamond where the latency on the axis was predicted.
    """

    x: float
    drop: float | None
    is_built: bool = False
    marker: str = "o"


def by_size(run: Run) -> Plot | None:
    """Drop against size: predicted until a candidate was built, measured then."""
    return _scatter(
        run,
        name="candidates-size",
        title="Candidates: drop and size",
        axis="size in MB: predicted (outline), measured (filled)",
        cost=lambda row: row.size_bytes / 1e6,
        built_cost=lambda row: (
            run.steps[export_step(row.name, run.verdict.runtime)].facts["model_bytes"] / 1e6
        ),
    )


def by_latency(run: Run) -> Plot | None:
    """Drop against the latency of the structure."""
    origins = {"measured" if row.latency_is_measured else "predicted" for row in run.candidates}
    return _scatter(
        run,
        name="candidates-latency",
        title="Candidates: drop and latency",
        axis=f"p50 in ms, with untrained weights: {' or '.join(sorted(origins))}",
        cost=lambda row: row.latency_ms,
        built_cost=lambda row: row.latency_ms,
        marker=lambda row: "o" if row.latency_is_measured else "D",
        legend=" Diamond: latency predicted." if "predicted" in origins else "",
    )


def _scatter(
    run: Run,
    *,
    name: str,
    title: str,
    axis: str,
    cost: Callable[[Candidate], float],
    built_cost: Callable[[Candidate], float],
    marker: Callable[[Candidate], str] = lambda row: "o",
    legend: str = "",
) -> Plot | None:
    """An outline after the trial, a filled mark when built, and a cross at the foot for what was not tried."""
    if not run.candidates:
        return None
    marks = {row.name: _points(row, cost, built_cost, marker(row)) for row in run.candidates}
    limit = 100 * run.recipe.budget.max_drop
    drops = [point.drop for drawn in marks.values() for point in drawn if point.drop is not None]
    low, high = min([*drops, 0.0]), max([*drops, limit])
    foot = low - 0.24 * ((high - low) or 1)
    figure, axes = canvas(260, left=48, bottom=40, top=22)
    axes.set_ylim(foot - 0.09 * (high - foot), high + 0.14 * (high - foot))
    axes.set_xlim(0, 1.1 * max(point.x for drawn in marks.values() for point in drawn))
    _label_drops(axes, low, high, foot)
    name_axes(axes, x=axis, y="drop on validation rows, points")
    mark_limit(axes.axhline, limit)
    names = _Names(axes)
    for row in sorted(run.candidates, key=lambda row: marks[row.name][-1].x):
        _draw(axes, row, marks[row.name], foot, names)
    return finish(
        figure,
        name=name,
        title=title,
        caption=(
            "Outline: after a short trial. Filled: built in full. Cross, at the foot: not tried. Blue: chosen. "
            f"Dashed: the budget, {points(run.recipe.budget.max_drop)}.{legend}"
        ),
        told="; ".join(map(_tell, run.candidates)),
    )


def _points(
    row: Candidate,
    cost: Callable[[Candidate], float],
    built_cost: Callable[[Candidate], float],
    marker: str,
) -> list[_Point]:
    """After the trial, when built, or the one point of a candidate that was not tried."""
    found = []
    if row.trial_drop is not None:
        found.append(_Point(x=cost(row), drop=100 * row.trial_drop, marker=marker))
    if row.final_drop is not None:
        found.append(_Point(x=built_cost(row), drop=100 * row.final_drop, is_built=True, marker=marker))
    return found or [_Point(x=cost(row), drop=None)]


def _label_drops(axes: Axes, low: float, high: float, foot: float) -> None:
    """Numbers where drops can be, and a word at the foot."""
    ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    for tick in ticks:
        axes.axhline(tick, color=LIGHT["line"], linewidth=1)
    axes.set_yticks([*ticks, foot], [*(f"{tick:g}" for tick in ticks), "not tried"])


class _Names:
    """Puts names over their marks, and under them where the name before is too near."""

    def __init__(self, axes: Axes) -> None:
        self._axes, self._before, self._was_above = axes, (-inf, -inf), False

    def put(self, name: str, place: tuple[float, float], *, above: bool, **look: Any) -> None:
        x, y = self._axes.transData.transform(place)
        is_near = x - self._before[0] < _NAME_WIDTH and abs(y - self._before[1]) < _NAME_HEIGHT
        above = above if not is_near else not self._was_above
        self._before, self._was_above = (x, y), above
        offset = (0, 9 if above else -16)
        self._axes.annotate(
            name, place, xytext=offset, textcoords="offset points", ha="center", size=10, **look
        )


def _draw(axes: Axes, row: Candidate, drawn: list[_Point], foot: float, names: _Names) -> None:
    """The marks of one candidate, joined, and its name at the last."""
    colour = LIGHT["artifact"] if row.chosen else LIGHT["teacher"]
    places = [(point.x, foot if point.drop is None else point.drop) for point in drawn]
    axes.plot(*zip(*places, strict=True), color=colour, linewidth=1, alpha=0.6)
    for point, place in zip(drawn, places, strict=True):
        if point.drop is None:
            axes.plot(*place, "x", markersize=6, color=LIGHT["rest"], markeredgewidth=1.5)
        else:
            fill = colour if point.is_built else LIGHT["surface"]
            axes.plot(
                *place, point.marker, markersize=8, color=fill, markeredgecolor=colour, markeredgewidth=1.5
            )
    names.put(
        row.name,
        places[-1],
        above=places[-1][1] >= places[0][1],
        color=colour if row.chosen else LIGHT["muted"],
        weight="bold" if row.chosen else "normal",
    )


def _tell(row: Candidate) -> str:
    drop = "not tried" if row.trial_drop is None else f"drop {points(row.trial_drop)} after a trial"
    built = "" if row.final_drop is None else f", {points(row.final_drop)} when built"
    origin = "measured" if row.latency_is_measured else "predicted"
    return (
        f"{row.name}{' (chosen)' if row.chosen else ''} {drop}{built}, {megabytes(row.size_bytes)} predicted, "
        f"{milliseconds(row.latency_ms)} {origin}"
    )
