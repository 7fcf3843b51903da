"""A pruned model as a plain one of `transformers`, where its shape is one that the family's own class can have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from edgesmith.models.compact import CompactEncoder
from edgesmith.models.coupling import Prunable, Shape, prunable_shape
from edgesmith.models.families import FAMILIES, Family
from edgesmith.models.vision import INSIDE, QKV, VISION_FAMILIES, VisionFamily
from edgesmith.records import BottleneckShape

_OF_DEPTH = ("stage_names", "out_features", "out_indices")
"""What the config of a vision backbone derives from its depth."""


def to_plain(model: Prunable, origin: PreTrainedModel) -> PreTrainedModel | None:
    """A model of the class it was pruned from, with its weights and logits; None where that class cannot have its shape.

    Every class of `transformers` can have fewer layers. Its layers are alike, so that FFNs may be narrower, but all of
    them equally, and a head cannot go: the heads together are as wide as the hidden state, as are the rows of the word
    table. MobileBERT's residual stream may be narrower.

    Args:
        origin: what `to_prunable` was given.
    """
    family = origin.config.model_type
    if type(model) is type(origin) or family not in (*FAMILIES, *VISION_FAMILIES, "mobilebert"):
        return None
    config = _plain_config(origin.config, prunable_shape(model.config))
    if config is None:
        return None
    plain: PreTrainedModel = type(origin)(config)
    state = model.state_dict()
    if family in FAMILIES:
        state = _text_state(FAMILIES[family], state, config.num_hidden_layers)
    elif isinstance(model, CompactEncoder):
        state = plain.state_dict() | _image_state(VISION_FAMILIES[family], state, config)
    plain.load_state_dict(state)
    plain.eval()
    return plain


def _plain_config(origin: PreTrainedConfig, shape: Shape) -> PreTrainedConfig | None:
    """The family's config of a shape; None where there is none."""
    if isinstance(shape, BottleneckShape):
        heads = {heads for heads, _ in shape.layers}
        neurons = {count for _, counts in shape.layers for count in counts}
    else:
        heads, neurons = set(shape.heads), set(shape.neurons)
    is_alike = heads == {origin.num_attention_heads} and len(neurons) == 1
    is_wide = isinstance(shape, BottleneckShape) or {shape.hidden, shape.embedding_rank} == {
        origin.hidden_size
    }
    width = FAMILIES[origin.model_type].neurons if origin.model_type in FAMILIES else "intermediate_size"
    changes = {"num_hidden_layers": shape.depth, width: min(neurons), "hidden_size": shape.hidden}
    if not hasattr(origin, width):  # it follows from the hidden state's
        is_wide = is_wide and neurons == {int(origin.hidden_size * origin.mlp_ratio)}
        del changes[width]
    if not (is_alike and is_wide):
        return None
    names = origin.attribute_map  # of DistilBERT, whose config says dim where others say hidden_size
    settings = {name: value for name, value in origin.to_dict().items() if name not in _OF_DEPTH}
    plain: PreTrainedConfig = type(origin).from_dict(
        settings | {names.get(name, name): value for name, value in changes.items()}
    )
    return plain


def _text_state(family: Family, state: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """A compact encoder's state dict under the family's names."""
    names = dict(family.outside)
    for layer in range(depth):
        own = f"{family.layer_prefix}.{layer}"
        names |= {f"layers.{layer}.{ours}": f"{own}.{theirs}" for ours, theirs in family.inside.items()}
    target = {}
    for name, tensor in state.items():
        module, _, kind = name.rpartition(".")
        if module in names:
            target[f"{names[module]}.{kind}"] = tensor
        else:  # layers.3.attention.qkv
            layer_name = f"{family.layer_prefix}.{module.split('.')[1]}"
            target |= _qkv(layer_name, family.qkv, kind, tensor)
    return target


def _qkv(layer: str, names: tuple[str, ...], kind: str, tensor: Tensor) -> dict[str, Tensor]:
    return {f"{layer}.{name}.{kind}": part for name, part in zip(names, tensor.chunk(3), strict=True)}


def _image_state(family: VisionFamily, state: dict[str, Tensor], config: Any) -> dict[str, Tensor]:
    """A compact vision transformer's likewise; layer scales, which its weights hold, become 1."""
    embeddings, prefix = f"{family.base}.embeddings", state["embeddings.prefix"]
    blank = torch.zeros_like(prefix)  # the positions of the first tokens are in the tokens
    patch = state["embeddings.patch.weight"]
    pixels = patch.view(len(patch), config.num_channels, config.patch_size, config.patch_size)
    target = {
        f"{embeddings}.position_embeddings": torch.cat([blank, state["embeddings.position.weight"]])[None],
        f"{embeddings}.patch_embeddings.projection.weight": pixels,
        f"{embeddings}.patch_embeddings.projection.bias": state["embeddings.patch.bias"],
    }
    for token, row in zip(family.tokens, prefix, strict=True):
        target[f"{embeddings}.{token}"] = row[None, None]
    for kind in ("weight", "bias"):
        target[f"{family.base}.layernorm.{kind}"] = state[f"norm.{kind}"]
        target[f"classifier.{kind}"] = state[f"classifier.{kind}"]
        for layer in range(config.num_hidden_layers):
            ours, own = f"layers.{layer}", f"{family.layers}.{layer}"
            target |= _qkv(own, QKV, kind, state[f"{ours}.attention.qkv.{kind}"])
            norms = dict(zip(("attention_norm", "ffn_norm"), family.norms, strict=True))
            for inner, name in (INSIDE | norms).items():
                target[f"{own}.{name}.{kind}"] = state[f"{ours}.{inner}.{kind}"]
    for scale in family.scales or ():
        for layer in range(config.num_hidden_layers):
            target[f"{family.layers}.{layer}.{scale}"] = torch.ones(config.hidden_size)
    return target
