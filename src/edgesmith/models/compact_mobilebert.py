"""MobileBERT with heads and FFN neurons of its own number in every layer, and otherwise as `transformers` has it.

Its names and its mathematics are MobileBERT's; a compact one of full size loads a plain one's weights as they are.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import (
    MobileBertConfig,
    MobileBertForSequenceClassification,
    MobileBertForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from edgesmith.errors import UnsupportedError
from edgesmith.models.site import Site
from edgesmith.records import BottleneckShape

LAYERS = "mobilebert.encoder.layer"


@strict
class CompactMobileBertConfig(MobileBertConfig):
    """Shape of a compact MobileBERT: lists hold one entry a layer, and of neurons one an FFN in it.

    `num_attention_heads` and `intermediate_size` stay those of a whole layer: a head keeps its size.
    """

    model_type = "edgesmith_compact_mobilebert"

    heads_per_layer: list[int] | None = None
    ffn_per_layer: list[list[int]] | None = None


class CompactMobileBertForSequenceClassification(MobileBertForSequenceClassification):
    """With a sequence head.

    Args:
        config: the shape; see `CompactMobileBertConfig`.
    """

    config_class = CompactMobileBertConfig

    def __init__(self, config: CompactMobileBertConfig) -> None:
        super().__init__(config)
        _narrow(self, config)


class CompactMobileBertForTokenClassification(MobileBertForTokenClassification):
    """With a linear head on every token.

    Args:
        config: the shape; see `CompactMobileBertConfig`.
    """

    config_class = CompactMobileBertConfig

    def __init__(self, config: CompactMobileBertConfig) -> None:
        super().__init__(config)
        _narrow(self, config)


CompactMobileBert = CompactMobileBertForSequenceClassification | CompactMobileBertForTokenClassification


def _narrow(model: PreTrainedModel, config: CompactMobileBertConfig) -> None:
    """Gives every layer linear layers of its own sizes."""
    head_dim = config.true_hidden_size // config.num_attention_heads
    layers: Any = model.get_submodule(LAYERS)
    counts = zip(config.heads_per_layer or [], config.ffn_per_layer or [], strict=True)
    for layer, (heads, neurons) in zip(layers, counts, strict=True):
        attention = layer.attention
        for name in ("query", "key", "value"):
            source = getattr(attention.self, name)
            setattr(attention.self, name, nn.Linear(source.in_features, heads * head_dim))
        attention.output.dense = nn.Linear(heads * head_dim, config.true_hidden_size)
        for ffn, count in zip([*getattr(layer, "ffn", []), layer], neurons, strict=True):
            ffn.intermediate.dense = nn.Linear(config.true_hidden_size, count)
            ffn.output.dense = nn.Linear(count, config.true_hidden_size)
    model.post_init()


def is_mobilebert(config: PreTrainedConfig) -> TypeGuard[MobileBertConfig]:
    """Whether the config describes a MobileBERT, plain or compact."""
    return isinstance(config, MobileBertConfig)


def bottleneck_shape(config: MobileBertConfig) -> BottleneckShape:
    """Sizes of the MobileBERT that a config describes.

    Raises:
        UnsupportedError: none of the two forms that were published.
    """
    if not (
        config.use_bottleneck
        and config.trigram_input
        and (config.use_bottleneck_attention or config.key_query_shared_bottleneck)
    ):
        raise UnsupportedError(
            "a MobileBERT without bottlenecks or trigram input is not supported. Give one with use_bottleneck, "
            "trigram_input and key_query_shared_bottleneck or use_bottleneck_attention, as the published ones have."
        )
    heads, neurons = getattr(config, "heads_per_layer", None), getattr(config, "ffn_per_layer", None)
    return BottleneckShape(
        vocab=config.vocab_size,
        width=config.hidden_size,
        inner=config.true_hidden_size,
        embedding=config.embedding_size,
        depth=config.num_hidden_layers,
        heads=config.num_attention_heads,
        ffns=config.num_feedforward_networks,
        neurons=config.intermediate_size,
        has_narrow_attention=config.use_bottleneck_attention,
        positions=config.max_position_embeddings,
        type_vocab=config.type_vocab_size,
        labels=len(config.id2label or ()),
        has_pooler=config.classifier_activation,
        heads_left=tuple(heads) if heads else None,
        neurons_left=tuple(tuple(each) for each in neurons) if neurons else None,
    )


def compact_mobilebert_config(config: PreTrainedConfig, shape: BottleneckShape) -> CompactMobileBertConfig:
    """Config of a compact MobileBERT of the given shape, which otherwise computes as `config`'s does."""
    heads, neurons = zip(*shape.layers, strict=True)
    settings = {
        name: value
        for name, value in config.to_dict().items()
        if name not in ("model_type", "architectures", "transformers_version", "true_hidden_size")
    }
    return CompactMobileBertConfig(
        **settings
        | {
            "hidden_size": shape.width,
            "num_hidden_layers": shape.depth,
            "heads_per_layer": list(heads),
            "ffn_per_layer": [list(each) for each in neurons],
        }
    )


def to_compact_mobilebert(model: PreTrainedModel) -> CompactMobileBert:
    """A compact MobileBERT with a copy of the model's weights and the same logits."""
    own: Any = model.config
    config = compact_mobilebert_config(own, bottleneck_shape(own))
    has_tokens = type(model).__name__.endswith("ForTokenClassification")
    kind = (
        CompactMobileBertForTokenClassification if has_tokens else CompactMobileBertForSequenceClassification
    )
    compact: CompactMobileBert = kind(config)
    compact.load_state_dict(model.state_dict())
    compact.set_attn_implementation(own._attn_implementation)
    compact.set_attn_implementation(own._attn_implementation)  # a new config would have another
    compact.eval()  # type: ignore[no-untyped-call]
    return compact


def mobilebert_sites(shape: BottleneckShape, index: int) -> list[Site]:
    """The attention and the FFNs of a layer, in the order in which they are computed."""
    path, (heads, neurons) = f"{LAYERS}.{index}", shape.layers[index]
    attention = Site(
        kind="heads",
        layer=index,
        makers=tuple(f"{path}.attention.self.{name}" for name in ("query", "key", "value")),
        reader=f"{path}.attention.output.dense",
        total=(f"{path}.attention.output.LayerNorm", "input"),
        units=heads,
        width=shape.head_dim,
    )
    ffns = [*(f"{path}.ffn.{each}" for each in range(shape.ffns - 1)), path]
    return [attention] + [
        Site(
            kind="neurons",
            layer=index,
            makers=(f"{ffn}.intermediate.dense",),
            reader=f"{ffn}.output.dense",
            total=(f"{ffn}.output.LayerNorm", "input"),
            units=count,
        )
        for ffn, count in zip(ffns, neurons, strict=True)
    ]


def mobilebert_axes(model: CompactMobileBert) -> dict[str, tuple[int, ...]]:
    """Parameter -> the axes that the residual stream runs along."""
    axes: dict[str, tuple[int, ...]] = {
        "mobilebert.embeddings.position_embeddings.weight": (1,),
        "mobilebert.embeddings.token_type_embeddings.weight": (1,),
        "mobilebert.pooler.dense.weight": (0, 1),
        "mobilebert.pooler.dense.bias": (0,),
        "classifier.weight": (1,),
    }
    written = ["mobilebert.embeddings.embedding_transformation", "mobilebert.embeddings.LayerNorm"]
    for layer in range(model.config.num_hidden_layers):
        path = f"{LAYERS}.{layer}"
        axes[f"{path}.bottleneck.input.dense.weight"] = (1,)
        axes[f"{path}.bottleneck.attention.dense.weight"] = (1,)
        if not model.config.use_bottleneck_attention:
            axes[f"{path}.attention.self.value.weight"] = (1,)
        written += [f"{path}.output.bottleneck.dense", f"{path}.output.bottleneck.LayerNorm"]
    for name in written:
        axes[f"{name}.weight"] = axes[f"{name}.bias"] = (0,)
    present = dict(model.named_parameters())
    return {name: along for name, along in axes.items() if name in present}
