"""The vision families edgesmith knows: ViT, DeiT and DINOv2, and how each becomes a compact vision transformer.

A family is one row of `VISION_FAMILIES`; all of them are pre-norm encoders over patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from edgesmith.errors import UnsupportedError
from edgesmith.models.compact_vit import CompactVitConfig, CompactVitForImageClassification
from edgesmith.records import EncoderShape


@dataclass(frozen=True, kw_only=True)
class VisionFamily:
    """Names of one family's parameters.

    Attributes:
        base: path of the encoder.
        layers: path of its list of layers.
        tokens: embeddings that come before the patches.
        norms: layer norms before the attention and before the FFN.
        scales: what multiplies the outputs of the two; None where nothing does.
        pools_patches: the head reads the mean of the patches beside the first token.
        interpolates: its positions are stretched to whatever size an image has.
    """

    base: str
    layers: str
    tokens: tuple[str, ...] = ("cls_token",)
    norms: tuple[str, str] = ("layernorm_before", "layernorm_after")
    scales: tuple[str, str] | None = None
    pools_patches: bool = False
    interpolates: bool = False


QKV = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
"""The three projections of a layer that become one, in every family."""

INSIDE = {"attention.output": "attention.o_proj", "ffn.intermediate": "mlp.fc1", "ffn.output": "mlp.fc2"}
"""Compact module -> that of every family, within one layer."""

VISION_FAMILIES: dict[str, VisionFamily] = {
    "vit": VisionFamily(base="vit", layers="vit.layers"),
    "deit": VisionFamily(base="deit", layers="deit.layers", tokens=("cls_token", "distillation_token")),
    "dinov2": VisionFamily(
        base="dinov2",
        layers="dinov2.encoder.layer",
        norms=("norm1", "norm2"),
        scales=("layer_scale1.lambda1", "layer_scale2.lambda1"),
        pools_patches=True,
        interpolates=True,
    ),
}


def is_vision(config: PreTrainedConfig) -> bool:
    """Whether the config describes a vision transformer that edgesmith knows or wrote."""
    return isinstance(config, CompactVitConfig) or config.model_type in VISION_FAMILIES


def vision_family_of(config: PreTrainedConfig) -> VisionFamily:
    """The family of a config; raises `UnsupportedError` with the known ones."""
    family = VISION_FAMILIES.get(config.model_type)
    if family is None or getattr(config, "use_swiglu_ffn", False):
        what = "use_swiglu_ffn" if family else f"model type {config.model_type!r}"
        raise UnsupportedError(
            f"{what} is not supported for images. Known: {', '.join(sorted(VISION_FAMILIES))} with two linear layers "
            "in the FFN, and models that edgesmith wrote. A new family is one row of VISION_FAMILIES in "
            "edgesmith/models/vision.py."
        )
    return family


def vit_shape(config: PreTrainedConfig) -> EncoderShape:
    """Sizes of the vision transformer that a config describes."""
    compact = compact_vit_config(config)
    rows, columns = compact.grid
    down, right = compact.patch_size or (0, 0)
    return EncoderShape(
        vocab=0,
        hidden=compact.hidden_size,
        head_dim=compact.head_dim,
        heads=tuple(compact.heads_per_layer or ()),
        neurons=tuple(compact.ffn_per_layer or ()),
        embedding_rank=compact.hidden_size,
        positions=compact.prefix_tokens + rows * columns,
        labels=len(compact.id2label or ()),
        patches=rows * columns,
        patch_values=compact.num_channels * down * right,
        pooled=1 + compact.pools_patches,
    )


def compact_vit_config(config: PreTrainedConfig, shape: EncoderShape | None = None) -> CompactVitConfig:
    """Config of a compact vision transformer that computes as `config`'s model does.

    Args:
        shape: whose width, heads and neurons it has; None for those of `config`.
    """
    if not isinstance(config, CompactVitConfig):
        config = _translate(config, vision_family_of(config))
    settings = {name: getattr(config, name) for name in _SETTINGS}
    if shape is not None:
        settings |= {
            "hidden_size": shape.hidden,
            "heads_per_layer": list(shape.heads),
            "ffn_per_layer": list(shape.neurons),
        }
    return CompactVitConfig(**settings, id2label=config.id2label, label2id=config.label2id)


_SETTINGS = (
    "image_size", "patch_size", "num_channels", "prefix_tokens", "hidden_size", "head_dim", "heads_per_layer",
    "ffn_per_layer", "pools_patches", "hidden_act", "layer_norm_eps", "hidden_dropout_prob", "initializer_range",
)  # fmt: skip


def _translate(config: PreTrainedConfig, family: VisionFamily) -> CompactVitConfig:
    depth, heads = config.num_hidden_layers, config.num_attention_heads
    neurons = getattr(config, "intermediate_size", None) or int(config.hidden_size * config.mlp_ratio)
    return CompactVitConfig(
        image_size=_pair(config.image_size),
        patch_size=_pair(config.patch_size),
        num_channels=config.num_channels,
        prefix_tokens=len(family.tokens),
        hidden_size=config.hidden_size,
        head_dim=config.hidden_size // heads,
        heads_per_layer=[heads] * depth,
        ffn_per_layer=[neurons] * depth,
        pools_patches=family.pools_patches,
        hidden_act=config.hidden_act,
        layer_norm_eps=config.layer_norm_eps,
        id2label=config.id2label,
        label2id=config.label2id,
    )


def _pair(size: int | list[int] | tuple[int, ...]) -> list[int]:
    """(height, width)."""
    return [size, size] if isinstance(size, int) else list(size)


def image_shape(config: PreTrainedConfig) -> tuple[int, int, int]:
    """(channels, height, width) of the images that a vision transformer takes."""
    height, width = _pair(config.image_size)
    return config.num_channels, height, width


@torch.no_grad()
def fit_image_size(model: PreTrainedModel, size: tuple[int, int] | None) -> None:
    """Stretches a model's positions once, to the one square size of its images, where its family does so for each image.

    Args:
        size: (height, width).
    """
    family = VISION_FAMILIES.get(model.config.model_type)
    if family is None or not family.interpolates or size is None or size[0] != size[1]:
        return
    embeddings: Any = model.get_submodule(f"{family.base}.embeddings")
    patches = size[0] // model.config.patch_size
    blank = torch.zeros(1, len(family.tokens) + patches**2, model.config.hidden_size)
    positions = embeddings.interpolate_pos_encoding(blank, *size)
    embeddings.position_embeddings = nn.Parameter(positions.contiguous())
    model.config.image_size = size[0]


def to_compact_vit(model: PreTrainedModel) -> CompactVitForImageClassification:
    """A compact vision transformer with a copy of the model's weights and the same logits.

    Args:
        model: an image classifier of a known family, or a compact one (then a plain copy).

    Raises:
        UnsupportedError: the family is not known.
    """
    compact = CompactVitForImageClassification(compact_vit_config(model.config))
    source = model.state_dict()
    if not isinstance(model.config, CompactVitConfig):
        source = _renamed(vision_family_of(model.config), source, len(compact.layers))
    compact.load_state_dict(source)
    compact.eval()
    return compact


def _renamed(family: VisionFamily, source: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """The family's state dict under the compact model's names."""
    embeddings = f"{family.base}.embeddings"
    positions = source[f"{embeddings}.position_embeddings"][0]  # (P + N, H)
    prefix = torch.cat([source[f"{embeddings}.{token}"][0] for token in family.tokens])  # (P, H)
    target = {
        "embeddings.patch.weight": source[f"{embeddings}.patch_embeddings.projection.weight"].flatten(1),
        "embeddings.patch.bias": source[f"{embeddings}.patch_embeddings.projection.bias"],
        "embeddings.position.weight": positions[len(prefix) :],
        "embeddings.prefix": prefix + positions[: len(prefix)],
    }
    for kind in ("weight", "bias"):
        target[f"norm.{kind}"] = source[f"{family.base}.layernorm.{kind}"]
        target[f"classifier.{kind}"] = source[f"classifier.{kind}"]
    for index in range(depth):
        layer = _renamed_layer(family, source, f"{family.layers}.{index}.")
        target |= {f"layers.{index}.{name}": tensor for name, tensor in layer.items()}
    return target


def _renamed_layer(family: VisionFamily, source: dict[str, Tensor], layer: str) -> dict[str, Tensor]:
    target = {}
    for kind in ("weight", "bias"):
        parts = [source.get(f"{layer}{name}.{kind}") for name in QKV]
        if any(part is None for part in parts):  # qkv_bias may be off
            parts = [torch.zeros(len(source[f"{layer}{name}.weight"])) for name in QKV]
        target[f"attention.qkv.{kind}"] = torch.cat([part for part in parts if part is not None])
        target[f"attention_norm.{kind}"] = source[f"{layer}{family.norms[0]}.{kind}"]
        target[f"ffn_norm.{kind}"] = source[f"{layer}{family.norms[1]}.{kind}"]
        target |= {f"{ours}.{kind}": source[f"{layer}{theirs}.{kind}"] for ours, theirs in INSIDE.items()}
    for name, scale in zip(("attention", "ffn"), family.scales or (), strict=False):
        factor = source[f"{layer}{scale}"]  # (H,): diag(factor) (W x + b) = (diag(factor) W) x + factor b
        target[f"{name}.output.weight"] = target[f"{name}.output.weight"] * factor[:, None]
        target[f"{name}.output.bias"] = target[f"{name}.output.bias"] * factor
    return target
