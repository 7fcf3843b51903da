"""`edgesmith plan`: what a run would do, need and likely reach, without training or writing anything."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from edgesmith.analyze import cost as analyze
from edgesmith.models import shape_of
from edgesmith.models.device import prepare_torch
from edgesmith.pipeline.analysis import predicts
from edgesmith.pipeline.bench import embedding_rank
from edgesmith.pipeline.tasks import open_task
from edgesmith.recipe import Recipe, TrainingConfig
from edgesmith.records import Progress
from edgesmith.search.structure import ladder
from edgesmith.targets import uncalibrated_schemes

TEXT_TOKENS = 64
"""Length of the text that MACs are counted for."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What is known before a run.

    Attributes:
        steps: what would be done, in order.
        candidates: name -> predicted bytes of the INT8 model and predicted MACs against the teacher's.
        training_steps: optimiser steps of each training run.
        notes: what was guessed about the data.
    """

    steps: tuple[str, ...]
    candidates: dict[str, dict[str, float]]
    training_steps: dict[str, int]
    notes: tuple[str, ...]
    needs_finetuning: bool

    def lines(self) -> list[str]:
        """For people."""
        rows = [
            f"  {name:8} {row['size_bytes'] / 1e6:7.2f} MB (predicted), {row['macs_ratio']:.2f} of the teacher's MACs"
            for name, row in self.candidates.items()
        ]
        runs = [f"  {name}: {count:,} steps" for name, count in self.training_steps.items()]
        return [
            "Data",
            *(f"  {note}" for note in self.notes),
            "Steps",
            *(f"  {step}" for step in self.steps),
            "Training",
            *runs,
            "Candidates, INT8",
            *rows,
        ]


def plan(recipe: Recipe, progress: Progress) -> Outlook:
    """Reads model and data, checks both, and counts; nothing is trained or written."""
    prepare_torch()
    opened = open_task(recipe)
    splits = opened.modality.splits
    shape, labelled = shape_of(opened.model.config), len(splits.train)
    rows = labelled + (0 if splits.unlabelled is None else len(splits.unlabelled))
    tokens = shape.positions if shape.patches else TEXT_TOKENS
    whole = analyze.macs(shape, tokens)
    runs: dict[str, tuple[TrainingConfig, float, int]] = {
        "trial of a candidate": (
            recipe.prune.recovery,
            recipe.search.trial_epochs,
            min(rows, recipe.search.trial_rows),
        ),
        "distil": (recipe.distill, recipe.distill.epochs, rows),
        "recover": (recipe.prune.recovery, recipe.prune.recovery.epochs, rows),
    }
    general = opened.general
    if general is not None:
        config = recipe.distill.general
        runs["general stage of a student"] = (config, config.epochs, len(general.train_rows))
    settles = opened.modality.vocabulary is not None and recipe.prune.vocabulary == "auto"
    if not opened.has_head:
        runs = {"finetune": (recipe.finetune, recipe.finetune.epochs, labelled), **runs}
    rungs = ladder(
        shape,
        shape.vocab,
        rare_words=opened.modality.vocabulary == "letters",
        rank=embedding_rank(opened.modality, opened.modality.compact(opened.model)),
        names=recipe.search.candidates,
    )
    trained = "; a plan that misses the drop is trained" if recipe.quantize.recovery.epochs else ""
    return Outlook(
        steps=(
            *(() if opened.has_head else (_finetuning(recipe.finetune.restarts),)),
            *(
                ("0 vocabulary: a trial shows whether words of no training text are missed",)
                if settles
                else ()
            ),
            f"1 analyze: parameters, MACs, bytes; candidates {_weighed(recipe)}",
            f"2 distil: at most {recipe.search.max_trials} short trials, then "
            f"{'a general stage on texts without labels, then ' if general else ''}logits and hidden states",
            "3 prune: heads, FFN neurons, vocabulary, embedding rank; recovery",
            f"4 quantize: sensitivity of each layer; {_formats(recipe)}{trained}",
            f"5 export: {', '.join(recipe.runtimes)}, read back and checked against PyTorch",
            f"6 validate: {len(splits.test):,} test rows, used once",
        ),
        candidates={
            name: {
                "size_bytes": analyze.int8_file_bytes(candidate),
                "macs_ratio": analyze.macs(candidate, tokens) / whole,
            }
            for name, (_, candidate) in rungs.items()
        },
        training_steps={
            name: ceil(ceil(count / config.batch_size) * epochs)
            for name, (config, epochs, count) in runs.items()
        },
        notes=(*splits.notes, *(general.notes if general else ())),
        needs_finetuning=not opened.has_head,
    )


def _weighed(recipe: Recipe) -> str:
    return f"predicted for {recipe.target}" if predicts(recipe) else "timed on this host"


def _finetuning(restarts: int) -> str:
    best = f"; the best of {restarts} on validation rows is the teacher" if restarts > 1 else ""
    return f"0 finetune: the model has no head for this task{best}"


def _formats(recipe: Recipe) -> str:
    """What a layer may be stored in on any of the runtimes, such as ``INT4, INT8 or FP16``."""
    integers = {
        scheme.weight.upper()
        for runtime in recipe.runtimes
        for scheme in uncalibrated_schemes(runtime, "linear")
    }
    return f"{', '.join(sorted(integers))} or {recipe.quantize.higher.upper()}"
