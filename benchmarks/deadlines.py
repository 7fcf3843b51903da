"""Real-time boundaries (claim C9), and the 2-5 W of claim C1: predicted for every device whose figures are published.

python benchmarks/deadlines.py      # writes results/deadlines.md and .svg

The largest BERT shape by deadline, and energy by inference. What `benchmarks/utilisation.py` measured here stands beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study import SIZES, arguments, berts, devices, found_in, rows_of, write_page

from edgesmith.analyze.analysis import ask, predict
from edgesmith.analyze.cost import parameters
from edgesmith.analyze.recommend import BEST_UTILISATION
from edgesmith.records.analysis import UnitPrediction
from edgesmith.report.facts import NONE, Table
from edgesmith.report.plots.svg import LIGHT, Plot, canvas, finish, log_ticks, style
from edgesmith.targets import Target, load_target, shipped_names

DEADLINES_MS = (1, 5, 10, 33, 100)
PLOTTED_MS = 33
BERTS = berts((*SIZES, (24, 1024)))
TOKENS = 128
ENVELOPE_W = (2, 5)


@dataclass(frozen=True)
class Platform:
    """A unit of a device, with a prediction for each shape, the smallest first."""

    target: Target
    unit: str
    precision: str
    predictions: dict[str, UnitPrediction]

    @property
    def name(self) -> str:
        return f"{self.target.name} {self.unit}, {self.precision}"

    def largest(self, deadline_ms: float) -> str | None:
        """The largest shape that answers in time at the best utilisation of the roofline that is reported."""
        meeting = [
            size
            for size, one in self.predictions.items()
            if one.floor and one.floor.value <= BEST_UTILISATION * deadline_ms
        ]
        return meeting[-1] if meeting else None


def main() -> None:
    asked = arguments(__doc__).parse_args()
    found = [platform(*device) for device in devices()]
    with style():
        plots = [plot(found)]
    write_page(
        asked.results,
        "deadlines",
        "Real-time boundaries",
        f"Made by `python benchmarks/deadlines.py`. **Predicted**, batch 1, {TOKENS} tokens: no device but this machine was "
        "measured.",
        [boundaries(found, asked.runs / "utilisation"), energies(found), envelope()],
        plots,
    )


def millions(size: str) -> float:
    return parameters(BERTS[size].shape) / 1e6


def platform(target: Target, unit: str, precision: str) -> Platform:
    predictions = {}
    for size, model in sorted(BERTS.items(), key=lambda item: millions(item[0])):
        question = ask(model.shape, target, length=TOKENS, unit=unit, precision=precision)
        predictions[size] = predict(question, unit, precision)
    return Platform(target, unit, precision, predictions)


def boundaries(found: Sequence[Platform], cells: Path) -> Table:
    rows = [(one.name, "predicted", *(told(one.largest(each)) for each in DEADLINES_MS)) for one in found]
    here = [
        (
            f"this machine, {precision}",
            "measured",
            *(told(measured(cells, precision, each)) for each in DEADLINES_MS),
        )
        for precision in ("fp32", "int8")
        if cells.is_dir()
    ]
    return Table(
        title="The largest BERT by deadline",
        columns=("device", "", *(f"{each} ms" for each in DEADLINES_MS)),
        align="ll" + "l" * len(DEADLINES_MS),
        rows=(*rows, *here),
        notes=(
            f"layers/width and million parameters, of {len(BERTS)} shapes. Predicted: floor at most {BEST_UTILISATION:.0%} of "
            "the deadline, the best utilisation that the survey reports; a runtime that is worse meets less.",
            "measured: p50, ONNX Runtime, one thread (benchmarks/utilisation.py)."
            if here
            else "this machine is not in it: run benchmarks/utilisation.py first.",
            "devices whose peak or bandwidth is not published are left out.",
        ),
    )


def told(size: str | None) -> str:
    return "none" if size is None else f"{size}, {millions(size):.1f} M"


def measured(cells: Path, precision: str, deadline_ms: float) -> str | None:
    """The largest shape whose p50 meets a deadline here."""
    meeting = [
        size
        for size, model in BERTS.items()
        for length, each, sample in rows_of(found_in(cells / f"{model.name}.json"))
        if (length, each) == (TOKENS, precision) and sample["p50"] <= deadline_ms
    ]
    return max(meeting, key=millions, default=None)


def energies(found: Sequence[Platform]) -> Table:
    sizes = list(BERTS)
    return Table(
        title="Energy of an inference, predicted, mJ",
        columns=("device", *(f"{size} ({millions(size):.1f} M)" for size in sizes)),
        align="l" + "r" * len(sizes),
        rows=tuple(
            (one.name, *(energy(one.predictions[size]) for size in sizes))
            for one in found
            if one.target.power_max_w
        ),
        notes=(
            "highest power of the whole device x floor: nothing was measured. Too high where one unit works alone, too low where "
            "a runtime stays under the roofline.",
            "no power by load is published for: "
            + ", ".join(dict.fromkeys(one.target.name for one in found if not one.target.power_max_w)) + ".",
        ),
    )  # fmt: skip


def energy(one: UnitPrediction) -> str:
    return f"{one.energy.value:,.3g}" if one.energy and one.energy.value < 1000 else (
        f"{one.energy.value:,.0f}" if one.energy else NONE
    )  # fmt: skip


def envelope() -> Table:
    """Every profile against the 2-5 W of C1."""
    low, high = ENVELOPE_W
    rows = []
    for name in shipped_names():
        target = load_target(name)
        if target.power_max_w is None:
            rows.append((name, "unknown", "unknown"))
            continue
        least = target.power_min_w
        span = f"{least:g}-{target.power_max_w:g} W" if least else f"up to {target.power_max_w:g} W"
        inside = (
            "outside" if least and least > high else "all of it" if target.power_max_w <= high else "in part"
        )
        rows.append((name, span, inside))
    return Table(
        title=f"The envelope of {low}-{high} W",
        columns=("device", "power, published", "inside"),
        align="lrl",
        rows=tuple(rows),
        notes=(
            "of the whole module or board. In part: what it draws between idle and its highest load is not published.",
        ),
    )


def plot(found: Sequence[Platform]) -> Plot:
    """The largest shape of each platform at one deadline."""
    drawn = sorted(
        ((millions(size), one.name) for one in found if (size := one.largest(PLOTTED_MS))), reverse=True
    )
    figure, axes = canvas(20 * len(drawn) + 60, left=185, bottom=40)
    axes.set_xscale("log")
    for place, (value, _) in enumerate(drawn):
        axes.plot(value, place, "o", color=LIGHT["others"], markersize=7)
    axes.set_yticks(range(len(drawn)), [name for _, name in drawn], size=8)
    axes.set_ylim(len(drawn) - 0.4, -0.6)
    axes.grid(axis="x")
    log_ticks(axes.xaxis)
    axes.set_xlabel("million parameters")
    return finish(
        figure,
        name="deadlines",
        title=f"The largest BERT in {PLOTTED_MS} ms, predicted",
        caption=f"{TOKENS} tokens, batch 1, at {BEST_UTILISATION:.0%} of the roofline. BERT-large (24/1024) is the largest that was tried.",
        told="; ".join(f"{name} {value:.1f} M" for value, name in drawn),
    )


if __name__ == "__main__":
    main()
