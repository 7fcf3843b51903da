"""Each layer's sensitivity, and the precision it got."""

from __future__ import annotations

from edgesmith.report.load import Run
from edgesmith.report.plots.rows import Row, draw_rows, tell
from edgesmith.report.plots.svg import LIGHT, Plot, finish
from edgesmith.report.units import nats

_COLOURS = {"int4": LIGHT["artifact"], "int8": LIGHT["artifact"], "fp16": LIGHT["ffn"], "fp32": LIGHT["head"]}


def sensitivity(run: Run) -> Plot | None:
    """A dot for each layer with a measured divergence above zero, on a logarithmic axis."""
    rows = [
        Row(
            name=entry.layer,
            text=f"{nats(entry.sensitivity)}  {entry.weight}",
            values=(entry.sensitivity,),
            colour=_COLOURS[entry.weight],
        )
        for entry in (run.plan.layers if run.plan else ())
        if entry.sensitivity is not None and entry.sensitivity > 0
    ]
    if not rows:
        return None
    figure, axes = draw_rows(rows, "KL divergence in nats, logarithmic")
    for place, row in enumerate(rows):
        axes.axhline(place, color=LIGHT["line"], linewidth=1)
        axes.plot(row.values[0], place, "o", color=row.colour, markersize=7)
    values = [row.values[0] for row in rows]
    axes.set_xscale("log")
    axes.set_xlim(0.6 * min(values), 1.7 * max(values))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, place: f"{value:.0e}")
    return finish(
        figure,
        name="sensitivity",
        title="Sensitivity of each layer, and its precision",
        caption=(
            "Measured on validation rows: how far the outputs move when only this layer is quantized. The colour and "
            "the word say what its weights are stored in."
        ),
        told=tell(rows),
    )
