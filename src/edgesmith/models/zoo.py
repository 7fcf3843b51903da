"""Models of the zoo and the vision zoo, built from the classes of `transformers`, with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import torch
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    BertConfig,
    Dinov2Config,
    DistilBertConfig,
    MobileBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    ViTConfig,
)

from edgesmith.errors import ModelError
from edgesmith.models.load import LoadedModel, load_tokenizer
from edgesmith.records import BottleneckShape, EncoderShape, VisionModel, ZooModel


def zoo_config(model: ZooModel, labels: Sequence[str] = ("0", "1")) -> PreTrainedConfig:
    """The config of a model as a sequence classifier of these labels."""
    shape = model.shape
    names: dict[str, Any] = {
        "id2label": dict(enumerate(labels)),
        "label2id": {name: i for i, name in enumerate(labels)},
    }
    if isinstance(shape, BottleneckShape):
        return MobileBertConfig(**_mobilebert(shape), **names)
    return _KINDS[model.family](**_SETTINGS[model.family](shape), **names)


def build_zoo_model(model: ZooModel, *, labels: Sequence[str] = ("0", "1"), seed: int = 0) -> PreTrainedModel:
    """A classifier with random weights, in FP32: its structure and latency mean something, its answers do not."""
    return _build(zoo_config(model, labels), seed)


def build_vision_model(model: VisionModel, *, seed: int = 0) -> PreTrainedModel:
    """An image classifier with random weights, in FP32, for images of its published size."""
    shape = model.shape
    patch = isqrt(shape.patch_values // 3)
    settings: dict[str, Any] = {
        "image_size": isqrt(shape.patches) * patch,
        "patch_size": patch,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads[0],
        "num_labels": shape.labels,
    }
    if model.family == "dinov2":
        config: PreTrainedConfig = Dinov2Config(**settings, mlp_ratio=shape.neurons[0] // shape.hidden)
    else:
        config = ViTConfig(**settings, intermediate_size=shape.neurons[0])
    return _build(config, seed, AutoModelForImageClassification)


def load_zoo_classifier(model: ZooModel, tokenizer: str, labels: Sequence[str], seed: int) -> LoadedModel:
    """`build_zoo_model` with a tokenizer, as something to be trained.

    Args:
        tokenizer: local folder or hub id.

    Raises:
        ModelError: no fast tokenizer, or one with more tokens than the model has rows for.
    """
    loaded, config = load_tokenizer(tokenizer), zoo_config(model, labels)
    if len(loaded) > model.shape.vocab:
        raise ModelError(
            f"{tokenizer} has {len(loaded):,} tokens; {model.name} has rows for {model.shape.vocab:,}. "
            "Give the tokenizer of an uncased English BERT."
        )
    config.pad_token_id = loaded.pad_token_id
    return LoadedModel(model=_build(config, seed), tokenizer=loaded, has_head=False)


def _build(
    config: PreTrainedConfig, seed: int, classifier: Any = AutoModelForSequenceClassification
) -> PreTrainedModel:
    torch.manual_seed(seed)
    model: PreTrainedModel = classifier.from_config(config, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    return model


def _bert(shape: EncoderShape) -> dict[str, Any]:
    return {
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads[0],
        "intermediate_size": shape.neurons[0],
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.type_vocab,
    }


def _distilbert(shape: EncoderShape) -> dict[str, Any]:
    return {
        "vocab_size": shape.vocab,
        "dim": shape.hidden,
        "n_layers": shape.depth,
        "n_heads": shape.heads[0],
        "hidden_dim": shape.neurons[0],
        "max_position_embeddings": shape.positions,
    }


def _mobilebert(shape: BottleneckShape) -> dict[str, Any]:
    """As the authors' own configurations have it (google-research/mobilebert/config, the two that end in OPT)."""
    return {
        "vocab_size": shape.vocab,
        "hidden_size": shape.width,
        "intra_bottleneck_size": shape.inner,
        "embedding_size": shape.embedding,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "num_feedforward_networks": shape.ffns,
        "intermediate_size": shape.neurons,
        "use_bottleneck_attention": shape.has_narrow_attention,
        "key_query_shared_bottleneck": not shape.has_narrow_attention,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.type_vocab,
        "classifier_activation": False,
    }


_KINDS: dict[str, type[PreTrainedConfig]] = {"bert": BertConfig, "distilbert": DistilBertConfig}
_SETTINGS = {"bert": _bert, "distilbert": _distilbert}
