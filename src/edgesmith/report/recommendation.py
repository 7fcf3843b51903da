"""A recommendation as a table and a sentence."""

from __future__ import annotations

from edgesmith.records.analysis import Choice, Recommendation
from edgesmith.report.facts import NONE, Table
from edgesmith.report.units import megabytes, milliseconds


def verdict(found: Recommendation) -> str:
    """What is recommended, or that nothing is."""
    best = found.best
    where = f"{found.unit} of {found.target} in {found.max_latency_ms:g} ms"
    if best is None:
        return f"No model of the zoo is predicted to answer on {where}"
    may = "is predicted to answer" if best.basis == "expected" else "may answer"
    return f"{best.model} in {best.precision} {may} on {where}: {found.metric} {_quality(best)}"


def recommendation_table(found: Recommendation) -> Table:
    """Every choice in order, with its reasons."""
    return Table(
        title=verdict(found),
        columns=("", "model", "format", found.metric, "size", "latency", "by", "energy", "front", "reasons"),
        align="rllrrrlrll",
        rows=tuple(_row(place, one) for place, one in enumerate(found.choices, 1)),
        notes=(
            f"latency: predicted, batch 1, {_input(found)}; by: floor (at the unit's peak: what it excludes is impossible, "
            "what it lets pass may still be too slow) or expected (from rates measured on the device). front: nothing that meets "
            "the latency is faster and as good, or as fast and better. All predicted.",
            f"{found.metric}: published, of the pretrained model in FP32.",
            *found.notes,
        ),
    )


def _input(found: Recommendation) -> str:
    return "an image as large as the model takes" if found.tokens is None else f"{found.tokens} tokens"


def _quality(one: Choice) -> str:
    return "unknown" if one.quality is None else f"{one.quality:g}"


def _row(place: int, one: Choice) -> tuple[str, ...]:
    return (
        str(place),
        one.model,
        one.precision,
        _quality(one),
        megabytes(one.weight_bytes),
        NONE if one.latency_ms is None else milliseconds(one.latency_ms),
        one.basis,
        NONE if one.energy_mj is None else f"{one.energy_mj:,.4g} mJ",
        "yes" if one.is_pareto else "",
        "; ".join(one.reasons),
    )
