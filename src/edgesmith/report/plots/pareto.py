"""Choices of a recommendation: published quality against predicted latency."""

from __future__ import annotations

from edgesmith.records.analysis import Recommendation
from edgesmith.report.plots.svg import LIGHT, Plot, canvas, finish, log_ticks, mark_limit, name_axes
from edgesmith.report.units import milliseconds

_MARKERS = {"fp32": "o", "bf16": "s", "fp16": "s", "int8": "D", "int4": "^"}


def pareto(found: Recommendation) -> Plot | None:
    """The front in blue, the latency asked for dashed; choices without a prediction or a quality are left out."""
    drawn = [
        (one, one.latency_ms, one.quality)
        for one in found.choices
        if one.latency_ms is not None and one.quality is not None
    ]
    if not drawn:
        return None
    figure, axes = canvas(270, left=44, bottom=40, top=22)
    axes.set_xscale("log")
    for one, latency_ms, quality in drawn:
        colour = LIGHT["artifact"] if one.is_pareto else LIGHT["rest"]
        axes.plot(latency_ms, quality, _MARKERS[one.precision], color=colour, markersize=7)
    front = sorted((latency_ms, quality, one.model) for one, latency_ms, quality in drawn if one.is_pareto)
    axes.step(
        [latency_ms for latency_ms, _, _ in front],
        [quality for _, quality, _ in front],
        where="post",
        color=LIGHT["artifact"],
        linewidth=1,
    )
    for latency_ms, quality, name in front:
        axes.annotate(
            name, (latency_ms, quality), xytext=(0, 8), textcoords="offset points", ha="center", size=9,
            color=LIGHT["artifact"],
        )  # fmt: skip
    mark_limit(axes.axvline, found.max_latency_ms)
    axes.margins(x=0.18, y=0.18)
    axes.grid(axis="y")
    log_ticks(axes.xaxis)
    name_axes(axes, x=f"predicted latency in ms on {found.target}, {found.unit}", y=found.metric)
    return finish(
        figure,
        name="pareto",
        title="Quality against latency",
        caption=(
            "Blue: the Pareto front of what meets the latency (dashed). Circle: FP32, square: 16 bits, diamond: INT8. Quality is "
            "published, of the model in FP32."
        ),
        told="; ".join(
            f"{one.model} {one.precision} {milliseconds(latency_ms)} {quality:g}"
            f"{', on the front' if one.is_pareto else ''}"
            for one, latency_ms, quality in drawn
        ),
    )
