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
        ModelError: nothing there, no safetensors, no fast tokenizer, weights that are not finite, or a head whose
            number of labels is not the data's.
        UnsupportedError: a family that is not known.
    """
    config = _read(source, lambda: AutoConfig.from_pretrained(source))
    if not is_compact(config):
        family_of(config)
    trained = _has_classifier(config)
    if labels is not None:
        if trained and config.num_labels != len(labels):
            raise ModelError(
                f"{source} has a head of {config.num_labels} labels ({', '.join(config.id2label.values())}); the data "
                f"has {len(labels)} ({', '.join(labels)}). Give data with the same labels, or the model without a head."
            )
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
