"""Models and tokenizers from a folder or the hub, checked before anything is done with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.image_processing_utils import BaseImageProcessor

from edgesmith.errors import ModelError
from edgesmith.models.families import TOKEN_HEAD, check_is_known, is_compact, label_names
from edgesmith.models.processing import check_fits, load_processor, read_preprocessing
from edgesmith.models.vision import fit_image_size, vision_family_of
from edgesmith.records import ImagePreprocessing
from edgesmith.runtime.questions import SPAN_LABELS

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A classifier of sequences or tokens with its tokenizer.

    Attributes:
        has_head: False where the checkpoint had no trained classifier of this kind; what there is of one is then random,
            or belongs to another task.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    has_head: bool


@dataclass(frozen=True, kw_only=True)
class LoadedImageModel:
    """An image classifier with its image processor.

    Attributes:
        preprocessing: what the processor does.
        has_head: as in `LoadedModel`.
    """

    model: PreTrainedModel
    processor: BaseImageProcessor
    preprocessing: ImagePreprocessing
    has_head: bool


def load_classifier(source: str, labels: tuple[str, ...] | None = None) -> LoadedModel:
    """Loads a model of a known family for sequence classification, in FP32, and its fast tokenizer.

    Only safetensors weights are read; nothing is unpickled.

    Args:
        source: local folder or hub id.
        labels: label names of the task; None takes the model's own.

    Raises:
        ModelError: nothing there, no safetensors, no fast tokenizer, weights that are not finite, or a trained head
            whose labels are not as many as the data's, or the data's own in another order.
        UnsupportedError: a family that is not known.
    """
    model, has_head = _load_model(source, labels, AutoModelForSequenceClassification, check_is_known)
    return LoadedModel(model=model, tokenizer=load_tokenizer(source), has_head=has_head)


def load_config(source: str) -> PreTrainedConfig:
    """Config of a model; no weights are read.

    Raises:
        ModelError: nothing there, or no config.
    """
    config: PreTrainedConfig = _read(source, lambda: AutoConfig.from_pretrained(source))
    return config


QUESTION_HEAD = "ForQuestionAnswering"
"""How the names of classes end that have two logits for each token: whether an answer starts there, and ends there."""

_TASK_HEADS = {
    "ForSequenceClassification": "text-classification",
    TOKEN_HEAD: "token-classification",
    QUESTION_HEAD: "question-answering",
    "ForMultipleChoice": "multiple choice",
}
"""How the names of classes end that are trained for a task of their own, and that task."""


def load_token_classifier(source: str, labels: tuple[str, ...]) -> LoadedModel:
    """The same for a model that has logits for each token.

    A trained head keeps its own labels and their order; it may have more than the data.

    Args:
        labels: label names of the task.

    Raises:
        ModelError: as `load_classifier`; or the head of another task, or one that lacks some of the labels.
        UnsupportedError: a family that is not known.
    """
    config = _read(source, lambda: AutoConfig.from_pretrained(source))
    _check_head(source, config, TOKEN_HEAD)
    if _names_head(config, AutoModelForTokenClassification):
        own = label_names(config)
        if lacking := sorted(set(labels) - set(own)):
            raise ModelError(
                f"{source} does not know the labels {', '.join(map(repr, lacking))} of the data; its own are "
                f"{', '.join(own)}. Give data with these, or the model without a head."
            )
        labels = own
    model, has_head = _load_model(source, labels, AutoModelForTokenClassification, check_is_known)
    return LoadedModel(model=model, tokenizer=load_tokenizer(source), has_head=has_head)


def load_span_finder(source: str) -> LoadedModel:
    """The same for a model that answers questions from a context: its head as a token classifier's with `SPAN_LABELS`.

    Raises:
        ModelError: as `load_classifier`; or the head of another task.
        UnsupportedError: a family that is not known.
    """
    config = _read(source, lambda: AutoConfig.from_pretrained(source))
    is_ours = _names_head(config, AutoModelForTokenClassification) and label_names(config) == SPAN_LABELS
    if not is_ours:
        _check_head(source, config, QUESTION_HEAD)
    model, has_head = _load_model(
        source,
        SPAN_LABELS,
        AutoModelForTokenClassification,
        check_is_known,
        names_head=is_ours or _names_head(config, AutoModelForQuestionAnswering),
        key_mapping={"^qa_outputs": "classifier"},
    )
    return LoadedModel(model=model, tokenizer=load_tokenizer(source), has_head=has_head)


def _check_head(source: str, config: PreTrainedConfig, wanted: str) -> None:
    """Refuses a checkpoint that says it was trained for another task."""
    for name in config.architectures or []:
        head = next((head for head in _TASK_HEADS if name.endswith(head)), wanted)
        if head != wanted:
            raise ModelError(
                f"{source} is a {name}, which has the head of another task, {_TASK_HEADS[head]}; allowed: a model that "
                f"ends in {wanted}, or one without a head, which is then fine-tuned."
            )


def load_image_classifier(source: str, labels: tuple[str, ...] | None = None) -> LoadedImageModel:
    """The same for images, with the model's image processor.

    Raises:
        ModelError: as `load_classifier`; or no image processor, or one that gives another size than the model takes.
        UnsupportedError: a family, or a kind of preprocessing, that is not known.
        MissingExtraError: Pillow is not installed.
    """
    model, has_head = _load_model(source, labels, AutoModelForImageClassification, vision_family_of)
    processor = _read(source, lambda: load_processor(source))
    preprocessing = read_preprocessing(source, processor, model.config)
    fit_image_size(model, preprocessing.size)
    check_fits(source, preprocessing, model.config)
    return LoadedImageModel(model=model, processor=processor, preprocessing=preprocessing, has_head=has_head)


def _load_model(
    source: str,
    labels: tuple[str, ...] | None,
    auto: Any,
    family: Callable[[PreTrainedConfig], object],
    *,
    names_head: bool | None = None,
    key_mapping: dict[str, str] | None = None,
) -> tuple[PreTrainedModel, bool]:
    """A classifier, and whether its head is trained.

    Args:
        auto: the Auto class that opens it.
        family: of a config; raises for one that is not known.
        names_head: whether the checkpoint says that it has such a head; None: as `_names_head` has it.
        key_mapping: pattern of a weight's name in the checkpoint -> its name in the model.
    """
    config = _read(source, lambda: AutoConfig.from_pretrained(source))
    if not is_compact(config):
        family(config)
    names_head = _names_head(config, auto) if names_head is None else names_head
    if labels is not None:
        if names_head:
            _check_labels(source, label_names(config), labels)
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
    model, report = _read(
        source,
        lambda: auto.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            attn_implementation="eager",
            output_loading_info=True,
            key_mapping=key_mapping,
            ignore_mismatched_sizes=True,  # reported below, with their names
        ),
    )
    _check_finite(model, source)
    initialised = set(report["missing_keys"]) | {name for name, *_ in report["mismatched_keys"]}
    head = {name for name in initialised if "classifier" in name or "pooler" in name}
    _check_body(source, initialised if names_head else initialised - head)
    return model.eval(), names_head or not (head or config.architectures)


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """The model's fast tokenizer, with any padding and truncation of its own switched off.

    Raises:
        ModelError: there is none, or only a slow one.
    """
    tokenizer = _read(source, lambda: AutoTokenizer.from_pretrained(source))
    # Without any file, transformers makes a tokenizer that knows its special tokens only: every word is unknown.
    if not tokenizer.is_fast or set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise ModelError(
            f"{source} has no tokenizer.json that could be read, nor files to make one from. Write it beside the model, from "
            'the model that this one was trained from (ORIGIN). Type: python -c "from transformers import AutoTokenizer; '
            f"AutoTokenizer.from_pretrained('ORIGIN').save_pretrained('{source}')\""
        )
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def save_classifier(
    model: PreTrainedModel, reader: PreTrainedTokenizerBase | BaseImageProcessor, folder: Path
) -> None:
    """Writes a model and its tokenizer or image processor so that `from_pretrained` reads them back."""
    model.save_pretrained(folder)
    reader.save_pretrained(folder)


def _names_head(config: PreTrainedConfig, auto: Any) -> bool:
    """Whether the checkpoint says that it is a classifier of the kind that the Auto class opens."""
    head = auto.__name__.removeprefix("AutoModel")  # such as ForSequenceClassification
    return any(name.endswith(head) for name in config.architectures or [])


def _check_labels(source: str, own: tuple[str, ...], labels: tuple[str, ...]) -> None:
    """Refuses data whose class indices are not those of a trained head, as far as names and numbers tell.

    Names that differ altogether (``LABEL_0``, or ``positive`` against ``1``) are taken to be in the same order.
    """
    if len(own) != len(labels):
        raise ModelError(
            f"{source} has a head of {len(own)} labels ({', '.join(own)}); the data "
            f"has {len(labels)} ({', '.join(labels)}). Give data with the same labels, or the model without a head."
        )
    ours, theirs = ([name.casefold() for name in names] for names in (own, labels))
    if ours != theirs and sorted(ours) == sorted(theirs):
        raise ModelError(
            f"{source} has the labels in the order {', '.join(own)}; the data's classes are in the order "
            f"{', '.join(labels)}, so the two would be mixed up. Write the model's class indices "
            f"(0 to {len(own) - 1}) into the data's label column."
        )


def _check_body(source: str, initialised: set[str]) -> None:
    """Refuses a checkpoint in which weights are missing, or have another size than its config says."""
    if initialised:
        raise ModelError(
            f"{source} lacks weights of the size that its config.json asks for: "
            f"{', '.join(sorted(initialised)[:3])}{', ...' if len(initialised) > 3 else '.'} Export the model again."
        )


def _check_finite(model: PreTrainedModel, source: str) -> None:
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ModelError(f"{source}: the weight {name} holds NaN or infinity. Export the model again.")


def _read(source: str, reader: Callable[[], T]) -> T:
    """Runs a `from_pretrained`; what goes wrong becomes one clear error."""
    if not Path(source).exists() and (source.startswith((".", "/", "~")) or source.count("/") > 1):
        raise ModelError(
            f"{source}: no such model folder. Give a folder with config.json, or a hub id such as org/name."
        )
    try:
        return reader()
    except (OSError, ValueError, KeyError, SafetensorError) as problem:
        first = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        place = "folder" if Path(source).is_dir() else "hub id (no folder of that name is here)"
        raise ModelError(f"{source}: this {place} could not be loaded. {first}") from problem
