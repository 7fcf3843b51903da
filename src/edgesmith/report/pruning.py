"""What hangs together in a model, and what pruning did to it, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from edgesmith.records import CoupledGroup, CoupledModel, KeptUnits, Pruning, PruningStage
from edgesmith.report.facts import NONE, Table
from edgesmith.report.units import agreement, percent

_STAGES: dict[PruningStage, str] = {
    "before": "as it came",
    "search": "after the search",
    "rearrangement": "after rearrangement",
    "tuning": "after tuning",
    "embedding": "after the word table shrank",
    "recovery": "after recovery",
}

_WHAT = {
    "heads": "attention heads",
    "neurons": "FFN neurons",
    "layers": "whole layers",
    "hidden": "hidden units of the residual stream",
}


def group_tables(model: CoupledModel) -> Iterator[Table]:
    """Every group with what it carries, then the slices that are cut with one unit of each kind."""
    yield Table(
        title=f"Coupled groups of {model.model} ({model.model_type})",
        columns=("group", "units", "parameters", "MACs", "of parameters", "of MACs"),
        align="lrrrrr",
        rows=tuple(_group_row(group, model) for group in model.groups),
        notes=(
            "parameters and MACs: of one unit; the shares: of all units of the group in the whole model",
            f"the model: {model.parameters:,} parameters, {model.macs:,} MACs at {model.tokens} tokens; every layer is "
            "counted over all tokens",
            "groups overlap: a layer holds its heads and neurons, and hidden units run through everything",
        ),
    )
    yield Table(
        title="What is cut together with one unit",
        columns=("units", "slices"),
        align="ll",
        rows=tuple(_slices(model.groups)),
        notes=("layer 0 stands for every layer: its weights are sliced in the same places",),
    )


def pruning_tables(pruning: Pruning) -> Iterator[Table]:
    """What the answers lost at every stage, what stays of each layer, and what the model costs now."""
    rounds = (*pruning.earlier, pruning)
    learnt = " and ".join(f"{one.epochs:.2f}" for one in rounds if one.epochs)
    yield Table(
        title=f"Pruned {pruning.model}",
        columns=("stage", pruning.metric, "points lost", "answers as before", "s"),
        align="lrrrr",
        rows=tuple(_stage_row(stage, one, rounds[0]) for one in rounds for stage in one.quality),
        notes=(
            f"on {pruning.validation_rows:,} validation rows; "
            + (f"{learnt} epochs of learning from the whole model" if learnt else "nothing was retrained"),
        ),
    )
    yield Table(
        title="What stays",
        columns=("group", "kept", "scales"),
        align="lrr",
        rows=tuple(_kept_row(kept) for kept in pruning.kept),
    )
    yield Table(
        title="Cost",
        columns=("", "before", "after", "left"),
        align="lrrr",
        rows=(
            _cost_row("parameters", pruning.parameters_before, pruning.parameters_after),
            _cost_row("MACs", pruning.macs_before, pruning.macs_after),
            *_table_rows(pruning),
            *_predicted_rows(pruning),
        ),
        notes=(
            *_coverage_notes(pruning),
            f"MACs of the encoder at {pruning.tokens} tokens, every layer counted over all of them",
            f"{pruning.folder} opens with {pruning.model_class}.from_pretrained{_import(pruning)}",
        ),
    )


def _import(pruning: Pruning) -> str:
    return " after `import edgesmith.models`" if pruning.model_class.startswith("Compact") else ""


def _group_row(group: CoupledGroup, model: CoupledModel) -> tuple[str, ...]:
    return (
        group.name,
        f"{group.units:,}",
        f"{group.parameters:,}",
        f"{group.macs:,}",
        percent(group.units * group.parameters / model.parameters),
        percent(group.units * group.macs / model.macs),
    )


def _slices(groups: Sequence[CoupledGroup]) -> Iterator[tuple[str, ...]]:
    """Of the first layer, and of what has none."""
    first = [group for group in groups if not group.layer]
    for kind, alike in groupby(first, key=lambda group: group.kind):
        for group in alike:
            name = _WHAT[kind]
            for cut in group.slices:
                yield name, cut
                name = ""


def _stage_row(stage: PruningStage, one: Pruning, first: Pruning) -> tuple[str, ...]:
    """Of a round; the model as it came is what the first one began with."""
    seconds = one.wall_s.get(stage)
    if stage == "search":
        seconds = (seconds or 0.0) + one.wall_s.get("importance", 0.0)
    is_first = stage == "before" and one is first
    return (
        "before the next cut" if stage == "before" and not is_first else _STAGES[stage],
        f"{one.quality[stage]:.4f}",
        NONE if is_first else f"{100 * (first.quality['before'] - one.quality[stage]):.2f}",
        agreement(one.agreement[stage], one.metric),
        NONE if seconds is None else f"{seconds:.1f}",
    )


def _kept_row(kept: KeptUnits) -> tuple[str, ...]:
    scales = NONE if kept.scales is None else f"{kept.scales[0]:.2f} to {kept.scales[1]:.2f}"
    return kept.name, f"{len(kept.indices):,} of {kept.units:,}", scales


def _table_rows(pruning: Pruning) -> Iterator[tuple[str, ...]]:
    if pruning.vocabulary is not None and pruning.table is not None:
        yield _cost_row("tokens in the vocabulary", *pruning.vocabulary)
        yield _cost_row("weights of the word table", *pruning.table)


def _coverage_notes(pruning: Pruning) -> Iterator[str]:
    if pruning.coverage is not None:
        found = pruning.coverage
        yield (
            f"{found.rows_with_trimmed:,} of {found.rows:,} validation rows hold a token that left; all rows together have "
            f"{found.tokens_after / found.tokens:.3f} times as many tokens as before"
        )


def _predicted_rows(pruning: Pruning) -> Iterator[tuple[str, ...]]:
    if pruning.predicted_ms is not None:
        before, after = pruning.predicted_ms
        name = f"ms in FP32 on {pruning.target}, predicted"
        yield name, f"{before:.2f}", f"{after:.2f}", percent(after / before)


def _cost_row(name: str, before: int, after: int) -> tuple[str, ...]:
    return name, f"{before:,}", f"{after:,}", percent(after / before)
