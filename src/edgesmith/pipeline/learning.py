"""`edgesmith finetune` and `edgesmith distill`: one model learns the task, from labels or from a teacher."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from edgesmith.analyze.cost import macs
from edgesmith.compress.distill import TaskLoss, predict_logits
from edgesmith.compress.importance import hidden_importance, select_hidden
from edgesmith.compress.match import layer_map
from edgesmith.compress.prune import NEURON_MULTIPLE
from edgesmith.compress.structure import factorise_embedding, keep_hidden, keep_layers
from edgesmith.compress.training import ConsistentLabels, TrainingResult, hard_label_loss, train
from edgesmith.errors import RecipeError
from edgesmith.models import CompactBert, CompactEncoder, load_classifier
from edgesmith.models.coupling import Prunable, prunable_shape, to_prunable
from edgesmith.models.device import prepare_torch
from edgesmith.models.families import check_has_compact_form
from edgesmith.models.plain import to_plain
from edgesmith.models.zoo import load_zoo_classifier
from edgesmith.pipeline.bench import MODEL_FOLDER, model_folder
from edgesmith.pipeline.folder import check_is_free
from edgesmith.pipeline.general import GeneralStage, check_same_ids, learn_generally, warn_if_larger
from edgesmith.pipeline.runs import RunFolder, StepResult, base_key, locked, model_fingerprint
from edgesmith.pipeline.tasks import TEXT_TASKS, Opened, open_finetuned, open_trainable
from edgesmith.recipe import Recipe, StudentConfig
from edgesmith.records import (
    STEP_RECORD_NAME,
    Progress,
    StepRecord,
    Training,
    find_zoo_model,
    is_zoo_name,
    to_dict,
    write_json,
)
from edgesmith.report.load import RECIPE_NAME

_TRAINED = "02-train"


def finetune(recipe: Recipe, out: Path, progress: Progress) -> Training:
    """Trains a model on the labels, as `recipe.finetune` says but for its restarts. The test rows are not read.

    Args:
        recipe: of it only the model, the task, the metric, the data, the seed and `finetune` count.
        out: folder for the model and its ``step.json``; must not exist, or be empty. A try that was stopped goes on.

    Raises:
        RecipeError: `out` holds something, or a model of the zoo lacks a tokenizer.
        ModelError: the model cannot be loaded.
        DataError: the data cannot be used.
        UnsupportedError: a family that is not known.
        StepError: the loss became infinite or NaN.
    """
    prepare_torch()
    check_is_free(out)
    opened, config = open_trainable(recipe), recipe.finetune
    weight = config.consistency_weight
    start = "it started from random weights"
    if recipe.tokenizer is None:
        start = "it started from its own weights" + ("" if opened.has_head else " and a new head")

    def work(folder: Path) -> StepResult:
        modality = opened.modality
        result = train(
            opened.model, modality.train_rows, modality.validation_rows, config,
            folder=folder / "checkpoints", seed=recipe.seed, progress=progress, title=f"fine-tuning {Path(recipe.model).name}",
            loss=ConsistentLabels(weight) if weight else hard_label_loss, judge=modality.judge,
        )  # fmt: skip
        modality.save(opened.model, folder / MODEL_FOLDER)
        return _facts(result)

    with lesson_folder(recipe, opened, out, progress) as folder:
        record, path = folder.step(_TRAINED, config={"finetune": config}, work=work)
        model = opened.modality.reload(path / MODEL_FOLDER)
        return _hand_over(_Lesson(recipe, opened, recipe.model, start, None), record, model, path, out)


def distill(recipe: Recipe, config: StudentConfig, out: Path, progress: Progress) -> Training:
    """Teaches a student what a fine-tuned model answers, as `recipe.distill` says. The test rows are not read.

    Args:
        recipe: `recipe.model` is the teacher; of the rest only the task, the metric, the data, the seed and `distill` count,
            and `prune.importance_rows` where hidden units are chosen.
        out: as for `finetune`.

    Raises:
        RecipeError: as for `finetune`; a student that the teacher does not have room for; or insides that cannot be compared
            as the recipe asks.
        ModelError: a model cannot be loaded, the teacher is not fine-tuned for the task, the student has other labels, or
            reads the texts as other ids.
        DataError, UnsupportedError, StepError: as for `finetune`.
    """
    prepare_torch()
    check_is_free(out)
    if config.model is not None and recipe.task not in TEXT_TASKS:
        raise RecipeError(
            f"student is {config.model}; allowed for {recipe.task}: one that is cut from the teacher. Give --layers, --hidden "
            f"or --rank instead; models by name or folder learn {' and '.join(TEXT_TASKS)}."
        )
    opened = open_finetuned(recipe, check_has_compact_form)
    teacher = opened.modality.compact(opened.model)
    student, origin, start = (
        _other(recipe, config.model, opened) if config.model else _cut(recipe, config, opened)
    )
    warn_if_larger(progress, student, teacher, "teacher")
    lesson = _Lesson(recipe, opened, config.model or f"student of {recipe.model}", start, teacher)
    TaskLoss(student, teacher, torch.empty(0), recipe.distill)  # refuses now what cannot be compared
    own = config.model is not None and not is_zoo_name(config.model)
    key = {"student": config, "weights": model_fingerprint(model_folder(str(config.model))) if own else None}
    with lesson_folder(recipe, opened, out, progress) as folder:
        parents: tuple[StepRecord, ...] = ()
        if opened.general is not None:
            record, path = folder.step(
                "01-general",
                config=key | {"general": recipe.distill.general, "texts": opened.general.key},
                work=_general_work(lesson, opened.general, student, teacher, progress),
                on_reuse=lambda record: progress.say(f"general stage: already done in {record.wall_s:.0f} s"),
            )
            parents, student = (record,), type(student).from_pretrained(path / MODEL_FOLDER)
        record, path = folder.step(
            _TRAINED, config=key | {"distill": recipe.distill}, parents=parents,
            work=_task_work(lesson, student, teacher, progress),
        )  # fmt: skip
        trained = type(student).from_pretrained(path / MODEL_FOLDER)
        general_loss = float(parents[0].facts["validation_loss"]) if parents else None
        plain = to_plain(trained, origin) or trained
        return _hand_over(lesson, record, plain, path, out, general_loss)


@dataclass(frozen=True)
class _Lesson:
    """Who learns what.

    Attributes:
        name: of the model that learns.
        start: its weights, in words.
        teacher: None where labels alone teach.
    """

    recipe: Recipe
    opened: Opened
    name: str
    start: str
    teacher: CompactEncoder | None


# ---- students


def _other(recipe: Recipe, name: str, opened: Opened) -> tuple[Prunable, PreTrainedModel, str]:
    """A model of its own, what it is as `transformers` has it, and what its weights are."""
    splits, reader = opened.modality.splits, cast(PreTrainedTokenizerBase, opened.modality.reader)
    if is_zoo_name(name):
        loaded = load_zoo_classifier(find_zoo_model(name), recipe.model, splits.label_names, recipe.seed)
        return to_prunable(loaded.model), loaded.model, "it started from random weights"
    torch.manual_seed(recipe.seed)  # of a head that the model does not have yet
    loaded = load_classifier(name, splits.label_names)
    check_same_ids(
        "student", (name, loaded.tokenizer), (recipe.model, reader), splits.train, splits.validation
    )  # fmt: skip
    return to_prunable(loaded.model), loaded.model, "it started from its own weights"


def _cut(recipe: Recipe, config: StudentConfig, opened: Opened) -> tuple[Prunable, PreTrainedModel, str]:
    """The same of a smaller model with a part of the teacher's weights."""
    whole: Any = to_prunable(opened.model)
    depth, told = len(whole.layers), []
    layers = config.layers or depth
    if layers > depth:
        raise RecipeError(f"layers is {layers}; allowed: 1 to {depth}, which the teacher has.")
    if config.rank is not None and not isinstance(whole, CompactBert):
        raise RecipeError(f"rank is {config.rank}; images have no word table. Leave --rank out.")
    kept = layer_map(depth, layers)
    student: Any = keep_layers(whole, kept)
    if layers < depth:
        told.append(f"layers {', '.join(map(str, kept))}")
    if config.hidden is not None:
        modality = opened.modality
        rows = modality.train_rows.sample(
            min(recipe.prune.importance_rows, len(modality.train_rows)), recipe.seed
        )
        importance = hidden_importance(whole, modality.train_rows.take(rows).batches(32))
        units = select_hidden(importance, config.hidden, NEURON_MULTIPLE)
        student = keep_hidden(student, units.tolist())
        told.append(f"{len(units)} of {len(importance)} hidden units")
    if config.rank is not None:
        student = factorise_embedding(student, config.rank)
        told.append(f"the word table at rank {config.rank}")
    return student, opened.model, f"it started from the teacher's weights: {'; '.join(told)}"


# ---- what is done


def _general_work(
    lesson: _Lesson, stage: GeneralStage, student: Prunable, teacher: CompactEncoder, progress: Progress
) -> Callable[[Path], StepResult]:
    def work(folder: Path) -> StepResult:
        result = learn_generally(lesson.recipe, stage, student, teacher, folder, progress, "general distillation")  # fmt: skip
        lesson.opened.modality.save(student, folder / MODEL_FOLDER)
        return StepResult({"validation_loss": result.score, "steps": result.steps})

    return work


def _task_work(
    lesson: _Lesson, student: Prunable, teacher: CompactEncoder, progress: Progress
) -> Callable[[Path], StepResult]:
    modality, config = lesson.opened.modality, lesson.recipe.distill

    def work(folder: Path) -> StepResult:
        rows = modality.lesson_rows
        augments = config.augmented_rows + config.joined_batches > 0
        augment = modality.augmentation(config, teacher, trimmed=False) if augments else None
        loss = TaskLoss(
            student, teacher, predict_logits(teacher, rows), config, augment, seed=lesson.recipe.seed
        )
        result = train(
            student, rows, modality.validation_rows, config,
            folder=folder / "checkpoints", seed=lesson.recipe.seed, progress=progress, title="distilling", loss=loss,
            judge=modality.judge, beside=loss.beside,
        )  # fmt: skip
        modality.save(student, folder / MODEL_FOLDER)
        return _facts(result)

    return work


def _facts(result: TrainingResult) -> StepResult:
    return StepResult({"quality": result.score, "curve": [list(point) for point in result.curve]})


@contextmanager
def lesson_folder(recipe: Recipe, opened: Opened, out: Path, progress: Progress) -> Iterator[RunFolder]:
    """A hidden folder beside `out` whose steps are found again when the same command is given again."""
    for note in (*opened.modality.splits.notes, *(opened.general.notes if opened.general else ())):
        progress.say(note)
    settings: dict[str, Any] = {
        "task": recipe.task,
        "metric": recipe.metric,
        "max_length": recipe.data.max_length,
    }
    if recipe.tokenizer is not None:
        settings["zoo"] = recipe.model
    source = model_folder(recipe.model, recipe.tokenizer)
    key = base_key(source, opened.modality.splits.fingerprint, recipe.seed, settings)
    work = out.with_name(f".{out.name}.partial")
    with locked(work):
        recipe.save(work / RECIPE_NAME)
        yield RunFolder(work, key)
        shutil.rmtree(work)


def _hand_over(
    lesson: _Lesson,
    record: StepRecord,
    model: PreTrainedModel,
    path: Path,
    out: Path,
    general_loss: float | None = None,
) -> Training:
    """Writes the trained model with its record and puts it where it was asked for."""
    modality, teacher = lesson.opened.modality, lesson.teacher
    rows = modality.validation_rows
    tokens = round(sum(rows.lengths) / len(rows))
    handed = path / "handed-over"
    modality.save(model, handed)
    training = Training(
        model=lesson.name,
        start=lesson.start,
        teacher=lesson.recipe.model if teacher else None,
        folder=str(out),
        model_class=type(model).__name__,
        metric=modality.judge.metric,
        validation_rows=len(rows.truth),
        quality=float(record.facts["quality"]),
        teacher_quality=None
        if teacher is None
        else modality.judge.quality(
            rows.answers(predict_logits(teacher, rows).numpy(), modality.judge), rows.truth
        ),
        curve=tuple((int(step), float(score)) for step, score in record.facts["curve"]),
        parameters=model.num_parameters(),
        teacher_parameters=lesson.opened.model.num_parameters() if teacher else None,
        tokens=tokens,
        macs=macs(prunable_shape(model.config), tokens),
        teacher_macs=macs(prunable_shape(lesson.opened.model.config), tokens) if teacher else None,
        wall_s=record.wall_s,
        general_loss=general_loss,
    )
    write_json(handed / STEP_RECORD_NAME, replace(record, facts=to_dict(training)))
    if out.exists():
        out.rmdir()  # it is empty
    handed.rename(out)
    return training
