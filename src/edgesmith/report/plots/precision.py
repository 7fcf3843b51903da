"""What each layer suffers from each way to store its weight and to take its inputs."""

from __future__ import annotations

from collections.abc import Iterator

from edgesmith.records import NO_NUMBER, LayerSensitivity, Sensitivities
from edgesmith.report.plots.rows import Row, draw_rows, tell
from edgesmith.report.plots.svg import LIGHT, Plot, finish
from edgesmith.report.units import nats

_MARKERS = "os^Dv"
_NAMES = ("circle", "square", "triangle", "diamond", "triangle on its tip")
_COLOURS = {"weights": LIGHT["artifact"], "inputs": LIGHT["ffn"]}


def sensitivities(found: Sensitivities) -> Plot:
    """A line a layer, a mark for every divergence above zero, on a logarithmic axis; what is no number has none."""
    marks = _marks(found)
    rows = [_row(layer) for layer in found.layers]
    figure, axes = draw_rows(rows, "KL divergence in nats, logarithmic")
    drawn = []
    for place, layer in enumerate(found.layers):
        axes.axhline(place, color=LIGHT["line"], linewidth=1)
        for kind, key, value in _parts(layer):
            if 0 < value < NO_NUMBER:
                marker = _MARKERS[marks[kind, key]]
                axes.plot(value, place, marker, color=_COLOURS[kind], markersize=6, alpha=0.8)
                drawn.append(value)
    axes.set_xscale("log")
    if drawn:
        axes.set_xlim(0.6 * min(drawn), 1.7 * max(drawn))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, place: f"{value:.0e}")
    return finish(
        figure,
        name="sensitivity",
        title=f"What quantization costs each layer of {found.model}",
        caption=(
            f"Measured: how far the outputs move when only this is quantized. Blue: {_legend(marks, 'weights')}. Orange: "
            f"{_legend(marks, 'inputs')}. The number: the largest of the line."
        ),
        told=tell(rows),
    )


def _parts(layer: LayerSensitivity) -> Iterator[tuple[str, str, float]]:
    """(weights or inputs, format, divergence)."""
    for kind, values in (("weights", layer.weights), ("inputs", layer.activations)):
        for key, value in values.items():
            yield kind, key.replace("_", " "), value


def _marks(found: Sensitivities) -> dict[tuple[str, str], int]:
    """Numbers of the markers; weights and inputs are counted each from 0."""
    marks: dict[tuple[str, str], int] = {}
    for layer in found.layers:
        for kind, key, _ in _parts(layer):
            marks.setdefault((kind, key), sum(known == kind for known, _ in marks))
    return marks


def _legend(marks: dict[tuple[str, str], int], wanted: str) -> str:
    told = (f"{key} ({_NAMES[number]})" for (kind, key), number in marks.items() if kind == wanted)
    return f"{wanted} in {', '.join(told)}"


def _row(layer: LayerSensitivity) -> Row:
    kind, key, worst = max(_parts(layer), key=lambda part: part[2])
    number = "no number" if worst >= NO_NUMBER else nats(worst)
    return Row(name=layer.layer, text=f"{number}  {key}", values=(worst,), colour=_COLOURS[kind])
