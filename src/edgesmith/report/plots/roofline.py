"""The roofline of an analysis, and its activations over time."""

from __future__ import annotations

from edgesmith.records.analysis import Analysis, LayerCost
from edgesmith.report.plots.svg import LIGHT, Plot, canvas, finish, log_ticks, name_axes
from edgesmith.report.units import megabytes

_ROLES = {"attention": "attention", "FFN": "ffn", "head": "head", "bottlenecks": "others"}
"""Last word of a component's name -> colour; the rest is grey."""


def roofline(analysis: Analysis) -> Plot | None:
    """Each component under the unit's roof: its intensity, and the rate that the predicted floor comes to."""
    peak, bandwidth = analysis.roof.macs_per_s, analysis.roof.bytes_per_s
    points = [(one, one.intensity, _rate(one, analysis.precision)) for one in analysis.layers if one.macs]
    drawn = [(one, intensity, rate) for one, intensity, rate in points if intensity and rate]
    if not drawn or peak is None or bandwidth is None:
        return None
    ridge = peak / bandwidth
    intensities = [ridge, *(intensity for _, intensity, _ in drawn)]
    low, high = min(intensities) / 3, max(intensities) * 3
    figure, axes = canvas(270, left=52, bottom=40, top=22)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.plot(
        [low, ridge, high], [low * bandwidth / 1e9, peak / 1e9, peak / 1e9], color=LIGHT["ink"], linewidth=1.5
    )
    axes.axvline(ridge, color=LIGHT["line"], linewidth=1)
    for one, intensity, rate in drawn:
        axes.plot(intensity, rate / 1e9, "o", color=LIGHT[_role(one)], markersize=7, alpha=0.7)
    axes.grid(axis="y")
    log_ticks(axes.xaxis)
    log_ticks(axes.yaxis)
    name_axes(axes, x="MACs for each byte of memory traffic", y="GMAC/s, predicted floor")
    return finish(
        figure,
        name="roofline",
        title=f"Roofline of {analysis.unit}, {analysis.precision}",
        caption=(
            "A point a component, at the rate that its predicted floor comes to: teal attention, orange FFN. Line: the peak, "
            f"and left of {ridge:.3g} MACs a byte the memory's bandwidth ({analysis.roof.source})."
        ),
        told=f"peak {peak / 1e9:.4g} GMAC/s, bandwidth {bandwidth / 1e9:.4g} GB/s; "
        + "; ".join(
            f"{one.name} {intensity:.3g} MACs a byte, limit {one.bound}" for one, intensity, _ in drawn
        ),
    )


def activations(analysis: Analysis) -> Plot:
    """Bytes that are alive while each operator runs."""
    live = [step.live_bytes for step in analysis.timeline]
    figure, axes = canvas(200, left=48, bottom=40, top=22)
    axes.fill_between(
        range(len(live)), [each / 1e6 for each in live], step="mid", color=LIGHT["others"], linewidth=0
    )
    axes.set_xlim(0, max(1, len(live) - 1))
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    name_axes(axes, x="operator, in the order of execution", y="MB of live activations, predicted")
    top = max(analysis.timeline, key=lambda step: step.live_bytes)
    return finish(
        figure,
        name="activations",
        title="Memory over time",
        caption=f"Peak: {megabytes(top.live_bytes)} at {top.part}: {top.operator}. Weights come on top.",
        told=f"{len(live)} operators, peak {megabytes(top.live_bytes)} at {top.part}: {top.operator}",
    )


def _rate(one: LayerCost, precision: str) -> float | None:
    floor_ms = one.floor_ms.get(precision)
    return one.macs / floor_ms * 1e3 if floor_ms else None


def _role(one: LayerCost) -> str:
    return _ROLES.get(one.name.split()[-1], "rest")
