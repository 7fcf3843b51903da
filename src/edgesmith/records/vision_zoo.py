"""Vision transformers that are recommended and analysed by name: their shapes, and what is published of them.

Standard library only. `models.zoo.build_vision_model` builds them with random weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgesmith.records.structure import BottleneckShape, EncoderShape
from edgesmith.records.zoo import ZOO

PIXELS = 224
"""Side of the images that all of them take, and that their accuracies are published for."""

_DEIT = "arXiv:2012.12877, without distillation"


@dataclass(frozen=True, kw_only=True)
class VisionModel:
    """A published image classifier.

    Attributes:
        family: the model type that `transformers` knows it by.
        shape: with a head of the 1,000 classes of ImageNet-1K.
        paper: where the architecture is described.
        top1: accuracy in % on ImageNet-1K's validation images; None where none is published for this shape.
        source: paper of `top1`, or why there is none.
        weights: hub id under which pretrained weights are published.
    """

    name: str
    title: str
    family: Literal["vit", "dinov2"]
    shape: EncoderShape
    paper: str
    top1: float | None
    source: str
    weights: str


def _vit(hidden: int, *, patch: int = 16, pooled: int = 1) -> EncoderShape:
    """Twelve layers of heads of 64 and an FFN of four times the width; one first token."""
    patches = (PIXELS // patch) ** 2
    return EncoderShape(
        vocab=0,
        hidden=hidden,
        head_dim=64,
        heads=(hidden // 64,) * 12,
        neurons=(4 * hidden,) * 12,
        embedding_rank=hidden,
        positions=patches + 1,
        labels=1000,
        patches=patches,
        patch_values=3 * patch**2,
        pooled=pooled,
    )


_MODELS = (
    VisionModel(
        name="deit-tiny",
        title="DeiT-Ti",
        family="vit",
        shape=_vit(192),
        paper="arXiv:2012.12877",
        top1=72.2,
        source=_DEIT,
        weights="facebook/deit-tiny-patch16-224",
    ),
    VisionModel(
        name="deit-small",
        title="DeiT-S",
        family="vit",
        shape=_vit(384),
        paper="arXiv:2012.12877",
        top1=79.8,
        source=_DEIT,
        weights="facebook/deit-small-patch16-224",
    ),
    VisionModel(
        name="dinov2-small",
        title="DINOv2 ViT-S/14",
        family="dinov2",
        shape=_vit(384, patch=14, pooled=2),
        paper="arXiv:2304.07193",
        top1=81.1,
        source="arXiv:2304.07193, a linear head on frozen features",
        weights="facebook/dinov2-small",
    ),
    VisionModel(
        name="deit-base",
        title="DeiT-B",
        family="vit",
        shape=_vit(768),
        paper="arXiv:2012.12877",
        top1=81.8,
        source=_DEIT,
        weights="facebook/deit-base-patch16-224",
    ),
    VisionModel(
        name="vit-base",
        title="ViT-B/16",
        family="vit",
        shape=_vit(768),
        paper="arXiv:2010.11929",
        top1=None,
        source="unknown: arXiv:2010.11929 has it at 384 pixels only",
        weights="google/vit-base-patch16-224",
    ),
)

VISION_ZOO = {model.name: model for model in _MODELS}
"""Name -> model, the smallest first."""


def known_shape(model: str) -> EncoderShape | BottleneckShape | None:
    """Of a model of either zoo; None for another, and where a folder of the same name goes before it."""
    found = ZOO.get(model) or VISION_ZOO.get(model)
    return found.shape if found and not Path(model).exists() else None
