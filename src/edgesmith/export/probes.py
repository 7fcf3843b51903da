"""Small ONNX graphs of one kind of operator each, to find out how fast a machine executes it.

Each is a chain: what a runtime spends on one graph is spent once, and what it spends on an operator shows in its rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgesmith.export.onnx_graph import OPSET
from edgesmith.export.onnxruntime import lower
from edgesmith.records import LayerPlan, Plan

INPUT = "input"
_NEWEST_IR = 10
"""Of the file format; older releases of the runtime read no newer one."""


def write_linear(path: Path, rows: int, width: int, links: int, precision: str) -> None:
    """A chain of `links` square linear layers, (rows, width) each, with weights of their own.

    Args:
        precision: ``fp32``, or ``int8`` as the exporter writes it: weights per channel, activations as they arrive.
    """
    generator = np.random.default_rng(0)
    weights = generator.standard_normal((links, width, width), dtype=np.float32) * np.float32(width**-0.5)
    nodes, tensors, value = [], [], INPUT
    for index, weight in enumerate(weights):
        layer = _layer(index)
        tensors.append(numpy_helper.from_array(weight, f"{layer}.weight"))
        nodes.append(helper.make_node("MatMul", [value, f"{layer}.weight"], [f"{layer}.product"], name=layer))
        value = f"{layer}.product"
    if precision == "fp32":
        _write(path, nodes, tensors, [rows, width], value)
        return
    whole = path.with_stem(f"{path.stem}-fp32")
    _write(whole, nodes, tensors, [rows, width], value)
    lower(whole, _int8_plan(links), path)


def write_products(path: Path, rows: int, width: int, heads: int, links: int) -> None:
    """A chain of `links` pairs of products as attention has them: (heads, rows, width), and its square of rows."""
    keys = np.full((heads, width, rows), 1 / width, np.float32)
    values = np.full((heads, rows, width), 1 / rows, np.float32)
    tensors = [numpy_helper.from_array(keys, "keys"), numpy_helper.from_array(values, "values")]
    nodes, value = [], INPUT
    for index in range(links):
        nodes.append(helper.make_node("MatMul", [value, "keys"], [f"scores.{index}"]))
        nodes.append(helper.make_node("MatMul", [f"scores.{index}", "values"], [f"read.{index}"]))
        value = f"read.{index}"
    _write(path, nodes, tensors, [heads, rows, width], value)


def write_function(path: Path, kind: str, rows: int, width: int, links: int) -> None:
    """A chain of softmaxes, of sums with their norms, or of activations over (rows, width).

    Args:
        kind: ``softmax``, ``norm`` or ``activation`` (GELU).
    """
    nodes, tensors, value = [], [], INPUT
    if kind == "norm":
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        tensors = [numpy_helper.from_array(ones, "scale"), numpy_helper.from_array(zeros, "bias")]
    for index in range(links):
        result = f"value.{index}"
        if kind == "norm":
            nodes.append(helper.make_node("Add", [value, INPUT], [f"sum.{index}"]))
            nodes.append(helper.make_node("LayerNormalization", [f"sum.{index}", "scale", "bias"], [result]))
        else:
            nodes.append(helper.make_node("Softmax" if kind == "softmax" else "Gelu", [value], [result]))
        value = result
    _write(path, nodes, tensors, [rows, width], value)


def write_nothing(path: Path, links: int) -> None:
    """A chain of sums of single numbers: what it takes is overhead."""
    nodes, value = [], INPUT
    for index in range(links):
        nodes.append(helper.make_node("Add", [value, INPUT], [f"sum.{index}"]))
        value = f"sum.{index}"
    _write(path, nodes, [], [1], value)


def _layer(index: int) -> str:
    return f"linear.{index}"


def _int8_plan(links: int) -> Plan:
    entries = (
        LayerPlan(layer=_layer(index), kind="linear", weight="int8", activation="dynamic_int8")
        for index in range(links)
    )
    return Plan(layers=tuple(entries))


def _write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    tensors: Sequence[onnx.TensorProto],
    shape: Sequence[int],
    output: str,
) -> None:
    """A graph from one input to one output of the same shape."""
    given, found = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in (INPUT, output))
    graph = helper.make_graph(nodes, "probe", [given], [found], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_NEWEST_IR)
    onnx.save(model, path)
