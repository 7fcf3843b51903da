"""Static INT8 that works on ONNX Runtime and LiteRT: the embeddings of all-MiniLM-L6 stay where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_models import glue_sentences, minilm
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgesmith.compress.migrate import migrate
from edgesmith.compress.quantize import is_small_table, quantizable_layers, scheme_layer
from edgesmith.compress.quantize_ranges import input_range, observe_inputs, observe_outputs
from edgesmith.compress.structure import fold_token_types, keep_positions
from edgesmith.export import exporter
from edgesmith.models import to_compact
from edgesmith.models.compact import CompactBertForTokenClassification
from edgesmith.records import Plan, Scheme
from edgesmith.runtime.predictor import open_session
from edgesmith.targets import gives_integers

MAX_LENGTH = 128
STATIC, DYNAMIC = Scheme("int8", activation="static_int8"), Scheme("int8", activation="dynamic_int8")
BLOCKS = Scheme("int8", "per_block", "dynamic_int8")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def encoder():
    """Its logits are the last hidden states of every token."""
    whole = fold_token_types(keep_positions(to_compact(minilm().model), MAX_LENGTH))
    hidden = whole.config.hidden_size
    config = type(whole.config).from_dict(whole.config.to_dict() | {"num_labels": hidden})
    model = CompactBertForTokenClassification(config).eval()
    states = {
        key: value for key, value in whole.state_dict().items() if key.startswith(("embeddings", "layers"))
    }
    states |= {"classifier.weight": torch.eye(hidden), "classifier.bias": torch.zeros(hidden)}
    model.load_state_dict(states)
    return model


@pytest.fixture(scope="module")
def rows():
    """(32 for calibration, 64 others), each a batch of its own."""
    tokenizer = minilm().tokenizer
    texts = glue_sentences("SST-2", "sentence", 96)
    batches = [dict(tokenizer(text, return_tensors="pt")) for text in texts]
    for batch in batches:
        del batch["token_type_ids"]
    return batches[:32], batches[32:]


@pytest.fixture(scope="module")
def inputs(encoder, rows):
    return observe_inputs(encoder, rows[0])


@pytest.fixture(scope="module")
def migrated(encoder, rows):
    return migrate(encoder, rows[0])


class Embedder:
    """A model's files for a runtime, and how far they move a text's embedding: the mean of its last hidden states."""

    def __init__(self, model, rows, runtime: str, folder: Path) -> None:
        self.model, self.rows, self.runtime, self.folder = model, rows[1], runtime, folder
        self.writer = exporter(runtime)
        self.ranges, self.output_ranges = (
            {name: input_range(seen, "min_max") for name, seen in observe(model, rows[0]).items()}
            for observe in (observe_inputs, observe_outputs)
        )
        self.graph = folder / self.writer.MODEL_NAME
        fixed = {"is_fixed": True} if runtime == "litert" else {}
        self.writer.export_graph(model, self.graph, max_length=MAX_LENGTH, pairs=False, **fixed)
        self.exact = self.embed(self.graph)

    def embed(self, path: Path) -> np.ndarray:
        session = open_session(self.runtime, path)
        texts = ({name: value.numpy() for name, value in row.items()} for row in self.rows)
        return np.stack([session.run(text)[0].mean(axis=0) for text in texts])

    def worst_cosine(self, scheme_of) -> float:
        """To the embeddings of the model in FP32."""
        entries = [
            scheme_layer(
                name,
                module,
                scheme_of(name),
                input_range=self.ranges.get(name),
                output_range=self.output_ranges.get(name) if gives_integers(self.runtime) else None,
            )
            for name, module in quantizable_layers(self.model).items()
            if not is_small_table(name) and name != "classifier"
        ]
        path = self.graph.with_stem("lowered")
        self.writer.lower(self.graph, Plan(layers=tuple(entries)), path)
        found = self.embed(path)
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(self.exact, axis=1)
        return float(((found * self.exact).sum(axis=1) / norms).min())


@pytest.fixture(scope="module")
def worst_cosine(encoder, rows, tmp_path_factory):
    return Embedder(encoder, rows, "onnxruntime", tmp_path_factory.mktemp("files")).worst_cosine


def uniform(scheme):
    return lambda name: Scheme("int8") if name == "embeddings.word" else scheme


def by_kind(name):
    """Static where attention reads and writes; in the FFN a few features and neurons are too large for one scale."""
    if name == "embeddings.word":
        return Scheme("int8")
    return BLOCKS if "ffn" in name else STATIC


def test_static_attention_beside_an_ffn_in_blocks_keeps_the_cosine(worst_cosine):
    cosines = {
        "static": worst_cosine(uniform(STATIC)),
        "dynamic": worst_cosine(uniform(DYNAMIC)),
        "by kind": worst_cosine(by_kind),
    }
    assert cosines["by kind"] >= 0.99 > max(cosines["static"], cosines["dynamic"])


def test_migrated_scales_keep_all_but_the_ffns_second_layers_static(migrated, rows, tmp_path):
    """Two thirds of the linear MACs, where without it a third is: the FFN's first layers read a norm."""
    runs = Embedder(migrated, rows, "onnxruntime", tmp_path)
    assert runs.worst_cosine(lambda name: BLOCKS if "ffn.output" in name else uniform(STATIC)(name)) >= 0.99


def test_static_attention_on_litert(migrated, rows, tmp_path):
    """Its static layers round what they give too; the FFN's are dynamic, with one scale a token."""
    runs = Embedder(migrated, rows, "litert", tmp_path)
    cosines = {
        "static": runs.worst_cosine(uniform(STATIC)),
        "by kind": runs.worst_cosine(lambda name: uniform(DYNAMIC if "ffn" in name else STATIC)(name)),
    }
    assert cosines["by kind"] >= 0.99 > cosines["static"]


def test_nearly_all_macs_are_on_int8_inputs(encoder, rows, inputs):
    """The rest is attention between tokens, in FP32."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for row in rows[0]:
            encoder(**row)
    macs = {
        name: inputs[name].positions * module.weight.numel()
        for name, module in quantizable_layers(encoder).items()
        if isinstance(module, nn.Linear)
    }
    total = counter.get_total_flops() / 2 - macs.pop("classifier")
    static = sum(count for name, count in macs.items() if by_kind(name) == STATIC)
    assert sum(macs.values()) / total > 0.95
    assert 0.3 < static / total < 0.4
