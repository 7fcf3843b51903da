"""A probe computes what its name says, and holds as many operators as it is asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgesmith.export import probes
from edgesmith.runtime.predictor import open_session

ROWS, WIDTH, LINKS = 3, 16, 2
IDS = np.arange(ROWS, dtype=np.int64)[None]
FEEDS = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}


def kinds(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@torch.no_grad()
def exact(model: probes.Probe) -> np.ndarray:
    return model(**{name: torch.from_numpy(value) for name, value in FEEDS.items()}).logits.numpy()


@pytest.mark.parametrize(
    ("kind", "operator", "count"),
    [
        ("linear", "MatMul", LINKS),
        ("products", "MatMul", 2 * LINKS),
        ("norm", "LayerNormalization", LINKS),
        ("activation", "Gelu", LINKS),
    ],
)
def test_a_chain_on_onnxruntime(kind: str, operator: str, count: int, tmp_path: Path) -> None:
    model, path = probes.probe(kind, WIDTH, LINKS), tmp_path / "probe.onnx"
    probes.write(model, "onnxruntime", path, rows=8)
    assert kinds(path)[operator] == count
    found = open_session("onnxruntime", path).run(FEEDS)
    np.testing.assert_allclose(found, exact(model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_linear_layers_in_int8(runtime: str, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch", reason="the extra `litert` is not installed")
    model, path = probes.probe("linear", WIDTH, LINKS), tmp_path / "int8"
    probes.write(model, runtime, tmp_path / "fp32", rows=ROWS)
    probes.lower(model, runtime, tmp_path / "fp32", path)
    found, wanted = open_session(runtime, path).run(FEEDS), exact(model)
    assert 0 < np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
    if runtime == "onnxruntime":
        assert kinds(path)["MatMulInteger"] == LINKS


@torch.no_grad()
def test_a_probe_of_attention_is_attention() -> None:
    model = probes.probe("products", WIDTH, 1)
    hidden = model.table(torch.from_numpy(IDS))
    query, key, read = (
        (hidden + vector).view(1, ROWS, probes.HEADS, WIDTH).transpose(1, 2)
        for vector in model.links[0].apart
    )
    wanted = torch.nn.functional.scaled_dot_product_attention(query, key, read)
    np.testing.assert_allclose(
        exact(model), wanted.transpose(1, 2).reshape(1, ROWS, -1), rtol=1e-4, atol=1e-5
    )


def test_nothing_is_sums() -> None:
    model = probes.nothing(5)
    np.testing.assert_allclose(exact(model)[0], 2**5 * model.table.weight.detach()[:ROWS], rtol=1e-5)
