"""What was measured at the end: accuracies with the interval, latencies with their tails."""

from __future__ import annotations

from functools import partial

from edgesmith.records import CORRELATIONS
from edgesmith.report.facts import LINEAR_BASELINES, interval
from edgesmith.report.load import Run
from edgesmith.report.plots.rows import Row, draw_rows, row, tell
from edgesmith.report.plots.svg import LIGHT, Plot, finish, mark_limit
from edgesmith.report.units import milliseconds, points, score

_TIMED = {
    "artifact": ("artifact", "artifact"),
    "int8": ("teacher INT8", "int8"),
    "fp32": ("teacher FP32", "teacher"),
    "eager": ("teacher PyTorch", "rest"),
}
"""Sample -> name and colour."""


def accuracy(run: Run) -> Plot:
    """The metric of all models, with the interval of the drop beside the teacher, and the budget."""
    verdict, max_drop = run.verdict, run.recipe.budget.max_drop
    low, high = (100 * (verdict.teacher - end) for end in reversed(verdict.drop_ci95))
    text = partial(score, metric=verdict.metric)
    rows = [
        row("artifact", verdict.artifact, text, "artifact"),
        row("teacher FP32", verdict.teacher, text, "teacher"),
        row("teacher INT8", verdict.int8_baseline, text, "int8"),
        row(LINEAR_BASELINES[verdict.task][0], verdict.bow_baseline, text, "rest"),
    ]
    unit = "x 100" if verdict.metric in CORRELATIONS else "%"
    figure, axes = draw_rows(rows, f"{verdict.metric} on the test rows, {unit}")
    limit = 100 * (verdict.teacher - max_drop)
    mark_limit(axes.axvline, limit)
    axes.axvline(100 * verdict.teacher, color=LIGHT["teacher"], linewidth=1)
    axes.plot([low, high], [0, 0], color=LIGHT["artifact"], linewidth=8, alpha=0.28, solid_capstyle="butt")
    for place, entry in enumerate(rows):
        axes.plot(100 * entry.values[0], place, "o", color=entry.colour, markersize=8)
    drawn = [low, high, limit, *(100 * entry.values[0] for entry in rows)]
    margin = 0.06 * (max(drawn) - min(drawn) or 1)
    axes.set_xlim(min(drawn) - margin, max(drawn) + margin)
    return finish(
        figure,
        name="accuracy",
        title=verdict.metric.capitalize(),
        caption=(
            f"Band: the {interval(verdict)}, counted from the teacher (line). "
            f"Dashed: the budget, {points(max_drop)} below the teacher."
        ),
        told=f"{tell(rows)}; {interval(verdict)}",
    )


def latency(run: Run) -> Plot:
    """From p50 over p90 to p99 of each that was timed."""
    rows, limit = [], run.recipe.budget.max_latency_ms
    for key, (name, role) in _TIMED.items():
        sample = run.latencies.samples[key]
        values = (sample.p50, sample.p90, sample.p99)
        text = " · ".join(milliseconds(value).removesuffix(" ms") for value in values) + " ms"
        rows.append(Row(name=name, text=text, values=values, colour=LIGHT[role]))
    figure, axes = draw_rows(rows, "ms for one input")
    for place, entry in enumerate(rows):
        p50, p90, p99 = entry.values
        axes.plot([p50, p99], [place] * 2, color=entry.colour, linewidth=3, alpha=0.35)
        axes.plot([p90, p99], [place] * 2, "|", color=entry.colour, markersize=9, markeredgewidth=2)
        axes.plot(p50, place, "o", color=entry.colour, markersize=8)
    axes.set_xlim(0, 1.04 * max([entry.values[2] for entry in rows] + ([limit] if limit else [])))
    if limit:
        mark_limit(axes.axvline, limit)
    return finish(
        figure,
        name="latency",
        title="Latency: p50 · p90 · p99",
        caption=(
            "Dot: p50. Strokes: p90 and p99. All were timed together, in turns, on the same inputs."
            + (f" Dashed: the budget for p50, {milliseconds(limit)}." if limit else "")
        ),
        told=tell(rows),
    )
