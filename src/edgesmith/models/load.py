"""Models and tokenizers from a folder or the hub, checked before anything is done with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from edgesmith.errors import ModelError
from edgesmith.models.families import family_of, is_compact

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A sequence classifier with its tokenizer.

    Attributes:
        has_head: False where the checkpoint had no trained classifier, which was then initialised at random.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
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
    config = _read(source, lambda: AutoConfig.from_pretrained(source))
    if not is_compact(config):
        family_of(config)
    if labels is not None:
        if _has_classifier(config):
            _check_labels(source, _label_names(config), labels)
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
    model, report = _read(
        source,
        lambda: AutoModelForSequenceClassification.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            attn_implementation="eager",
            output_loading_info=True,
        ),
    )
    _check_finite(model, source)
    head = {name for name in report["missing_keys"] if "classifier" in name}
    body = {name for name in report["missing_keys"] if name not in head and "pooler" not in name}
    if body:
        raise ModelError(
            f"{source} lacks weights of its own architecture: {', '.join(sorted(body)[:3])}, ..."
        )
    return LoadedModel(model=model.eval(), tokenizer=load_tokenizer(source), has_head=not head)


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """The model's fast tokenizer, with any padding and truncation of its own switched off."""
    tokenizer = _read(source, lambda: AutoTokenizer.from_pretrained(source))
    if not tokenizer.is_fast:
        raise ModelError(f"{source} has no fast tokenizer. Save it with tokenizer.json beside the model.")
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def save_classifier(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes model and tokenizer so that `load_classifier` (or `from_pretrained`) reads them back."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _has_classifier(config: PreTrainedConfig) -> bool:
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or [])


def _label_names(config: PreTrainedConfig) -> tuple[str, ...]:
    return tuple(name for _, name in sorted((config.id2label or {}).items()))


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
