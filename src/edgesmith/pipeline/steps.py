"""The steps that train or decide, on a workbench: each works in a folder and returns what it found and why it chose."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from edgesmith.compress.distill import TaskLoss, predict_logits
from edgesmith.compress.gates import Batch
from edgesmith.compress.match import layer_map
from edgesmith.compress.prune import prune_units
from edgesmith.compress.structure import keep_layers
from edgesmith.compress.training import ConsistentLabels, TrainingResult, hard_label_loss, time_steps, train
from edgesmith.data.encoding import EncodedRows
from edgesmith.models import CompactEncoder
from edgesmith.models.coupling import Prunable
from edgesmith.pipeline.bench import LOGITS, MODEL_FOLDER, Workbench
from edgesmith.pipeline.runs import StepResult
from edgesmith.recipe import CandidateName, TeachingConfig
from edgesmith.records import Candidate, Structure
from edgesmith.search.groups import FEWEST_ROWS
from edgesmith.search.masks import rearrange
from edgesmith.search.vocabulary import Gap

TABLE_NAME = "logits.safetensors"
"""The teacher's, in the folder of `answer_rows`."""

PROBE: CandidateName = "small"
"""The candidate that tries the vocabulary."""


def finetune(bench: Workbench, seed: int, folder: Path) -> StepResult:
    """Gives a model without a head the task's: the result is a teacher."""
    model, config = copy.deepcopy(bench.model), bench.recipe.finetune
    weight = config.consistency_weight
    result = train(
        model,
        bench.train_rows,
        bench.validation_rows,
        config,
        folder=folder / "checkpoints",
        seed=seed,
        progress=bench.progress,
        title="fine-tuning the teacher",
        loss=ConsistentLabels(weight) if weight else hard_label_loss,
        judge=bench.judge,
    )
    bench.modality.save(model, folder / MODEL_FOLDER)
    return StepResult(
        _training_facts(result),
        (
            f"the model had {_lack(bench)}, so it was fine-tuned on the training rows; the result is the teacher",
        ),
    )


def answer_rows(bench: Workbench, folder: Path) -> StepResult:
    """Writes down the teacher's logits of the lesson rows, so that it gives them once for all students."""
    logits = bench.teacher_logits
    save_file({LOGITS: logits}, folder / TABLE_NAME)
    return StepResult({"bytes": logits.nbytes}, (f"the teacher answered {len(logits):,} rows",))


def table_bytes(bench: Workbench) -> int:
    """Of the teacher's logits of all lesson rows, as far as the longest one tells."""
    rows = bench.lesson_rows
    return len(rows) * predict_logits(bench.teacher, rows.take([int(np.argmax(rows.lengths))])).nbytes


def _lack(bench: Workbench) -> str:
    return "no head for this task" if bench.recipe.tokenizer is None else "random weights"


def distill(bench: Workbench, candidate: Candidate, general: Path | None, folder: Path) -> StepResult:
    """A student of fewer layers learns the teacher's logits and hidden states.

    Args:
        general: folder of the step that taught it on texts without labels; None cuts it from the teacher.
    """
    layers = layer_map(len(bench.teacher.layers), candidate.structure.depth)
    if len(layers) == len(bench.teacher.layers):
        bench.modality.save(bench.teacher, folder / MODEL_FOLDER)
        return StepResult(
            {"quality": bench.teacher_quality, "layers": layers},
            ("every layer stays, so there is nothing to distil before pruning",),
        )
    kept = ", ".join(str(layer) for layer in layers)
    if general is None:
        student = keep_layers(bench.teacher, layers)
        start = f"started from the teacher's layers {kept}, evenly spaced; each goes on following its own"
    else:
        student = bench.load_student(general / MODEL_FOLDER)
        start = f"started from the student of the general stage; its layers follow the teacher's {kept}"
    config = bench.recipe.distill
    loss = TaskLoss(
        student,
        bench.teacher,
        bench.teacher_logits,
        config,
        bench.augmentation(config, trimmed=False),
        seed=bench.recipe.seed,
    )
    result = train(
        student,
        bench.lesson_rows,
        bench.validation_rows,
        config,
        folder=folder / "checkpoints",
        seed=bench.recipe.seed,
        progress=bench.progress,
        title=f"distilling {candidate.structure.depth} layers",
        judge=bench.judge,
        loss=loss,
        beside=loss.beside,
    )
    bench.modality.save(student, folder / MODEL_FOLDER)
    return StepResult({"layers": layers, **_training_facts(result)}, (start,))


def try_vocabulary(bench: Workbench, folder: Path) -> StepResult:
    """What words of no training text cost: the teacher, under a student's tokenizer, and a small student.

    The teacher's drop takes no training, and is of the same rows before and after. A student may lose more: of a short training
    the gap between rows with such words and the rest tells of the end, since what never appears in a text is never learnt,
    so that training narrows the gap far less than it lowers the drop (LOG.md).
    """
    trimmed, _ = bench.modality.trim(bench.teacher, Structure(depth=len(bench.teacher.layers)))
    teacher_drop = bench.teacher_quality - _validation_quality(bench, trimmed)
    told = f"the teacher loses {100 * teacher_drop:.2f} points where it reads with the tokens that the training texts use"
    unseen, rest = bench.modality.rows_by_words()
    story = f"{unseen.sum():,} of {len(unseen):,} validation rows hold words that no training text holds"
    if min(unseen.sum(), rest.sum()) < FEWEST_ROWS:
        facts = {"teacher_drop": teacher_drop, "gap": None}
        return StepResult(facts, (told, f"{story}: too few of one kind to compare"))
    student, facts, _ = _short_training(bench, bench.structure(PROBE), "trying the vocabulary", folder)
    lost = bench.lost(bench.answers(student, bench.student_validation_rows))
    gap = Gap.of(lost[unseen], lost[rest])
    return StepResult(
        facts | {"teacher_drop": teacher_drop, "gap": gap},
        (
            told,
            f"{story}: after a short training they lose {100 * gap.unseen:.2f} points, the others "
            f"{100 * gap.rest:.2f}, a gap of {100 * gap.width:.2f} (standard error {100 * gap.error:.2f})",
        ),
    )


def try_structure(bench: Workbench, candidate: Candidate, folder: Path) -> StepResult:
    """A short distillation of a candidate cut straight from the teacher."""
    _, facts, reasons = _short_training(bench, candidate.structure, f"trying '{candidate.name}'", folder)
    return StepResult(facts, tuple(reasons))


def _short_training(
    bench: Workbench, structure: Structure, title: str, folder: Path
) -> tuple[CompactEncoder, dict[str, Any], list[str]]:
    """A student cut straight from the teacher after a trial's training; its facts, and what was removed."""
    search = bench.recipe.search
    layers = layer_map(len(bench.teacher.layers), structure.depth)
    student, reasons = _pruned(bench, structure, keep_layers(bench.teacher, layers))
    rows = bench.student_lesson_rows.sample(search.trial_rows, bench.recipe.seed)
    recovery = bench.recipe.prune.recovery
    config = replace(recovery, epochs=search.trial_epochs, evaluations=1, joined_batches=0.0)  # they pay late
    result = _recovered(bench, structure, student, config, title, folder, rows)
    return student, _training_facts(result) | {"drop": bench.teacher_quality - result.score}, reasons


def prune(bench: Workbench, candidate: Candidate, parent: Path, folder: Path) -> StepResult:
    """Removes heads, neurons and, of texts, tokens and embedding rank from the distilled student, and recovers it."""
    student, reasons = _pruned(bench, candidate.structure, bench.load_student(parent / MODEL_FOLDER))
    before = _validation_quality(bench, student)
    config, title = bench.recipe.prune.recovery, f"recovering '{candidate.name}'"
    result = _recovered(bench, candidate.structure, student, config, title, folder)
    bench.modality.save(student, folder / MODEL_FOLDER, trimmed=True)
    facts = (
        _training_facts(result)
        | {
            "quality_before_recovery": before,
            "parameters": sum(parameter.numel() for parameter in student.parameters()),
        }
        | bench.modality.trim_facts()
    )
    recovered = f"recovered from {before:.4f} to {result.score:.4f} on validation rows"
    return StepResult(
        facts, (*reasons, recovered if result.steps else "nothing was lost, so nothing is trained")
    )


def _pruned(
    bench: Workbench, structure: Structure, model: CompactEncoder
) -> tuple[CompactEncoder, list[str]]:
    """A candidate's structure, cut out of a model that has its layers already; not yet recovered."""
    rows = bench.train_rows.sample(bench.recipe.prune.importance_rows, bench.recipe.seed)
    batches: list[Batch] = list(bench.train_rows.batches(32, rows))
    masks = bench.recipe.prune.masks
    smaller, units = prune_units(
        model,
        structure,
        batches,
        rearrange=None if masks == "ranked" else rearrange,
        is_tuned=masks == "tuned",
    )
    smaller, tokens = bench.modality.trim(smaller, structure)
    return smaller, [*units, *tokens]


def _recovered(
    bench: Workbench,
    structure: Structure,
    student: CompactEncoder,
    config: TeachingConfig,
    title: str,
    folder: Path,
    rows: Sequence[int] | None = None,
) -> TrainingResult:
    """A student after its recovery; one that still computes what the teacher does is left alone."""
    if _is_lossless(bench, structure):
        return TrainingResult(score=_validation_quality(bench, student), curve=(), steps=0, wall_s=0.0)
    return recover(bench, student, config, title, folder, rows=rows)


def recover(
    bench: Workbench,
    student: Prunable,
    config: TeachingConfig,
    title: str,
    folder: Path,
    *,
    rows: Sequence[int] | None = None,
    trimmed: bool = True,
) -> TrainingResult:
    """Distils what was cut out of the teacher.

    Args:
        rows: of the lesson rows that it learns from; None takes all.
        trimmed: whether it reads the ids of the tokens that students keep, or the teacher's.
    """
    lesson, loss = _recovery(bench, student, config, rows, trimmed)
    return train(
        student,
        lesson,
        bench.student_validation_rows if trimmed else bench.validation_rows,
        config,
        folder=folder / "checkpoints",
        seed=bench.recipe.seed,
        progress=bench.progress,
        title=title,
        judge=bench.judge,
        loss=loss,
        beside=loss.beside,
    )


def seconds_an_epoch(bench: Workbench, student: Prunable, config: TeachingConfig, *, trimmed: bool) -> float:
    """That `recover` would take without evaluations, by its first steps."""
    lesson, loss = _recovery(bench, student, config, None, trimmed)
    return time_steps(student, lesson, config, loss, bench.recipe.seed) * ceil(
        len(lesson) / config.batch_size
    )


def _recovery(
    bench: Workbench,
    student: Prunable,
    config: TeachingConfig,
    rows: Sequence[int] | None,
    trimmed: bool,
) -> tuple[EncodedRows, TaskLoss]:
    """What a student learns from, and its loss."""
    lesson, logits = bench.student_lesson_rows if trimmed else bench.lesson_rows, bench.teacher_logits
    if rows is not None:
        lesson, logits = lesson.take(rows), logits[rows]
    augment = bench.augmentation(config, trimmed=trimmed)
    return lesson, TaskLoss(student, bench.teacher, logits, config, augment, seed=bench.recipe.seed)


def _is_lossless(bench: Workbench, structure: Structure) -> bool:
    """Whether nothing was removed but inputs that no training row uses."""
    is_whole = structure.depth == len(bench.teacher.layers) and structure.keeps_all_units
    return is_whole and structure.embedding_rank is None and bench.modality.trims_losslessly


def _validation_quality(bench: Workbench, student: CompactEncoder) -> float:
    rows = bench.student_validation_rows
    return bench.quality(bench.answers(student, rows), rows)


def _training_facts(result: TrainingResult) -> dict[str, Any]:
    return {
        "quality": result.score,
        "steps": result.steps,
        "curve": [list(point) for point in result.curve],
    }
