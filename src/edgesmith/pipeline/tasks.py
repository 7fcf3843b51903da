"""The tasks: how a recipe's data and model are opened."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from edgesmith.data import load_image_splits, load_splits
from edgesmith.errors import UnsupportedError
from edgesmith.models import load_classifier, load_image_classifier
from edgesmith.pipeline.images import ImageModality
from edgesmith.pipeline.modality import Modality
from edgesmith.pipeline.text import TextModality
from edgesmith.recipe import Recipe
from edgesmith.records import SCORED_TASK

IMAGE_RUNTIMES = ("onnxruntime",)
"""Those whose exporter and session take pixels."""


@dataclass(frozen=True)
class Opened:
    """What a run starts from.

    Attributes:
        has_head: the model is fine-tuned for the task already.
    """

    model: PreTrainedModel
    has_head: bool
    modality: Modality


def open_task(recipe: Recipe) -> Opened:
    """Reads a recipe's data and model, and checks that they fit; nothing is written.

    Raises:
        EdgesmithError: data or model cannot be used, or not together.
    """
    return (_open_images if recipe.task == "image-classification" else _open_texts)(recipe)


def _open_texts(recipe: Recipe) -> Opened:
    splits = load_splits(recipe.data, recipe.seed, scores=recipe.task == SCORED_TASK)
    torch.manual_seed(recipe.seed)  # of a head that the model does not have yet
    loaded = load_classifier(recipe.model, splits.label_names)
    positions = int(loaded.model.config.max_position_embeddings)
    return Opened(loaded.model, loaded.has_head, TextModality(recipe, splits, loaded.tokenizer, positions))


def _open_images(recipe: Recipe) -> Opened:
    for runtime in recipe.runtimes:
        if runtime not in IMAGE_RUNTIMES:
            raise UnsupportedError(
                f"{recipe.task} on {runtime} is not supported; {', '.join(IMAGE_RUNTIMES)} is."
            )
    splits = load_image_splits(recipe.data, recipe.seed)
    torch.manual_seed(recipe.seed)  # likewise
    loaded = load_image_classifier(recipe.model, splits.label_names)
    return Opened(loaded.model, loaded.has_head, ImageModality(recipe, splits, loaded))
