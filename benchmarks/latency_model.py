"""Predicted against measured p50 on this machine, of models that the table of operators has not seen. Resumable.

python benchmarks/latency_model.py      # writes results/latency_model.md and .svg; cells are kept in runs/latency_model

Ten models with random weights, FP32 and INT8, ONNX Runtime and LiteRT, batch 1, one thread.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr
from study import arguments, calibrated, cell, find, lengths_of, rows_of, time_model, write_page

from edgesmith.analyze.analysis import ask
from edgesmith.analyze.operators import is_of_images
from edgesmith.records import ZOO
from edgesmith.report.facts import Table
from edgesmith.report.plots.svg import LIGHT, Plot, canvas, finish, log_ticks, name_axes, style
from edgesmith.targets import Target

RUNTIMES = ("onnxruntime", "litert")
LENGTHS = (32, 128)
MODELS = (*ZOO, "deit-tiny", "deit-small", "dinov2-small", "deit-base")
MOST_ERROR, LEAST_CORRELATION = 0.2, 0.95
_MARKERS = {"fp32": "o", "int8": "D"}
_COLOURS = {"onnxruntime": "artifact", "litert": "ffn"}


@dataclass(frozen=True)
class Point:
    """A model in a precision at a length on a runtime: p50 in milliseconds."""

    runtime: str
    model: str
    length: int
    precision: str
    predicted_ms: float
    measured_ms: float
    n: int

    @property
    def error(self) -> float:
        """Relative to what was measured."""
        return self.predicted_ms / self.measured_ms - 1


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="NAME")
    parser.add_argument("--runtimes", nargs="+", default=RUNTIMES, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    folder, points, notes, failed = asked.runs / "latency_model", [], [], []
    for runtime in asked.runtimes:
        target = calibrated(runtime, folder)
        notes += [
            f"{runtime}: the table was measured on a noisy machine: {why}"
            for why in target.unit().rates.warnings
        ]
        for name in asked.models:
            model = find(name)
            lengths = lengths_of(model, LENGTHS)
            cells = cell(
                folder / f"{runtime}-{name}.json",
                time_model,
                model=model,
                runtime=runtime,
                lengths=lengths,
                rounds=asked.rounds,
            )
            points += compared(target, runtime, name, cells)
            if "failed" in cells:
                failed.append(f"{name} on {runtime}: not measured, {cells['failed']}")
            notes += [
                f"{name} on {runtime}, {length} tokens: the timed run had {samples['cpu_share']:.0%} of a core"
                for length, samples in cells.items()
                if length != "failed" and samples["cpu_share"] < 0.9
            ]
    if not points:
        raise SystemExit("\n".join(failed))
    with style():
        plots = [plot(points)]
    write_page(
        asked.results,
        "latency_model",
        "The latency model against the clock",
        "Made by `python benchmarks/latency_model.py`. Predicted: expected latency from a table of operators that "
        "`edgesmith targets calibrate` measured; no model is in it. Measured: p50, batch 1, one thread, random weights.",
        [summary(points, [*failed, *notes]), details(points)],
        plots,
    )
    error, rank = mape(points), correlation(points)
    return 0 if error <= MOST_ERROR and rank >= LEAST_CORRELATION and not failed else 1


def compared(target: Target, runtime: str, name: str, cells: dict[str, object]) -> list[Point]:
    """What was measured of a model beside what the profile predicts."""
    shape, points = find(name).shape, []
    for length, precision, sample in rows_of(cells):
        tokens = None if is_of_images(shape) else length
        question = ask(shape, target, length=tokens, precision=precision, threads=1)
        predicted = question.latency_ms(precision)[1]
        points.append(Point(runtime, name, length, precision, predicted, sample["p50"], sample["n"]))
    return points


def mape(points: Sequence[Point]) -> float:
    return float(np.mean([abs(one.error) for one in points]))


def correlation(points: Sequence[Point]) -> float:
    """Spearman's, of ranks; 1 where there are too few to be ranked."""
    if len(points) < 3:
        return 1.0
    ranks = spearmanr([one.predicted_ms for one in points], [one.measured_ms for one in points])
    return float(ranks.statistic)


def summary(points: Sequence[Point], notes: Sequence[str]) -> Table:
    """Errors by runtime and precision, and of all."""
    groups = {"all": points}
    for runtime in dict.fromkeys(one.runtime for one in points):
        groups[runtime] = [one for one in points if one.runtime == runtime]
        for precision in _MARKERS:
            groups[f"{runtime}, {precision}"] = [one for one in groups[runtime] if one.precision == precision]
    return Table(
        title=f"MAPE {mape(points):.1%}, rank correlation {correlation(points):.3f}",
        columns=("of", "cells", "MAPE", "mean error", "worst", "rank correlation"),
        align="lrrrrr",
        rows=tuple(
            (
                name,
                str(len(found)),
                f"{mape(found):.1%}",
                f"{np.mean([one.error for one in found]):+.1%}",
                f"{max((one.error for one in found), key=abs):+.1%}",
                f"{correlation(found):.3f}",
            )
            for name, found in groups.items()
            if found
        ),
        notes=(
            f"asked for: MAPE at most {MOST_ERROR:.0%}, correlation at least {LEAST_CORRELATION}.",
            *notes,
        ),
    )


def details(points: Sequence[Point]) -> Table:
    return Table(
        title="Cells",
        columns=("runtime", "model", "tokens", "format", "predicted ms", "measured ms", "error", "n"),
        align="llrlrrrr",
        rows=tuple(
            (
                one.runtime,
                one.model,
                str(one.length),
                one.precision,
                f"{one.predicted_ms:.2f}",
                f"{one.measured_ms:.2f}",
                f"{one.error:+.0%}",
                str(one.n),
            )
            for one in points
        ),
    )


def plot(points: Sequence[Point]) -> Plot:
    """Each cell, and the line of a right prediction."""
    figure, axes = canvas(300, left=46, bottom=40, top=22)
    axes.set_xscale("log")
    axes.set_yscale("log")
    ends = [value for one in points for value in (one.predicted_ms, one.measured_ms)]
    low, high = min(ends) / 1.5, max(ends) * 1.5
    axes.plot([low, high], [low, high], color=LIGHT["line"], linewidth=1)
    for one in points:
        axes.plot(
            one.measured_ms, one.predicted_ms, _MARKERS[one.precision], color=LIGHT[_COLOURS[one.runtime]],
            markersize=6, alpha=0.8,
        )  # fmt: skip
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.grid()
    log_ticks(axes.xaxis)
    log_ticks(axes.yaxis)
    name_axes(axes, x="measured p50 in ms", y="predicted ms")
    return finish(
        figure,
        name="latency_model",
        title="Predicted against measured latency",
        caption="Blue: ONNX Runtime, orange: LiteRT; circle: FP32, diamond: INT8. Line: predicted as measured.",
        told="; ".join(
            f"{one.runtime} {one.model} {one.precision} {one.length} tokens: predicted {one.predicted_ms:.3g}, measured "
            f"{one.measured_ms:.3g} ms"
            for one in points
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
