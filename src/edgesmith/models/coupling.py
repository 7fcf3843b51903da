"""What hangs together in a model, so that it is cut together: heads, FFN neurons, layers, and the residual stream.

Heads and neurons stand at a `Site`: a unit is some rows of the linear layers that make it, and some columns of the one
that reads it. A family whose model has a compact form needs nothing here: its row in `FAMILIES` or `VISION_FAMILIES` is
its adapter. One without, such as MobileBERT, is a branch in each of the first functions here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn
from transformers import MobileBertConfig, PreTrainedConfig, PreTrainedModel

from edgesmith.errors import UnsupportedError
from edgesmith.models.compact import CompactBert, CompactBertForSequenceClassification, CompactEncoder
from edgesmith.models.compact_mobilebert import (
    LAYERS,
    CompactMobileBert,
    CompactMobileBertForSequenceClassification,
    bottleneck_shape,
    compact_mobilebert_config,
    is_mobilebert,
    mobilebert_axes,
    mobilebert_sites,
    to_compact_mobilebert,
)
from edgesmith.models.compact_vit import CompactVitForImageClassification
from edgesmith.models.families import FAMILIES, compact_config, is_compact, shape_of, to_compact
from edgesmith.models.site import Site
from edgesmith.models.vision import INSIDE, QKV, VISION_FAMILIES, is_vision, to_compact_vit
from edgesmith.records import BottleneckShape, EncoderShape

Prunable = CompactEncoder | CompactMobileBert
Shape = EncoderShape | BottleneckShape


# ---- what a family without a compact form of its own has to tell


def to_prunable(model: PreTrainedModel) -> Prunable:
    """A copy of a model of a known family that heads, neurons, layers and hidden units can be cut from.

    Raises:
        UnsupportedError: the family is not known.
    """
    if is_mobilebert(model.config):
        return to_compact_mobilebert(model)
    return to_compact_vit(model) if is_vision(model.config) else to_compact(model)


def prunable_shape(config: PreTrainedConfig) -> Shape:
    """Sizes of a model that can be pruned; raises `UnsupportedError` for one of another family."""
    return bottleneck_shape(config) if is_mobilebert(config) else shape_of(config)


def prunable_config(config: PreTrainedConfig, shape: Shape) -> PreTrainedConfig:
    """Config of a `Prunable` of the given shape that computes as `config`'s model does."""
    if isinstance(shape, BottleneckShape):
        return compact_mobilebert_config(config, shape)
    return compact_config(config, shape)


def sites(model: Prunable) -> list[Site]:
    """All sites of a model, layer by layer, each in the order in which it is computed."""
    if isinstance(model, CompactEncoder):
        return [site for layer in range(len(model.layers)) for site in _encoder_sites(model, layer)]
    shape = bottleneck_shape(model.config)
    return [site for layer in range(shape.depth) for site in mobilebert_sites(shape, layer)]


def layers_path(model: Prunable) -> str:
    """Of the list of layers."""
    return "layers" if isinstance(model, CompactEncoder) else LAYERS


def hidden_axes(model: Prunable) -> dict[str, tuple[int, ...]]:
    """Parameter -> the axes that the residual stream runs along; some names may not be in the model."""
    if isinstance(model, CompactEncoder):
        return _encoder_axes(model)
    return mobilebert_axes(model)


def check_is_prunable(config: PreTrainedConfig) -> None:
    """Raises `UnsupportedError` for a model of a family that is not known."""
    if is_vision(config) or is_compact(config) or is_mobilebert(config) or config.model_type in FAMILIES:
        return
    known = ", ".join(sorted({*FAMILIES, *VISION_FAMILIES, MobileBertConfig.model_type}))
    raise UnsupportedError(
        f"model type {config.model_type!r} cannot be pruned. Known: {known} and models that edgesmith wrote. A new family "
        "is one row of FAMILIES in edgesmith/models/families.py, or of VISION_FAMILIES in edgesmith/models/vision.py."
    )


# ---- what follows from it


def empty_prunable(config: PreTrainedConfig) -> Prunable:
    """A model of a known family without weights (on torch's meta device), to ask for its structure.

    Raises:
        UnsupportedError: the family is not known.
    """
    compact = prunable_config(config, prunable_shape(config))
    kind: type[Any] = CompactBertForSequenceClassification
    if is_mobilebert(config):
        kind = CompactMobileBertForSequenceClassification
    elif is_vision(config):
        kind = CompactVitForImageClassification
    with torch.device("meta"):
        model: Prunable = kind(compact)
    return model


def hidden_norms(model: Prunable) -> list[nn.Module]:
    """The norms over the residual stream."""
    weights = [name for name in hidden_axes(model) if name.lower().endswith("norm.weight")]
    return [model.get_submodule(name.removesuffix(".weight")) for name in weights]


def with_units(shape: Shape, places: Sequence[Site], counts: Sequence[int]) -> Shape:
    """The shape with other numbers of units at the sites, all of which are given in order."""
    heads: list[int] = []
    neurons: list[list[int]] = []
    for site, count in zip(places, counts, strict=True):
        if site.kind == "heads":
            heads.append(count)
            neurons.append([])
        else:
            neurons[-1].append(count)
    if isinstance(shape, BottleneckShape):
        return replace(shape, heads_left=tuple(heads), neurons_left=tuple(map(tuple, neurons)))
    return replace(shape, heads=tuple(heads), neurons=tuple(each[0] for each in neurons))


def with_layers(shape: Shape, layers: Sequence[int]) -> Shape:
    """The shape of the layers at the given indices."""
    if isinstance(shape, BottleneckShape):
        heads, neurons = zip(*(shape.layers[layer] for layer in layers), strict=True)
        return replace(shape, depth=len(layers), heads_left=heads, neurons_left=neurons)
    return replace(
        shape,
        heads=tuple(shape.heads[layer] for layer in layers),
        neurons=tuple(shape.neurons[layer] for layer in layers),
    )


def with_hidden(shape: Shape, width: int) -> Shape:
    """The shape with a residual stream of another width; a word table is factorised only where that still saves."""
    if isinstance(shape, BottleneckShape):
        return replace(shape, width=width)
    return replace(shape, hidden=width, embedding_rank=min(width, shape.embedding_rank))


def own_names(config: PreTrainedConfig, name: str) -> tuple[str, ...]:
    """What a compact module is called in the model that a config describes: one name, or the three that became one.

    Args:
        name: such as ``layers.3.attention.qkv``; ``layers.*.`` stands for every layer.
    """
    family, vision = FAMILIES.get(config.model_type), VISION_FAMILIES.get(config.model_type)
    first, _, rest = name.partition(".")
    layer, _, inner = rest.partition(".")
    if family is not None:
        if first != "layers":
            return (family.outside.get(name, name),)
        own = family.qkv if inner == "attention.qkv" else (family.inside.get(inner, inner),)
        return tuple(f"{family.layer_prefix}.{layer}.{each}" for each in own)
    if vision is not None and first == "layers":
        inside = INSIDE | dict(zip(("attention_norm", "ffn_norm"), vision.norms, strict=True))
        own = QKV if inner == "attention.qkv" else (inside.get(inner, inner),)
        return tuple(f"{vision.layers}.{layer}.{each}" for each in own)
    return (name,)


# ---- compact encoders


def _encoder_sites(model: CompactEncoder, index: int) -> list[Site]:
    layer, path = model.layers[index], f"layers.{index}"
    behind: tuple[str, Literal["input", "output"]] = (
        (f"{path}.ffn_norm", "input") if model.has_normed_states else (path, "output")
    )
    between = f"{path}.attention_norm" if model.has_normed_states else f"{path}.ffn_norm"
    return [
        Site(
            kind="heads",
            layer=index,
            makers=(f"{path}.attention.qkv",),
            reader=f"{path}.attention.output",
            total=(between, "input"),
            units=layer.attention.heads,
            width=layer.attention.head_dim,
        ),
        Site(
            kind="neurons",
            layer=index,
            makers=(f"{path}.ffn.intermediate",),
            reader=f"{path}.ffn.output",
            total=behind,
            units=layer.ffn.intermediate.out_features,
        ),
    ]


def _encoder_axes(model: CompactEncoder) -> dict[str, tuple[int, ...]]:
    axes: dict[str, tuple[int, ...]] = {
        "embeddings.position.weight": (1,),
        "embeddings.norm.weight": (0,),
        "embeddings.norm.bias": (0,),
        "norm.weight": (0,),
        "norm.bias": (0,),
        "pooler.weight": (0, 1),
        "pooler.bias": (0,),
        "classifier.weight": (1,),
    }
    if isinstance(model, CompactBert):
        table = "embeddings.projection.weight" if model.config.is_factorised else "embeddings.word.weight"
        axes |= {table: (0,) if model.config.is_factorised else (1,), "embeddings.token_type.weight": (1,)}
    else:
        axes |= {"embeddings.patch.weight": (0,), "embeddings.patch.bias": (0,), "embeddings.prefix": (1,)}
    for layer in range(len(model.layers)):
        for reads in ("attention.qkv", "ffn.intermediate"):
            axes[f"layers.{layer}.{reads}.weight"] = (1,)
        for writes in ("attention.output", "attention_norm", "ffn.output", "ffn_norm"):
            axes[f"layers.{layer}.{writes}.weight"] = axes[f"layers.{layer}.{writes}.bias"] = (0,)
    present = dict(model.named_parameters())
    return {name: along for name, along in axes.items() if name in present}
