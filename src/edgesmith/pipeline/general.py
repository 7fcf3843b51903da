"""The general stage: a student learns on texts without labels what an encoder computes inside, before it learns the task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from edgesmith.compress.distill import GeneralLoss
from edgesmith.compress.match import check_match, layer_map
from edgesmith.compress.structure import keep_layers
from edgesmith.compress.training import train
from edgesmith.data import Splits, TextExamples, load_unlabelled
from edgesmith.data.encoding import EncodedExamples, encode
from edgesmith.errors import ModelError
from edgesmith.models import LoadedModel, load_classifier, shape_of, to_compact
from edgesmith.pipeline.bench import MODEL_FOLDER, Workbench, model_folder
from edgesmith.pipeline.runs import StepResult, model_fingerprint
from edgesmith.recipe import Recipe


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
        _check_tokenizer(recipe, model.tokenizer, teacher.tokenizer, texts.train, texts.validation)
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


def _check_tokenizer(
    recipe: Recipe, ours: PreTrainedTokenizerBase, theirs: PreTrainedTokenizerBase, *parts: TextExamples
) -> None:
    """Refuses a teacher that reads any of the texts as other ids than the model does."""
    for part in parts:
        batches = (tokenizer(list(part.texts))["input_ids"] for tokenizer in (ours, theirs))
        for text, own, other in zip(part.texts, *batches, strict=True):
            if own != other:
                raise ModelError(
                    f"distill.general.teacher: {recipe.distill.general.teacher} reads {text[:40]!r} as the ids "
                    f"{_start(other)}, {recipe.model} as {_start(own)}; allowed: an encoder with the tokenizer of the "
                    "model. Give one, or leave distill.general.teacher out."
                )


def _start(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:6])) + (", ..." if len(ids) > 6 else "")


def teach_generally(bench: Workbench, stage: GeneralStage, depth: int, folder: Path) -> StepResult:
    """A student cut from the task's teacher learns what an encoder computes inside."""
    config = bench.recipe.distill.general
    layers = layer_map(len(bench.teacher.layers), depth)
    student = keep_layers(bench.teacher, layers)
    teacher = bench.teacher if stage.teacher is None else to_compact(stage.teacher)
    ours, theirs = shape_of(student.config), shape_of(teacher.config)
    if ours.depth > theirs.depth or ours.hidden > theirs.hidden:
        bench.progress.say(
            f"warning: the student ({ours.depth} layers of width {ours.hidden}) is larger than the teacher of the "
            f"general stage ({theirs.depth} of {theirs.hidden}), which may have nothing to teach it"
        )
    loss = GeneralLoss(student, teacher, config, seed=bench.recipe.seed)
    result = train(
        student,
        stage.train_rows,
        stage.validation_rows,
        config,
        folder=folder / "checkpoints",
        seed=bench.recipe.seed,
        progress=bench.progress,
        title=f"general distillation of {depth} layers",
        loss=loss,
        judge=None,
        beside=loss.beside,
    )
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
