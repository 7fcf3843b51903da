"""The general stage: a student learns on texts without labels what an encoder computes inside, before it learns the task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from edgesmith.compress.distill import GeneralLoss
from edgesmith.compress.match import check_match, layer_map
from edgesmith.compress.structure import keep_layers
from edgesmith.compress.training import TrainingResult, train
from edgesmith.data import Splits, TextExamples, load_unlabelled
from edgesmith.data.encoding import EncodedExamples, encode
from edgesmith.errors import ModelError
from edgesmith.models import CompactEncoder, LoadedModel, load_classifier, shape_of, to_compact
from edgesmith.models.coupling import Prunable, prunable_shape
from edgesmith.pipeline.bench import MODEL_FOLDER, Workbench, model_folder
from edgesmith.pipeline.runs import StepResult, model_fingerprint
from edgesmith.recipe import Recipe
from edgesmith.records import Progress


@dataclass(frozen=True)
class GeneralStage:
    """What a general stage learns from.

    Attributes:
        teacher: another than the task's; None for that one.
        key: what its result depends on beside the recipe: the texts and the teacher.
    """

    train_rows: EncodedExamples
    validation_rows: EncodedExamples
    teacher: PreTrainedModel | None
    notes: tuple[str, ...]
    key: tuple[str, ...]


def open_general(recipe: Recipe, splits: Splits[TextExamples], model: LoadedModel) -> GeneralStage | None:
    """Reads the texts and the teacher of the recipe's general stage, and checks that they fit; None for no such stage.

    Args:
        model: the recipe's.

    Raises:
        DataError: as `load_unlabelled`.
        ModelError: the teacher cannot be loaded, or has another tokenizer.
        RecipeError: its insides cannot be compared as the recipe asks.
    """
    config = recipe.distill.general
    if config.data is None:
        return None
    texts = load_unlabelled(config, splits, recipe.seed)
    positions, key = int(model.model.config.max_position_embeddings), [texts.fingerprint]
    teacher = None if config.teacher is None else load_classifier(config.teacher)
    if config.teacher is not None and teacher is not None:
        positions = min(positions, int(teacher.model.config.max_position_embeddings))
        key.append(model_fingerprint(model_folder(config.teacher)))
        check_same_ids(
            "distill.general.teacher",
            (config.teacher, teacher.tokenizer),
            (recipe.model, model.tokenizer),
            texts.train,
            texts.validation,
        )
    ours = shape_of(model.model.config)
    theirs = shape_of(teacher.model.config) if teacher else ours
    check_match(config, ours, theirs, layer_map(theirs.depth, ours.depth))
    length = min(recipe.data.max_length, positions)
    return GeneralStage(
        encode(model.tokenizer, texts.train, length),
        encode(model.tokenizer, texts.validation, length),
        teacher.model if teacher else None,
        texts.notes,
        tuple(key),
    )


def check_same_ids(
    key: str, one: tuple[str, Any], other: tuple[str, PreTrainedTokenizerBase], *parts: TextExamples
) -> None:
    """Refuses two models, each a name and its tokenizer, that read any of the texts as other ids.

    Args:
        key: what names the first of them.

    Raises:
        ModelError: they do.
    """
    for part in parts:
        batches = (tokenizer(list(part.texts))["input_ids"] for _, tokenizer in (one, other))
        for text, theirs, ours in zip(part.texts, *batches, strict=True):
            if theirs != ours:
                raise ModelError(
                    f"{key}: {one[0]} reads {text[:40]!r} as the ids {_start(theirs)}, {other[0]} as {_start(ours)}; "
                    f"allowed: an encoder with the tokenizer of the model. Give one, or leave {key} out."
                )


def _start(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:6])) + (", ..." if len(ids) > 6 else "")


def warn_if_larger(progress: Progress, student: Prunable, teacher: CompactEncoder, name: str) -> None:
    """Says so where a student is deeper or wider than what it learns from."""
    ours, theirs = prunable_shape(student.config), shape_of(teacher.config)
    if ours.depth > theirs.depth or ours.hidden > theirs.hidden:
        progress.say(
            f"warning: the student ({ours.depth} layers of width {ours.hidden}) is larger than the {name} "
            f"({theirs.depth} of {theirs.hidden}), which may have nothing to teach it"
        )


def learn_generally(
    recipe: Recipe,
    stage: GeneralStage,
    student: Prunable,
    task_teacher: CompactEncoder,
    folder: Path,
    progress: Progress,
    title: str,
) -> TrainingResult:
    """A student learns what the stage's teacher computes inside, or the task's where it has none of its own.

    Args:
        folder: checkpoints lie in it while it learns.

    Raises:
        RecipeError: their insides cannot be compared as the recipe asks.
        StepError: the loss became infinite or NaN.
    """
    config = recipe.distill.general
    teacher = task_teacher if stage.teacher is None else to_compact(stage.teacher)
    warn_if_larger(progress, student, teacher, "teacher of the general stage")
    loss = GeneralLoss(student, teacher, config, seed=recipe.seed)
    return train(
        student,
        stage.train_rows,
        stage.validation_rows,
        config,
        folder=folder / "checkpoints",
        seed=recipe.seed,
        progress=progress,
        title=title,
        loss=loss,
        judge=None,
        beside=loss.beside,
    )


def teach_generally(bench: Workbench, stage: GeneralStage, depth: int, folder: Path) -> StepResult:
    """A student cut from the task's teacher learns what an encoder computes inside."""
    config = bench.recipe.distill.general
    layers = layer_map(len(bench.teacher.layers), depth)
    student = keep_layers(bench.teacher, layers)
    title = f"general distillation of {depth} layers"
    result = learn_generally(bench.recipe, stage, student, bench.teacher, folder, bench.progress, title)
    bench.modality.save(student, folder / MODEL_FOLDER)
    source = "the task's teacher" if stage.teacher is None else str(config.teacher)
    return StepResult(
        {
            "layers": layers,
            "validation_loss": result.score,
            "steps": result.steps,
            "curve": [list(point) for point in result.curve],
        },
        (
            f"on {len(stage.train_rows):,} texts without labels, the student learnt what {source} computes inside: "
            f"loss {result.score:.4f} on {len(stage.validation_rows):,} others, after {result.steps:,} steps",
        ),
    )
