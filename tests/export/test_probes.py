"""A probe computes what its name says, and holds as many operators as it is asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgesmith.export import probes
from edgesmith.runtime.onnxruntime import OnnxRuntimeSession

ROWS, WIDTH, LINKS = 3, 16, 2


def kinds(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def run(path: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    value = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    return value, OnnxRuntimeSession(path).run({probes.INPUT: value})


def weights(path: Path) -> list[np.ndarray]:
    return [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]


def test_a_chain_of_linear_layers_in_fp32(tmp_path: Path) -> None:
    path = tmp_path / "linear.onnx"
    probes.write_linear(path, ROWS, WIDTH, LINKS, "fp32")
    value, found = run(path, (ROWS, WIDTH))
    first, second = weights(path)
    assert kinds(path) == {"MatMul": LINKS}
    np.testing.assert_allclose(found, value @ first @ second, rtol=1e-4, atol=1e-5)


def test_the_same_in_int8_multiplies_integers(tmp_path: Path) -> None:
    path = tmp_path / "linear.onnx"
    probes.write_linear(path, ROWS, WIDTH, LINKS, "int8")
    assert kinds(path)["MatMulInteger"] == LINKS
    probes.write_linear(tmp_path / "whole.onnx", ROWS, WIDTH, LINKS, "fp32")
    found, exact = run(path, (ROWS, WIDTH))[1], run(tmp_path / "whole.onnx", (ROWS, WIDTH))[1]
    assert np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


def test_products_are_those_of_attention(tmp_path: Path) -> None:
    path = tmp_path / "products.onnx"
    probes.write_products(path, ROWS, WIDTH, heads=2, links=LINKS)
    value, found = run(path, (2, ROWS, WIDTH))
    assert kinds(path) == {"MatMul": 2 * LINKS}
    # keys are 1 / width and values 1 / rows: each pair of products takes the mean of a row
    means = value.mean(-1, keepdims=True)
    np.testing.assert_allclose(found, np.broadcast_to(means, value.shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "operators"),
    [
        ("softmax", {"Softmax": LINKS}),
        ("norm", {"Add": LINKS, "LayerNormalization": LINKS}),
        ("activation", {"Gelu": LINKS}),
    ],
)
def test_functions(kind: str, operators: dict[str, int], tmp_path: Path) -> None:
    path = tmp_path / "function.onnx"
    probes.write_function(path, kind, ROWS, WIDTH, LINKS)
    assert kinds(path) == operators
    _, found = run(path, (ROWS, WIDTH))
    if kind == "softmax":
        np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    if kind == "norm":
        np.testing.assert_allclose(found.std(-1), 1, rtol=1e-2)


def test_nothing_is_sums(tmp_path: Path) -> None:
    path = tmp_path / "nothing.onnx"
    probes.write_nothing(path, 5)
    value, found = run(path, (1,))
    np.testing.assert_allclose(found, 6 * value, rtol=1e-5)
