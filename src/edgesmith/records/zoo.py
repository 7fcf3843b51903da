"""The zoo: the text models of the survey, by their shapes and with what is published of them.

Standard library only, so that they are listed without torch. `models.zoo` builds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgesmith.errors import RecipeError, choose_from
from edgesmith.records.comparison import ComparedModel
from edgesmith.records.structure import BottleneckShape, EncoderShape

RANDOM_WEIGHTS = "random weights: structure and latency only"
"""Stands wherever a model of the zoo is shown."""

SURVEY = "arXiv:2601.03290"
"""Samson 2026: where the published figures are tabulated."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of the survey's table.

    Attributes:
        parameters_m: in millions, as rounded there.
        glue: average score.
        squad_f1: on SQuAD v1.1.
        latency_ms: one input on a phone, from the original papers; compare ratios, not milliseconds.
    """

    parameters_m: float
    glue: float
    squad_f1: float
    latency_ms: float


@dataclass(frozen=True, kw_only=True)
class ZooModel:
    """A published architecture.

    Attributes:
        title: in words.
        family: the model type that `transformers` knows it by.
        shape: with a head of two labels.
        paper: where the architecture is described.
        published: of the pretrained model; nothing that is built here has learnt anything.
        weights: hub id under which pretrained weights are published; None where none are known.
        notes: where what is built differs from the paper.
    """

    name: str
    title: str
    family: Literal["bert", "distilbert", "mobilebert"]
    shape: EncoderShape | BottleneckShape
    paper: str
    published: Published
    weights: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """What is listed of a model.

    Attributes:
        parameters: with a head of two labels, counted.
        macs: for one input of `tokens`, counted.
        fp32_bytes: of the weights, counted.
        measured: on this machine; None where nothing was.
        labelled: what weights it is built with.
    """

    name: str
    title: str
    family: str
    parameters: int
    tokens: int
    macs: int
    fp32_bytes: int
    paper: str
    published: Published
    weights: str | None
    notes: tuple[str, ...]
    measured: ComparedModel | None
    survey: str = SURVEY
    labelled: str = RANDOM_WEIGHTS


_VOCAB, _POSITIONS, _HEADS = 30522, 512, 12  # of bert-base-uncased, and of all that follow it


def _encoder(*, depth: int, hidden: int, neurons: int, type_vocab: int = 2) -> EncoderShape:
    return EncoderShape(
        vocab=_VOCAB,
        hidden=hidden,
        head_dim=hidden // _HEADS,
        heads=(_HEADS,) * depth,
        neurons=(neurons,) * depth,
        embedding_rank=hidden,
        positions=_POSITIONS,
        type_vocab=type_vocab,
    )


def _mobilebert(*, ffns: int, has_narrow_attention: bool) -> BottleneckShape:
    return BottleneckShape(
        vocab=_VOCAB,
        width=512,
        inner=128,
        embedding=128,
        depth=24,
        heads=4,
        ffns=ffns,
        neurons=512,
        has_narrow_attention=has_narrow_attention,
        positions=_POSITIONS,
    )


_MODELS = (
    ZooModel(
        name="bert-base",
        title="BERT-base",
        family="bert",
        shape=_encoder(depth=12, hidden=768, neurons=3072),
        paper="arXiv:1810.04805",
        published=Published(parameters_m=110, glue=79.5, squad_f1=88.5, latency_ms=580),
        weights="google-bert/bert-base-uncased",
    ),
    ZooModel(
        name="distilbert",
        title="DistilBERT",
        family="distilbert",
        shape=_encoder(depth=6, hidden=768, neurons=3072, type_vocab=0),
        paper="arXiv:1910.01108",
        published=Published(parameters_m=66, glue=77.0, squad_f1=79.8, latency_ms=230),
        weights="distilbert/distilbert-base-uncased",
        notes=("the head has a layer of its own, 0.6 M parameters that the paper does not count",),
    ),
    ZooModel(
        name="tinybert-4",
        title="TinyBERT with 4 layers",
        family="bert",
        shape=_encoder(depth=4, hidden=312, neurons=1200),
        paper="arXiv:1909.10351",
        published=Published(parameters_m=14.5, glue=77.0, squad_f1=82.1, latency_ms=62),
        weights="huawei-noah/TinyBERT_General_4L_312D",
    ),
    ZooModel(
        name="tinybert-6",
        title="TinyBERT with 6 layers",
        family="bert",
        shape=_encoder(depth=6, hidden=768, neurons=3072),
        paper="arXiv:1909.10351",
        published=Published(parameters_m=67, glue=79.4, squad_f1=87.5, latency_ms=95),
        weights="huawei-noah/TinyBERT_General_6L_768D",
        notes=(
            "DistilBERT's layers: the survey has one 2.4 times as fast as the other, the work is the same",
        ),
    ),
    ZooModel(
        name="mobilebert",
        title="MobileBERT",
        family="mobilebert",
        shape=_mobilebert(ffns=4, has_narrow_attention=False),
        paper="arXiv:2004.02984",
        published=Published(parameters_m=25.3, glue=77.7, squad_f1=90.3, latency_ms=62),
        weights="google/mobilebert-uncased",
        notes=("the authors' configuration counts 24.6 M parameters; the paper does not itemise its 25.3 M",),
    ),
    ZooModel(
        name="mobilebert-tiny",
        title="MobileBERT-tiny",
        family="mobilebert",
        shape=_mobilebert(ffns=2, has_narrow_attention=True),
        paper="arXiv:2004.02984",
        published=Published(parameters_m=15.1, glue=75.8, squad_f1=84.2, latency_ms=40),
        weights=None,
        notes=("the authors' configuration counts 15.5 M parameters; the paper does not itemise its 15.1 M",),
    ),
)

ZOO = {model.name: model for model in _MODELS}
"""Name -> model, in the order of the survey's table."""


def find_zoo_model(name: str) -> ZooModel:
    """The model of a name.

    Raises:
        RecipeError: there is none; the text gives the nearest and all there are.
    """
    if name not in ZOO:
        raise RecipeError(choose_from("zoo model", name, ZOO))
    return ZOO[name]


def is_zoo_name(model: str) -> bool:
    """Whether MODEL means the zoo: a folder of the same name goes before it."""
    return model in ZOO and not Path(model).exists()
