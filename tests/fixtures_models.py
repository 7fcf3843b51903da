"""Small real models with seeded weights, the pretrained MiniLM, and batches for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_text import minilm_folder
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    MobileBertConfig,
    MobileBertForSequenceClassification,
    PreTrainedModel,
    set_seed,
)

from edgesmith.compress.quantize import plan_layer, quantizable_layers
from edgesmith.data.encoding import EncodedExamples
from edgesmith.models import (
    CompactBertConfig,
    CompactBertForSequenceClassification,
    LoadedModel,
    load_classifier,
    to_compact,
)
from edgesmith.records import LayerPlan
from edgesmith.records.plan import WeightDtype

GLUE = Path(__file__).parents[2] / "shared" / "data" / "glue"

VOCAB, HIDDEN, POSITIONS = 97, 32, 40
LABELS = ("negative", "positive")

SENTENCES = (
    "a gorgeous, witty, seductive movie.",
    "no",
    "it's slow -- very, very slow, and the third act, which arrives after two hours, is slower still.",
    "the acting, costumes, music, cinematography and sound are all astounding.",
    "Unflinchingly bleak and desperate!",
    "Why did nobody, in the whole of Øresund, ask for 12.5% less?",
)
SECOND_SENTENCES = ("it is good.", "", "I slept.", "a feast for eyes and ears", "it is a comedy", "yes")


def tiny_bert(seed: int = 0, **changes: object) -> BertForSequenceClassification:
    """3 layers, 4 heads; weights wide enough that every part of it shows in the logits."""
    settings = {
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": POSITIONS,
        "initializer_range": 0.2,
        "id2label": dict(enumerate(LABELS)),
    }
    set_seed(seed)
    return _seasoned(BertForSequenceClassification(BertConfig(**settings | changes)))


def tiny_distilbert(seed: int = 0) -> DistilBertForSequenceClassification:
    set_seed(seed)
    config = DistilBertConfig(
        vocab_size=VOCAB,
        dim=HIDDEN,
        n_layers=2,
        n_heads=2,
        hidden_dim=64,
        max_position_embeddings=POSITIONS,
        initializer_range=0.2,
        num_labels=3,
    )
    return _seasoned(DistilBertForSequenceClassification(config))


def tiny_mobilebert(seed: int = 0, **changes: object) -> MobileBertForSequenceClassification:
    """2 thin layers of 3 stacked FFNs behind bottlenecks; queries and keys share one of their own."""
    settings = {
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "intra_bottleneck_size": 16,
        "embedding_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "num_feedforward_networks": 3,
        "max_position_embeddings": POSITIONS,
        "classifier_activation": False,
        "initializer_range": 0.2,
        "id2label": dict(enumerate(LABELS)),
    }
    set_seed(seed)
    return _seasoned(MobileBertForSequenceClassification(MobileBertConfig(**settings | changes)))


def tiny_compact(seed: int = 0, **changes: object) -> CompactBertForSequenceClassification:
    """A compact encoder with layers of different widths, token types and a factorised word table."""
    settings = {
        "vocab_size": VOCAB,
        "embedding_size": 16,
        "hidden_size": HIDDEN,
        "head_dim": 8,
        "heads_per_layer": [4, 1, 3],
        "ffn_per_layer": [48, 16, 20],
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "initializer_range": 0.2,
    }
    set_seed(seed)
    return _seasoned(CompactBertForSequenceClassification(CompactBertConfig(**settings | changes)))


def whole_compact(seed: int = 0) -> CompactBertForSequenceClassification:
    """The compact form of `tiny_bert`."""
    return to_compact(tiny_bert(seed))


@cache
def minilm() -> LoadedModel:
    """The pretrained all-MiniLM-L6-v2 with a seeded head, not to be changed; skips the test where it is absent."""
    folder = minilm_folder()
    set_seed(0)
    return load_classifier(str(folder), LABELS)


def random_batch(
    lengths: Sequence[int] = (9, 5, 12, 1), *, vocab: int = VOCAB, pairs: bool = True, seed: int = 0
) -> dict[str, Tensor]:
    """Padded random ids with token types, labels and the rows' indices."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    mask = (torch.arange(shape[1]) < torch.tensor(lengths)[:, None]).long()
    batch = {
        "input_ids": torch.randint(1, vocab, shape, generator=generator) * mask,
        "attention_mask": mask,
        "labels": torch.arange(len(lengths)) % 2,
        "row": torch.arange(len(lengths)),
    }
    if pairs:
        batch["token_type_ids"] = torch.randint(0, 2, shape, generator=generator) * mask
    return batch


def toy_rows(count: int, *, seed: int, signal: tuple[int, int] = (7, 8)) -> EncodedExamples:
    """A separable task: which of two tokens stands somewhere in the row."""
    generator = torch.Generator().manual_seed(seed)
    rows, labels = [], []
    for row in range(count):
        label = row % 2
        ids = torch.randint(10, VOCAB, (4 + row % 7,), generator=generator).tolist()
        ids[1 + row % 3] = signal[label]
        rows.append([2, *ids])
        labels.append(label)
    return EncodedExamples(rows, labels, None, pad_token_id=0)


@torch.no_grad()
def logits_of(model: PreTrainedModel, batch: dict[str, Tensor], **more: object) -> Tensor:
    inputs = {
        name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch
    }
    return model(**inputs, **more).logits


def entries_of(model: PreTrainedModel, dtypes: Mapping[str, WeightDtype]) -> list[LayerPlan]:
    """Entries of `plan_layer` for the named layers."""
    modules = quantizable_layers(model)
    return [plan_layer(name, modules[name], dtype) for name, dtype in dtypes.items()]


def check_precision(found: np.ndarray, simulated: np.ndarray, exact: np.ndarray, more: float) -> None:
    """A runtime's logits are not much farther from the model's than the simulation of its plan.

    They are not equal: the simulation has one scale an input, a kernel one a token or for every 32 values of it.
    """
    error, expected = (
        np.linalg.norm(logits - exact) / np.linalg.norm(exact) for logits in (found, simulated)
    )
    assert error < 2 * expected + more


def glue_sentences(name: str, column: str, rows: int) -> list[str]:
    """The first rows of a column of a GLUE dev split; skips the test where it is absent."""
    path = GLUE / name / "dev.tsv"
    if not path.is_file():
        pytest.skip(f"the GLUE data is not beside the project: {name}/dev.tsv")
    header, *lines = path.read_text(encoding="utf-8-sig").splitlines()
    index = header.split("\t").index(column)
    return [line.split("\t")[index] for line in lines[:rows]]


def _seasoned(model: PreTrainedModel) -> PreTrainedModel:
    """Biases and norms away from their initial 0 and 1, so that a test sees where they go."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()
