"""What was considered and what was decided: the candidates, and the precision of each layer."""

from __future__ import annotations

from edgesmith.records import Candidate
from edgesmith.report.facts import NONE, Table
from edgesmith.report.load import Run
from edgesmith.report.units import counted, megabytes, milliseconds, nats, points

_WHAT_THE_COLUMNS_SAY = (
    "predicted size: weights and graph, from the structure. p50: with untrained weights, on validation inputs. drop: on "
    "validation rows, measured after a short trial and in the finished artifact."
)


def ordered(run: Run) -> list[Candidate]:
    """The chosen one first."""
    return sorted(run.candidates, key=lambda candidate: not candidate.chosen)


def candidates(run: Run) -> Table:
    """What was considered, and under the table why each was taken or left."""
    reasons = (
        f"{candidate.name}: {candidate.decision or 'no decision'}. {structure(candidate)}."
        for candidate in ordered(run)
    )
    return Table(
        title="Candidates",
        columns=("name", "layers", "predicted size", "p50", "trial drop", "final drop"),
        align="lrrrrr",
        rows=tuple(_row(candidate) for candidate in ordered(run)),
        notes=(*reasons, _WHAT_THE_COLUMNS_SAY),
    )


def structure(candidate: Candidate) -> str:
    shape = candidate.shape
    return (
        f"{counted(shape.depth, 'layer')}, {counted(sum(shape.heads), 'head')}, {sum(shape.neurons):,} FFN neurons, "
        + (
            f"images of {counted(shape.positions, 'token')}"
            if shape.patches
            else f"{shape.vocab:,} tokens of rank {shape.embedding_rank}"
        )
    )


def _row(candidate: Candidate) -> tuple[str, ...]:
    origin = "measured" if candidate.latency_is_measured else "predicted"
    return (
        candidate.name,
        str(candidate.shape.depth),
        megabytes(candidate.size_bytes),
        f"{milliseconds(candidate.latency_ms)} {origin}",
        NONE if candidate.trial_drop is None else points(candidate.trial_drop),
        NONE if candidate.final_drop is None else points(candidate.final_drop),
    )


def precision(run: Run) -> Table:
    """What each weight is stored in, and why."""
    rows = tuple(
        (
            entry.layer,
            entry.weight,
            entry.granularity.replace("_", " "),
            entry.activation.replace("_", " "),
            NONE if entry.sensitivity is None else nats(entry.sensitivity),
            entry.reason or NONE,
        )
        for entry in (run.plan.layers if run.plan else ())
    )
    return Table(
        title="Precision",
        columns=("layer", "weight", "scales", "activation", "sensitivity", "reason"),
        align="llllrl",
        rows=rows,
        notes=(
            "sensitivity: mean KL divergence in nats to the outputs before, when only this layer is quantized; "
            "measured on validation rows, without their labels.",
        ),
    )


def precision_summary(run: Run) -> str:
    if run.plan is None:
        return "Nothing was quantized."
    counts = sorted(run.plan.counts().items())
    return ", ".join(f"{counted(count, 'layer')} in {dtype}" for dtype, count in counts) + "."
