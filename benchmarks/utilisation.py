"""Utilisation against size (claim C5): BERT shapes from 2 to 110 M parameters, here and on the named devices. Resumable.

python benchmarks/utilisation.py    # writes results/utilisation.md and .svg; cells are kept in runs/utilisation

Measured on this machine (ONNX Runtime, one thread, random weights), predicted for the devices, labelled as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from study import arguments, berts, calibrated, cell, devices, rows_of, time_model, write_page

from edgesmith.analyze.analysis import Question, ask, predict
from edgesmith.analyze.cost import parameters
from edgesmith.records import ZooModel
from edgesmith.report.facts import NONE, Table
from edgesmith.report.plots.svg import LIGHT, Plot, canvas, finish, log_ticks, name_axes, style
from edgesmith.targets import Target

LENGTHS = (16, 128)
PLOTTED = 128
SWEET_M = (15, 40)
"""Million parameters that the survey (arXiv:2601.03290) has the best utilisation at, 60 to 75 %."""


@dataclass(frozen=True)
class Used:
    """A shape that was timed.

    Attributes:
        peak: part of the measured peak that its MACs come to.
        roof: floor of the roofline over p50.
    """

    size: str
    millions: float
    length: int
    precision: str
    p50_ms: float
    n: int
    peak: float
    roof: float


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", nargs="+", default=list(berts()), metavar="LAYERS/WIDTH")
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    folder = asked.runs / "utilisation"
    models = {size: berts()[size] for size in asked.sizes}
    host = calibrated("onnxruntime", asked.runs / "latency_model")
    used = []
    for size, model in models.items():
        timed = cell(
            folder / f"{model.name}.json",
            time_model,
            model=model,
            runtime="onnxruntime",
            lengths=LENGTHS,
            rounds=asked.rounds,
        )
        used += [utilised(host, size, model, *row) for row in rows_of(timed)]
    predicted = {
        f"{target.name} {unit}, {precision}": [
            ask(model.shape, target, length=PLOTTED, unit=unit, precision=precision)
            for model in models.values()
        ]
        for target, unit, precision in devices()
    }
    with style():
        plots = [plot(used, models, predicted)]
    write_page(
        asked.results,
        "utilisation",
        "Utilisation against size",
        "Made by `python benchmarks/utilisation.py`. This machine: measured, p50, ONNX Runtime, one thread, batch 1. Devices: "
        "predicted, the most that the roofline allows; nothing ran there.",
        [measured_table(used, host), predicted_table(models, predicted)],
        plots,
    )


def utilised(host: Target, size: str, model: ZooModel, length: int, precision: str, sample: dict) -> Used:
    question = ask(model.shape, host, length=length, precision=precision, threads=1)
    peak = question.ceiling(precision).macs_per_s
    seconds = sample["p50"] / 1e3
    return Used(
        size=size,
        millions=parameters(model.shape) / 1e6,
        length=length,
        precision=precision,
        p50_ms=sample["p50"],
        n=sample["n"],
        peak=sum(one.macs for one in question.operators) / peak / seconds,
        roof=question.latency_ms(precision)[0] / sample["p50"],
    )


def measured_table(used: Sequence[Used], host: Target) -> Table:
    rates = host.unit().rates
    notes = [
        "peak: MACs over the highest rate that edgesmith targets calibrate measured ("
        + ", ".join(f"{each} {rates.peak(each, 1) / 1e9:.0f} GMAC/s" for each in rates.precisions)
        + f"), over p50; roofline: its floor over p50, with {rates.copy_bandwidth(1) / 1e9:.1f} GB/s.",
        *(f"the profile was measured on a noisy machine: {why}" for why in rates.warnings),
        *(sweet_spot(used, length, precision) for length in LENGTHS for precision in ("fp32", "int8")),
    ]
    return Table(
        title="This machine, measured",
        columns=("layers/width", "M", "tokens", "format", "p50 ms", "of peak", "of roofline", "n"),
        align="lrrlrrrr",
        rows=tuple(
            (
                one.size,
                f"{one.millions:.1f}",
                str(one.length),
                one.precision,
                f"{one.p50_ms:.3f}",
                f"{one.peak:.0%}",
                f"{one.roof:.0%}",
                str(one.n),
            )
            for one in used
        ),
        notes=tuple(notes),
    )


def sweet_spot(used: Sequence[Used], length: int, precision: str) -> str:
    """Where utilisation is best, beside the sizes that the survey names."""
    found = [one for one in used if (one.length, one.precision) == (length, precision)]
    best = max(found, key=lambda one: one.peak)
    inside = [one.peak for one in found if SWEET_M[0] <= one.millions <= SWEET_M[1]]
    between = f"{np.mean(inside):.0%}" if inside else "not measured"
    return (
        f"{precision}, {length} tokens: best at {best.millions:.1f} M, {best.peak:.0%} of the peak; mean of "
        f"{SWEET_M[0]}-{SWEET_M[1]} M: {between} (the survey: best there, 60 to 75 %)."
    )


def predicted_table(models: Mapping[str, ZooModel], predicted: Mapping[str, Sequence[Question]]) -> Table:
    return Table(
        title=f"Named devices, predicted at {PLOTTED} tokens: the most of the peak that memory leaves",
        columns=(
            "device",
            *(f"{size} ({parameters(model.shape) / 1e6:.1f} M)" for size, model in models.items()),
        ),
        align="l" + "r" * len(models),
        rows=tuple((name, *map(limit, questions)) for name, questions in predicted.items()),
        notes=(
            "in brackets the part of the floor that memory bandwidth limits. 100 %: computing limits every operator.",
            "devices whose peak or bandwidth is not published are left out.",
        ),
    )


def limit(question: Question) -> str:
    found = predict(question, question.unit_name, question.precisions[0])
    if found.utilisation is None or found.bandwidth_share is None:
        return NONE
    return f"{found.utilisation.value:.0%} ({found.bandwidth_share:.0%})"


def plot(
    used: Sequence[Used], models: Mapping[str, ZooModel], predicted: Mapping[str, Sequence[Question]]
) -> Plot:
    """Measured lines on top of predicted ones."""
    figure, axes = canvas(290, left=44, bottom=40, top=22)
    axes.set_xscale("log")
    axes.axvspan(*SWEET_M, color=LIGHT["faint"], linewidth=0)
    millions = [parameters(model.shape) / 1e6 for model in models.values()]
    for questions in predicted.values():
        found = [predict(one, one.unit_name, one.precisions[0]).utilisation for one in questions]
        axes.plot(
            millions, [100 * one.value if one else None for one in found], color=LIGHT["rest"], linewidth=0.8
        )
    for precision, role in (("fp32", "teacher"), ("int8", "artifact")):
        line = [one for one in used if (one.length, one.precision) == (PLOTTED, precision)]
        axes.plot(
            [one.millions for one in line],
            [100 * one.peak for one in line],
            "o-",
            color=LIGHT[role],
            markersize=6,
        )
    axes.set_ylim(0, 105)
    axes.grid(axis="y")
    log_ticks(axes.xaxis)
    name_axes(axes, x="million parameters", y="% of the peak")
    return finish(
        figure,
        name="utilisation",
        title=f"Utilisation at {PLOTTED} tokens",
        caption=(
            "Dots: measured on this machine, FP32 grey, INT8 blue. Thin lines: predicted for the named devices, the most that the "
            "roofline allows. Shaded: the survey's sweet spot."
        ),
        told="; ".join(
            f"{one.size} {one.millions:.1f} M {one.precision} {one.peak:.0%}"
            for one in used
            if one.length == PLOTTED
        ),
    )


if __name__ == "__main__":
    main()
