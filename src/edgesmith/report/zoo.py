"""The zoo as tables: what is listed of its models, and what a comparison measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgesmith.records import ComparedModel, Comparison, ZooEntry
from edgesmith.report.facts import NONE, Table
from edgesmith.report.units import counted, megabytes, milliseconds, times

BUSY = 0.9
"""CPU share below which other programs disturbed a comparison."""


def catalogue(entries: Sequence[ZooEntry], comparison: Comparison | None) -> Table:
    """Counted and published figures of the models, and the latencies measured here where there are any.

    Args:
        comparison: the one that `entries` have their measurements from.
    """
    first = entries[0]
    return Table(
        title="The zoo",
        columns=("model", "M", "GMACs", "MB", "GLUE", "SQuAD", "phone", "FP32 ms", "INT8 ms"),
        align="lrrrrrrrr",
        rows=tuple(_row(entry) for entry in entries),
        notes=(
            "M: million parameters with a head of two labels, in brackets the survey's; "
            f"GMACs: counted at {first.tokens} tokens; MB: of the weights in FP32.",
            f"GLUE, SQuAD (F1) and phone (ms): pretrained models, as {first.survey} tabulates them.",
            f"FP32 ms and INT8 ms: {_where(comparison)}",
            f"What is built under these names has {first.labelled}.",
        ),
    )


def _where(comparison: Comparison | None) -> str:
    if comparison is None:
        return "not measured here yet. Type: edgesmith compare"
    return f"p50, {_how(comparison)}, {comparison.date}."


def _row(entry: ZooEntry) -> tuple[str, ...]:
    published, here = entry.published, entry.measured
    return (
        entry.name,
        f"{entry.parameters / 1e6:.1f} ({published.parameters_m:g})",
        f"{entry.macs / 1e9:.2f}",
        f"{entry.fp32_bytes / 1e6:.0f}",
        f"{published.glue:.1f}",
        f"{published.squad_f1:.1f}",
        f"{published.latency_ms:g}",
        f"{here.fp32_ms.p50:.1f}" if here else NONE,
        f"{here.int8_ms.p50:.1f}" if here else NONE,
    )


def details(entry: ZooEntry, comparison: Comparison | None) -> Iterator[str]:
    """Everything that is known of one model, a line each."""
    published, here = entry.published, entry.measured
    yield f"{entry.name}: {entry.title}, {entry.paper}"
    yield f"  parameters   {entry.parameters:,} with a head of two labels; the survey: {published.parameters_m:g} M"
    yield f"  work         {entry.macs / 1e9:.2f} GMACs at {entry.tokens} tokens"
    yield f"  size         {megabytes(entry.fp32_bytes)} of weights in FP32"
    yield (
        f"  published    GLUE {published.glue:.1f}, SQuAD F1 {published.squad_f1:.1f}, "
        f"{published.latency_ms:g} ms on a phone ({entry.survey})"
    )
    if here and comparison:
        yield (
            f"  measured     {milliseconds(here.fp32_ms.p50)} in FP32, {milliseconds(here.int8_ms.p50)} in INT8, "
            f"p50, {_how(comparison)}, {comparison.date}"
        )
    else:
        yield f"  measured     nothing here yet. Type: edgesmith compare bert-base {entry.name}"
    yield from (f"  note         {note}" for note in entry.notes)
    yield f"  built with   {entry.labelled}"
    yield f"  pretrained   {f'hub id {entry.weights}' if entry.weights else 'no weights of the authors are known'}"


def comparison_table(comparison: Comparison) -> Table:
    """Sizes, latencies, and how many times as fast as the first model each is, here and in the survey."""
    first = comparison.models[0].name
    notes = [
        f"{comparison.weights[0].upper()}{comparison.weights[1:]}.",
        f"ms: p50, {_how(comparison)}.",
        f"x: times as fast as {first}, of the same precision; survey: the same on phones, as the survey tabulates it.",
    ]
    if comparison.cpu_share < BUSY:
        notes.append(
            f"The machine was busy: the timed run had {comparison.cpu_share:.0%} of a core. Measure again when it is idle."
        )
    return Table(
        title="Compared",
        columns=("model", "M", "FP32 MB", "INT8 MB", "FP32 ms", "INT8 ms", "FP32 x", "INT8 x", "survey"),
        align="lrrrrrrrr",
        rows=tuple(_compared(model) for model in comparison.models),
        notes=tuple(notes),
    )


def _compared(model: ComparedModel) -> tuple[str, ...]:
    return (
        model.name,
        f"{model.parameters / 1e6:.1f}",
        f"{model.fp32_bytes / 1e6:.1f}",
        f"{model.int8_bytes / 1e6:.1f}",
        f"{model.fp32_ms.p50:.2f}",
        f"{model.int8_ms.p50:.2f}",
        times(model.fp32_ratio),
        times(model.int8_ratio),
        f"{model.survey_ratio:.1f}x",
    )


def _how(comparison: Comparison) -> str:
    return (
        f"{comparison.runtime}, {counted(comparison.threads, 'thread')}, batch {comparison.batch}, {comparison.length} "
        f"tokens, {comparison.rounds} interleaved rounds of {counted(comparison.inputs, 'input')}, "
        f"{comparison.environment.processor}"
    )
