"""An analysis as tables: what was counted of a model, and what that predicts for a device."""

from __future__ import annotations

from collections.abc import Iterator

from edgesmith.records.analysis import Analysis, DeadlineLimit, LayerCost, UnitPrediction
from edgesmith.report.facts import NONE, Table
from edgesmith.report.units import counted, megabytes, milliseconds

SHOWN_STEPS = 5
"""Operators of the timeline that a table shows: those with the most activations."""


def analysis_tables(analysis: Analysis) -> tuple[Table, ...]:
    """Layers, predictions, what meets the deadline, and memory; those without rows are left out."""
    tables = (layers(analysis), predictions(analysis), deadlines(analysis), memory(analysis))
    return tuple(table for table in tables if table.rows)


def headline(analysis: Analysis) -> str:
    """What was analysed, in one line."""
    size = f", {analysis.image_pixels} x {analysis.image_pixels} pixels" if analysis.image_pixels else ""
    return (
        f"{analysis.model} on {analysis.target}: {analysis.parameters:,} parameters, {giga(analysis.macs)} GMACs at "
        f"{counted(analysis.tokens, 'token')}{size}"
    )


def giga(count: float) -> str:
    return f"{count / 1e9:.3g}"


def layers(analysis: Analysis) -> Table:
    """A row a component; equal neighbours of a stack are told once."""
    timed = [
        name
        for name in _precisions(analysis)
        if any(one.floor_ms.get(name) is not None for one in analysis.layers)
    ]
    expected = [name for name in timed if any(name in one.expected_ms for one in analysis.layers)]
    rows = [_layer(name, one, timed, expected) for name, one in _folded(analysis.layers)]
    total = _layer("all", _total(analysis), timed, expected)
    return Table(
        title=headline(analysis),
        columns=(
            "layer", "MMACs", "weights", "activ.", "MAC/B", "limit",
            *(f"{name} ms" for name in timed), *(f"{name} exp. ms" for name in expected),
        ),
        align="lrrrrl" + "r" * (len(timed) + len(expected)),
        rows=(*rows, total),
        notes=(
            f"weights, activ.: bytes of one inference in {analysis.precision}; MAC/B: MACs for each byte that is predicted to "
            "come from memory or go there; limit: what the predicted floor is spent on.",
            *(("ms: predicted floor, which no runtime reaches; exp.: predicted from measured rates.",) if timed else ()),
            *analysis.notes,
        ),
    )  # fmt: skip


def predictions(analysis: Analysis) -> Table:
    """A row for each unit and precision."""
    rows = tuple(_prediction(one) for one in analysis.predictions)
    notes = list(dict.fromkeys(f"{one.unit}: {note}." for one in analysis.predictions for note in one.notes))
    return Table(
        title="Predicted, batch 1",
        columns=(
            "unit",
            "format",
            "threads",
            "floor",
            "expected",
            "used",
            "memory-bound",
            "rate",
            "energy",
            "peak MB",
        ),
        align="llrrrrrrrr",
        rows=rows,
        notes=(
            "floor: at the unit's peak; expected: from measured rates. used: of the peak, by the expected latency or the floor; "
            "memory-bound: part of the floor; rate: at most, inferences a second; energy: highest power of the whole device x "
            "latency; peak MB: weights and live activations. All predicted.",
            *notes,
        ),
    )


def deadlines(analysis: Analysis) -> Table:
    """What meets the deadline, a row for each precision and latency."""
    limits = analysis.deadlines
    asked = f" of {limits[0].deadline_ms:g} ms" if limits else ""
    return Table(
        title=f"Predicted to meet the deadline{asked}",
        columns=("unit", "format", "by", "this input", "largest input", "rate"),
        align="lllllr",
        rows=tuple(_deadline(one) for one in limits),
        notes=("by floor: what is larger is impossible, what is smaller may still be too slow.",),
    )


def memory(analysis: Analysis) -> Table:
    """Operators with the most activations alive."""
    largest = sorted(analysis.timeline, key=lambda step: -step.live_bytes)[:SHOWN_STEPS]
    return Table(
        title="Predicted peak of activations",
        columns=("operator", "live"),
        align="lr",
        rows=tuple((f"{step.part}: {step.operator}", megabytes(step.live_bytes)) for step in largest),
        notes=(
            f"of {counted(len(analysis.timeline), 'operator')}, in {analysis.precision}; --json has the whole timeline.",
        ),
    )


def not_met(analysis: Analysis) -> str | None:
    """Why a deadline cannot be met, in a sentence; None where it can, or where nothing is predicted."""
    if not analysis.deadlines or any(
        one.meets for one in analysis.deadlines if one.basis == _basis(analysis)
    ):
        return None
    judged = [one for one in analysis.deadlines if one.basis == _basis(analysis)]
    fastest = min(
        (one for one in analysis.predictions if one.unit == analysis.unit and one.latency),
        key=lambda one: one.latency.value if one.latency else 0.0,
    )
    latency = fastest.latency
    told = milliseconds(latency.value) if latency else NONE
    sizes = [f"{one.largest} {one.unit_of_size} in {one.precision}" for one in judged if one.largest]
    advice = (
        f"Predicted to meet it: {', '.join(sizes)}."
        if sizes
        else f"It is impossible: not even 1 {'patch' if analysis.image_pixels else 'token'} meets it. Choose a smaller model."
    )
    return (
        f"no precision of {analysis.unit} on {analysis.target} meets {judged[0].deadline_ms:g} ms: the fastest, "
        f"{fastest.precision}, takes a predicted {_basis(analysis)} of {told}. {advice}"
    )


def _basis(analysis: Analysis) -> str:
    """The latency that a deadline is judged by: expected where it is known."""
    return "expected" if any(one.basis == "expected" for one in analysis.deadlines) else "floor"


def _precisions(analysis: Analysis) -> list[str]:
    return list(analysis.layers[0].floor_ms)


def _folded(layers: tuple[LayerCost, ...]) -> Iterator[tuple[str, LayerCost]]:
    """``layer 0-11 FFN`` for components that differ in nothing but their layer."""
    groups: dict[tuple[str, object], list[LayerCost]] = {}
    for one in layers:
        kind = one.name.split(" ", 2)[2] if one.name.startswith("layer ") else one.name
        groups.setdefault((kind, _figures(one)), []).append(one)
    for (kind, _), found in groups.items():
        if len(found) == 1:
            yield found[0].name, found[0]
        else:
            first, last = (one.name.split(" ", 2)[1] for one in (found[0], found[-1]))
            yield f"{kind}, each of {len(found)} (layers {first}-{last})", found[0]


def _figures(one: LayerCost) -> tuple[object, ...]:
    return one.macs, one.weight_bytes, one.activation_bytes, one.traffic_bytes


def _total(analysis: Analysis) -> LayerCost:
    """The sum of the layers; its limit is what most of the floor is spent on."""
    layers, precisions = analysis.layers, _precisions(analysis)
    traffic, macs = sum(one.traffic_bytes for one in layers), sum(one.macs for one in layers)
    spent = dict.fromkeys((one.bound for one in layers), 0.0)
    for one in layers:
        spent[one.bound] += one.floor_ms.get(analysis.precision) or 0.0
    return LayerCost(
        name="all",
        macs=macs,
        weight_bytes=sum(one.weight_bytes for one in layers),
        activation_bytes=sum(one.activation_bytes for one in layers),
        traffic_bytes=traffic,
        intensity=macs / traffic if traffic else None,
        bound=max(spent, key=lambda bound: spent[bound]),
        floor_ms={
            name: None
            if layers[0].floor_ms[name] is None
            else sum(one.floor_ms[name] or 0.0 for one in layers)
            for name in precisions
        },
        expected_ms={
            name: sum(one.expected_ms[name] for one in layers)
            for name in precisions
            if name in layers[0].expected_ms
        },
    )


def _layer(name: str, one: LayerCost, timed: list[str], expected: list[str]) -> tuple[str, ...]:
    return (
        name,
        f"{one.macs / 1e6:.2f}",
        megabytes(one.weight_bytes),
        megabytes(one.activation_bytes),
        NONE if one.intensity is None else f"{one.intensity:.3g}",
        one.bound,
        *(_ms(one.floor_ms.get(each)) for each in timed),
        *(_ms(one.expected_ms.get(each)) for each in expected),
    )


def _ms(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"


def _prediction(one: UnitPrediction) -> tuple[str, ...]:
    return (
        one.unit,
        one.precision,
        str(one.threads) if one.threads else NONE,
        milliseconds(one.floor.value) if one.floor else NONE,
        milliseconds(one.expected.value) if one.expected else NONE,
        f"{one.utilisation.value:.0%}" if one.utilisation else NONE,
        NONE if one.bandwidth_share is None else f"{one.bandwidth_share:.0%}",
        f"{one.rate.value:,.0f}/s" if one.rate else NONE,
        f"{one.energy.value:.3g} mJ" if one.energy else NONE,
        f"{one.peak_memory.value / 1e6:.2f}",
    )


def _deadline(one: DeadlineLimit) -> tuple[str, ...]:
    size = "none" if one.largest is None else f"{one.largest} {one.unit_of_size}"
    return (
        one.unit,
        one.precision,
        one.basis,
        "meets it" if one.meets else "does not",
        f"{size}{', the most there is' if one.is_most else ''}",
        f"{one.rate:,.0f}/s" if one.rate else NONE,
    )
