"""The model families edgesmith knows: where each keeps its heads, neurons, layers and embeddings.

A family is one row of `FAMILIES`: a table from the compact encoder's names to the family's own. To add one, write
the table (`layer.` names are relative to one layer) and its readings of the config.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from edgesmith.errors import UnsupportedError
from edgesmith.models.compact import (
    CompactBert,
    CompactBertConfig,
    CompactBertForSequenceClassification,
    CompactBertForTokenClassification,
)
from edgesmith.models.compact_mobilebert import CompactMobileBertConfig
from edgesmith.models.compact_vit import CompactVitConfig
from edgesmith.models.vision import compact_vit_config, is_vision, vit_shape
from edgesmith.records import EncoderShape


@dataclass(frozen=True, kw_only=True)
class Family:
    """Names of one family's parameters.

    Attributes:
        outside: compact module -> the family's module, for everything outside the layers.
        layer_prefix: path of the list of layers.
        qkv: the three projections of one layer that become one.
        inside: compact module -> the family's module, within one layer.
        pooler_act: activation after the pooler.
        neurons: config attribute that holds the FFN width.
        activation: config attribute that holds the FFN activation.
        norm_eps: epsilon of the layer norms where the config has none.
    """

    outside: dict[str, str]
    layer_prefix: str
    qkv: tuple[str, str, str]
    inside: dict[str, str]
    pooler_act: str
    neurons: str
    activation: str
    norm_eps: float = 1e-12


FAMILIES: dict[str, Family] = {
    "bert": Family(
        outside={
            "embeddings.word": "bert.embeddings.word_embeddings",
            "embeddings.position": "bert.embeddings.position_embeddings",
            "embeddings.token_type": "bert.embeddings.token_type_embeddings",
            "embeddings.norm": "bert.embeddings.LayerNorm",
            "pooler": "bert.pooler.dense",
            "classifier": "classifier",
        },
        layer_prefix="bert.encoder.layer",
        qkv=("attention.self.query", "attention.self.key", "attention.self.value"),
        inside={
            "attention.output": "attention.output.dense",
            "attention_norm": "attention.output.LayerNorm",
            "ffn.intermediate": "intermediate.dense",
            "ffn.output": "output.dense",
            "ffn_norm": "output.LayerNorm",
        },
        pooler_act="tanh",
        neurons="intermediate_size",
        activation="hidden_act",
    ),
    "distilbert": Family(
        outside={
            "embeddings.word": "distilbert.embeddings.word_embeddings",
            "embeddings.position": "distilbert.embeddings.position_embeddings",
            "embeddings.norm": "distilbert.embeddings.LayerNorm",
            "pooler": "pre_classifier",
            "classifier": "classifier",
        },
        layer_prefix="distilbert.transformer.layer",
        qkv=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        inside={
            "attention.output": "attention.out_lin",
            "attention_norm": "sa_layer_norm",
            "ffn.intermediate": "ffn.lin1",
            "ffn.output": "ffn.lin2",
            "ffn_norm": "output_layer_norm",
        },
        pooler_act="relu",
        neurons="hidden_dim",
        activation="activation",
    ),
}


WHOLE_FAMILIES = ("mobilebert", CompactMobileBertConfig.model_type)
"""Model types that are trained, pruned, exported and timed, and not compressed: they are no `CompactEncoder`."""


def is_compact(config: PreTrainedConfig) -> bool:
    """Whether the config describes a model that edgesmith wrote."""
    return isinstance(config, CompactBertConfig | CompactVitConfig)


def family_of(config: PreTrainedConfig) -> Family:
    """The family of a config; raises `UnsupportedError` with the known ones."""
    family = FAMILIES.get(config.model_type)
    if config.model_type in WHOLE_FAMILIES:
        raise UnsupportedError(
            f"model type {config.model_type!r} has no compact form: it is trained, exported and compared whole, and not "
            f"compressed. Give a model of one of these types: {', '.join(sorted(FAMILIES))}."
        )
    if family is None:
        raise UnsupportedError(
            f"model type {config.model_type!r} is not supported. Known: {', '.join(sorted(FAMILIES))} and models that "
            "edgesmith wrote. A new family is one row of FAMILIES in edgesmith/models/families.py."
        )
    return family


def check_is_known(config: PreTrainedConfig) -> None:
    """Raises `UnsupportedError` for a model type that is in neither `FAMILIES` nor `WHOLE_FAMILIES`."""
    if config.model_type not in WHOLE_FAMILIES:
        family_of(config)


def check_has_compact_form(config: PreTrainedConfig) -> None:
    """Raises `UnsupportedError` for a model type that may be known, and still cannot be compressed."""
    if not (is_vision(config) or is_compact(config)):
        family_of(config)


def label_names(config: PreTrainedConfig) -> tuple[str, ...]:
    """Of a model's classes, by index."""
    return tuple(name for _, name in sorted((config.id2label or {}).items()))


def shape_of(config: PreTrainedConfig) -> EncoderShape:
    """Sizes of the encoder that a config describes, of texts or images."""
    if is_vision(config):
        return vit_shape(config)
    if isinstance(config, CompactBertConfig):
        return EncoderShape(
            vocab=config.vocab_size,
            hidden=config.hidden_size,
            head_dim=config.head_dim,
            heads=tuple(config.heads_per_layer or ()),
            neurons=tuple(config.ffn_per_layer or ()),
            embedding_rank=config.embedding_size,
            positions=config.max_position_embeddings,
            type_vocab=config.type_vocab_size,
            labels=len(config.id2label or ()),
        )
    family = family_of(config)
    depth = config.num_hidden_layers
    return EncoderShape(
        vocab=config.vocab_size,
        hidden=config.hidden_size,
        head_dim=config.hidden_size // config.num_attention_heads,
        heads=(config.num_attention_heads,) * depth,
        neurons=(getattr(config, family.neurons),) * depth,
        embedding_rank=config.hidden_size,
        positions=config.max_position_embeddings,
        type_vocab=getattr(config, "type_vocab_size", 0) if "embeddings.token_type" in family.outside else 0,
        labels=len(config.id2label or ()),
    )


def compact_config(config: PreTrainedConfig, shape: EncoderShape) -> CompactBertConfig | CompactVitConfig:
    """Config of a compact encoder of the given shape that computes as `config`'s family does."""
    if is_vision(config):
        return compact_vit_config(config, shape)
    return _compact_bert_config(config, shape)


def _compact_bert_config(config: PreTrainedConfig, shape: EncoderShape) -> CompactBertConfig:
    if isinstance(config, CompactBertConfig):
        settings = {name: getattr(config, name) for name in ("hidden_act", "pooler_act", "layer_norm_eps")}
    else:
        family = family_of(config)
        settings = {
            "hidden_act": getattr(config, family.activation),
            "pooler_act": family.pooler_act,
            "layer_norm_eps": getattr(config, "layer_norm_eps", family.norm_eps),
        }
    return CompactBertConfig(
        vocab_size=shape.vocab,
        embedding_size=shape.embedding_rank,
        hidden_size=shape.hidden,
        head_dim=shape.head_dim,
        heads_per_layer=list(shape.heads),
        ffn_per_layer=list(shape.neurons),
        max_position_embeddings=shape.positions,
        type_vocab_size=shape.type_vocab,
        pad_token_id=config.pad_token_id,
        id2label=config.id2label,
        label2id=config.label2id,
        **settings,
    )


TOKEN_HEAD = "ForTokenClassification"
"""How the names of classes end whose models have logits for each token."""


def to_compact(model: PreTrainedModel) -> CompactBert:
    """A compact encoder with a copy of the model's weights and the same logits.

    Args:
        model: a classifier of sequences or tokens of a known family, or a compact one (then a plain copy).

    Raises:
        UnsupportedError: the family is not known.
    """
    config = _compact_bert_config(model.config, shape_of(model.config))
    has_tokens = type(model).__name__.endswith(TOKEN_HEAD)
    compact: CompactBert = (
        CompactBertForTokenClassification if has_tokens else CompactBertForSequenceClassification
    )(config)
    source = model.state_dict()
    if not isinstance(model.config, CompactBertConfig):
        source = _renamed(family_of(model.config), source, len(config.layers))
    compact.load_state_dict(source)
    compact.eval()
    return compact


def _renamed(family: Family, source: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """The family's state dict under the compact encoder's names."""
    target: dict[str, Tensor] = {}
    for compact_name, name in family.outside.items():
        target |= _module(source, name, compact_name)
    for index in range(depth):
        layer, compact_layer = f"{family.layer_prefix}.{index}", f"layers.{index}"
        for compact_name, name in family.inside.items():
            target |= _module(source, f"{layer}.{name}", f"{compact_layer}.{compact_name}")
        for kind in ("weight", "bias"):
            parts = [source[f"{layer}.{name}.{kind}"] for name in family.qkv]
            target[f"{compact_layer}.attention.qkv.{kind}"] = torch.cat(parts)  # (3 x width[, H])
    return target


def _module(source: dict[str, Tensor], name: str, compact_name: str) -> dict[str, Tensor]:
    """Weight and bias of one module under its new name."""
    return {
        f"{compact_name}.{kind}": source[f"{name}.{kind}"]
        for kind in ("weight", "bias")
        if f"{name}.{kind}" in source
    }
