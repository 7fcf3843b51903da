"""The tasks: how a recipe's data and model are opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from edgesmith.compress.match import check_match, layer_map
from edgesmith.data import (
    Splits,
    TextExamples,
    load_image_splits,
    load_question_splits,
    load_splits,
    load_tagged_splits,
    with_unlabelled,
)
from edgesmith.data.span_encoding import check_questions_fit
from edgesmith.errors import ModelError, RecipeError
from edgesmith.models import (
    LoadedModel,
    load_classifier,
    load_image_classifier,
    load_span_finder,
    load_token_classifier,
    load_zoo_classifier,
    shape_of,
    zoo_config,
)
from edgesmith.models.families import check_has_compact_form, family_of, label_names
from edgesmith.models.load import load_config
from edgesmith.pipeline.general import GeneralStage, open_general
from edgesmith.pipeline.images import ImageModality
from edgesmith.pipeline.modality import Modality
from edgesmith.pipeline.questions import QuestionModality
from edgesmith.pipeline.text import TextModality
from edgesmith.pipeline.tokens import TagModality
from edgesmith.recipe import Recipe
from edgesmith.records import (
    METRICS_OF,
    QUESTION_TASK,
    RANDOM_WEIGHTS,
    SCORED_TASK,
    TAGGED_TASK,
    TOKEN_TASKS,
    ZOO,
    Task,
    find_zoo_model,
    is_zoo_name,
)
from edgesmith.targets import check_task

TEXT_TASKS: tuple[Task, ...] = ("text-classification", "text-regression")
"""Those of one answer to a text or a pair, which models of the zoo are trained for."""


@dataclass(frozen=True)
class Opened:
    """What a run starts from.

    Attributes:
        has_head: the model is fine-tuned for the task already.
        general: what a general stage learns from; None for no such stage.
    """

    model: PreTrainedModel
    has_head: bool
    modality: Modality
    general: GeneralStage | None = None


def open_task(recipe: Recipe) -> Opened:
    """Reads a recipe's data and model, and checks that they fit and can be compressed; nothing is written.

    Raises:
        EdgesmithError: data or model cannot be used, or not together.
    """
    _check_runtimes(recipe)
    if is_zoo_name(recipe.model):
        family_of(zoo_config(ZOO[recipe.model]))
    opened = open_trainable(recipe)
    opened.modality.check_can_trim()
    shape = shape_of(opened.model.config)
    for config in (recipe.distill, recipe.prune.recovery):
        check_match(config, shape, shape, layer_map(shape.depth, shape.depth))
    return opened


def open_trainable(recipe: Recipe) -> Opened:
    """`open_inputs` for what is trained whole: also any model of the zoo, with a tokenizer.

    Raises:
        EdgesmithError: as `open_task`.
    """
    _check_zoo(recipe)
    return open_inputs(recipe)


def open_inputs(recipe: Recipe) -> Opened:
    """The same for a model of any known family, whether or not it can be compressed.

    Raises:
        EdgesmithError: as `open_task`.
    """
    return _OPENERS.get(recipe.task, _open_texts)(recipe)


def _check_runtimes(recipe: Recipe) -> None:
    for runtime in recipe.runtimes:
        check_task(runtime, recipe.task)


def open_finetuned(recipe: Recipe, check: Callable[[PreTrainedConfig], None]) -> Opened:
    """`open_inputs` for what changes a model that has learnt its task.

    Args:
        check: of the model's config; refuses those that nothing can be done with.

    Raises:
        ModelError: a name of the zoo, or a model that is not fine-tuned for the task.
    """
    if is_zoo_name(recipe.model):
        raise ModelError(f"{recipe.model} is a model of the zoo, with random weights. Give a fine-tuned one.")
    check(load_config(recipe.model))
    opened = open_inputs(recipe)
    if not opened.has_head:
        raise ModelError(
            f"{recipe.model} has no trained head for {recipe.task}, so it cannot tell what matters. Fine-tune it first: "
            "`edgesmith finetune`; `edgesmith compress` does both."
        )
    return opened


def _check_zoo(recipe: Recipe) -> None:
    """Refuses a model of the zoo that lacks a tokenizer or cannot be compressed, and a tokenizer for any other model."""
    name, tokenizer = recipe.model, recipe.tokenizer
    if not is_zoo_name(name):
        if tokenizer is not None:
            raise RecipeError(
                f"tokenizer is {tokenizer!r}, and {name} has its own; one is given for a model of the zoo only: "
                f"{', '.join(ZOO)}. Leave --tokenizer out."
            )
        return
    if recipe.task == "image-classification":
        raise RecipeError(f"{name} reads texts; the task is {recipe.task}. Give a model of images.")
    if recipe.task in TOKEN_TASKS:
        raise RecipeError(
            f"{name} is a model of the zoo, which is trained for {' or '.join(TEXT_TASKS)}; the task is {recipe.task}. "
            "Give the folder or hub id of trained weights as MODEL."
        )
    if tokenizer is None:
        raise RecipeError(
            f"{name} is a model of the zoo ({RANDOM_WEIGHTS}) and has no tokenizer. To train it from random weights, "
            f"type: --tokenizer FOLDER, with the tokenizer of an uncased English BERT. To compress trained weights, give "
            f"their folder or hub id as MODEL{_hint(name)}."
        )


def _hint(name: str) -> str:
    weights = ZOO[name].weights
    return f", such as {weights}" if weights else ""


def _open_texts(recipe: Recipe) -> Opened:
    splits = load_splits(recipe.data, recipe.seed, scores=recipe.task == SCORED_TASK)
    splits = with_unlabelled(recipe.data, splits)
    if recipe.tokenizer is not None:
        splits = replace(
            splits, notes=(*splits.notes, f"{recipe.model} is of the zoo: it has random weights")
        )
    return _opened(recipe, splits, _load_texts_model(recipe, splits.label_names), TextModality)


def _check_keeps_tokens(recipe: Recipe) -> None:
    count, size = recipe.prune.min_token_count, recipe.prune.vocabulary_size
    for key, value, allowed in (("min_token_count", count, 1), ("vocabulary_size", size, None)):
        if value != allowed:
            raise RecipeError(
                f"prune.{key} is {value}; allowed for {recipe.task}: {'null' if allowed is None else allowed}. A student "
                "learns from its teacher token by token, so both have to read the training texts as the same tokens."
            )


def _open_tags(recipe: Recipe) -> Opened:
    _check_keeps_tokens(recipe)
    splits = load_tagged_splits(
        recipe.data, recipe.seed, has_entities=recipe.metric in (None, METRICS_OF[recipe.task][0])
    )
    torch.manual_seed(recipe.seed)  # of a head that the model does not have yet
    loaded = load_token_classifier(recipe.model, splits.label_names)
    splits = replace(splits, label_names=label_names(loaded.model.config))  # in the order of its head
    return _opened(recipe, splits, loaded, TagModality)


def _open_questions(recipe: Recipe) -> Opened:
    _check_keeps_tokens(recipe)
    splits = load_question_splits(recipe.data, recipe.seed)
    torch.manual_seed(recipe.seed)  # of a head that the model does not have yet
    loaded = load_span_finder(recipe.model)
    opened = _opened(recipe, splits, loaded, QuestionModality)
    for part in (splits.train, splits.validation, splits.test):
        check_questions_fit(loaded.tokenizer, part, opened.modality.max_length)
    return opened


def _opened(
    recipe: Recipe, splits: Splits[TextExamples], loaded: LoadedModel, kind: type[TextModality]
) -> Opened:
    if recipe.distill.general.data is not None:
        check_has_compact_form(loaded.model.config)
    positions = int(loaded.model.config.max_position_embeddings)
    modality = kind(recipe, splits, loaded.tokenizer, positions)
    return Opened(loaded.model, loaded.has_head, modality, open_general(recipe, splits, loaded))


def _load_texts_model(recipe: Recipe, labels: tuple[str, ...]) -> LoadedModel:
    if recipe.tokenizer is not None:
        return load_zoo_classifier(find_zoo_model(recipe.model), recipe.tokenizer, labels, recipe.seed)
    torch.manual_seed(recipe.seed)  # of a head that the model does not have yet
    return load_classifier(recipe.model, labels)


def _open_images(recipe: Recipe) -> Opened:
    splits = load_image_splits(recipe.data, recipe.seed)
    torch.manual_seed(recipe.seed)  # likewise
    loaded = load_image_classifier(recipe.model, splits.label_names)
    return Opened(loaded.model, loaded.has_head, ImageModality(recipe, splits, loaded))


_OPENERS: dict[Task, Callable[[Recipe], Opened]] = {
    "image-classification": _open_images,
    TAGGED_TASK: _open_tags,
    QUESTION_TASK: _open_questions,
}
"""Of the tasks that are not one answer to a text."""
