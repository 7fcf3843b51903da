"""A norm without statistics becomes part of the linear layer before it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from fixtures_models import entries_of, logits_of, random_batch, tiny_bert, tiny_mobilebert
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgesmith.compress.quantize import executed, is_small_table, quantizable_layers, uniform_plan
from edgesmith.export.onnx_affine import fold_affine
from edgesmith.export.onnxruntime import export_graph, lower
from edgesmith.models.coupling import to_prunable
from edgesmith.runtime.onnxruntime import OnnxRuntimeSession

ROWS, WIDTH = 3, 4


def small_model(nodes: list[NodeProto], *, outputs: tuple[str, ...] = ("y",)) -> onnx.ModelProto:
    """Over ``x`` and ``r``, (3, 4), with a matrix ``w`` and vectors ``b``, ``s`` and ``t``, none of them 0 or 1."""
    draw = np.random.default_rng(0)
    shapes = {"w": (WIDTH, WIDTH), "b": (WIDTH,), "s": (WIDTH,), "t": (WIDTH,)}
    constants = [
        numpy_helper.from_array(draw.normal(2, 1, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, (ROWS, WIDTH))
        for name in ("x", "r", *outputs)
    }
    graph = helper.make_graph(
        nodes, "g", [values["x"], values["r"]], [values[name] for name in outputs], constants
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def answers(model: onnx.ModelProto) -> list[np.ndarray]:
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    draw = np.random.default_rng(1)
    return session.run(
        None, {name: draw.normal(size=(ROWS, WIDTH)).astype(np.float32) for name in ("x", "r")}
    )


PRODUCT, BIAS = helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["q"])
NORM = [helper.make_node("Mul", ["q", "s"], ["m"]), helper.make_node("Add", ["m", "t"], ["y"])]
SUM = [helper.make_node("Mul", ["s", "h"], ["m"]), helper.make_node("Add", ["t", "m"], ["y"])]


@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        ([PRODUCT, BIAS, *NORM], {"MatMul": 1, "Add": 1}),
        (
            [PRODUCT, BIAS, helper.make_node("Add", ["q", "r"], ["h"]), *SUM],
            {"MatMul": 1, "Add": 2, "Mul": 1},
        ),
        (
            [PRODUCT, BIAS, helper.make_node("Add", ["r", "q"], ["h"]), *SUM],
            {"MatMul": 1, "Add": 2, "Mul": 1},
        ),
    ],
    ids=["alone", "residual second", "residual first"],
)
def test_a_scale_and_a_shift_go_into_the_layer(nodes, left):
    model = small_model(nodes)
    (expected,) = answers(model)
    fold_affine(model.graph)
    assert Counter(node.op_type for node in model.graph.node) == left
    np.testing.assert_allclose(answers(model)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ([PRODUCT, BIAS, *NORM], ("y", "q")),
        ([PRODUCT, BIAS, *NORM], ("y", "p")),
        ([PRODUCT, BIAS, *NORM], ("y", "m")),
        ([PRODUCT, BIAS, *NORM, helper.make_node("MatMul", ["r", "w"], ["z"])], ("y", "z")),
        ([helper.make_node("Add", ["x", "b"], ["q"]), *NORM], ("y",)),
    ],
    ids=["the layer's result", "the product", "the scaled", "the matrix", "no matrix"],
)
def test_what_something_else_reads_stays(nodes, outputs):
    model = small_model(nodes, outputs=outputs)
    expected, before = answers(model), len(model.graph.node)
    fold_affine(model.graph)
    assert len(model.graph.node) == before
    for found, wanted in zip(answers(model), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def mobilebert(tmp_path_factory):
    """A model, exported from its compact form, and the graph."""
    model, path = tiny_mobilebert(), tmp_path_factory.mktemp("mobilebert") / "fp32.onnx"
    model.set_attn_implementation("eager")
    export_graph(to_prunable(model), path, max_length=32, pairs=False)
    return model, path


def test_mobileberts_norms_are_folded_and_its_attention_is_eager(mobilebert):
    model, path = mobilebert
    operators = Counter(node.op_type for node in onnx.load(path).graph.node)
    layers, ffns = model.config.num_hidden_layers, model.config.num_feedforward_networks
    residuals = layers * (ffns + 2)  # behind attention, each FFN and the bottleneck's end
    scores, embeddings = layers, 1
    assert operators["Mul"] <= residuals + scores + embeddings
    assert "IsNaN" not in operators  # of fused attention
    for length in (2, 9, 32):
        batch = random_batch([length, length - 1], pairs=False)
        feeds = {name: batch[name].numpy() for name in ("input_ids", "attention_mask")}
        expected = logits_of(model, batch).numpy()
        np.testing.assert_allclose(OnnxRuntimeSession(path).run(feeds), expected, rtol=1e-4, atol=2e-5)


def test_folded_int8_is_rounded_as_the_plan_simulates(mobilebert, tmp_path):
    model, path = mobilebert
    compact = to_prunable(model)
    artifact = lower(path, uniform_plan(compact, "test"), tmp_path / "int8.onnx")
    assert set(artifact.stored.values()) == {"int8"}
    batch = random_batch([9], pairs=False)
    feeds = {name: batch[name].numpy() for name in ("input_ids", "attention_mask")}
    names = [name for name in quantizable_layers(compact) if not is_small_table(name)]
    exact = logits_of(compact, batch).numpy()
    with executed(compact, entries_of(compact, dict.fromkeys(names, "int8"))), torch.no_grad():
        expected = logits_of(compact, batch).numpy()
    found = OnnxRuntimeSession(artifact.path).run(feeds)
    assert np.abs(found - expected).max() < 0.1 * np.abs(exact).max()


def test_shapes_of_views_are_kept_and_have_the_inputs_names(mobilebert, tmp_path):
    """ONNX Runtime then knows which values are equally large."""
    model, path = mobilebert
    artifact = lower(path, uniform_plan(to_prunable(model), "test"), tmp_path / "int8.onnx")
    for file in (path, artifact.path):
        graph = onnx.load(file).graph
        makers = {output: node.op_type for node in graph.node for output in node.output}
        shapes = {value.name: value.type.tensor_type.shape.dim for value in graph.value_info}
        reshaped = [name for name, operator in makers.items() if operator == "Reshape"]
        assert reshaped
        assert set(reshaped) <= set(shapes)
        assert {makers[name] for name in shapes} <= {"Reshape", "Expand", "Slice"}
        assert all(
            shapes[name][0].dim_param == "batch" and shapes[name][1].dim_param == "sequence"
            for name in reshaped
        )


def test_a_graph_with_layer_norms_keeps_no_shapes(tmp_path):
    """They would let ONNX Runtime make a SkipLayerNormalization of every norm, which is slower."""
    export_graph(tiny_bert(), tmp_path / "fp32.onnx", max_length=32, pairs=False)
    assert not onnx.load(tmp_path / "fp32.onnx").graph.value_info
    session, path = onnxruntime.SessionOptions(), tmp_path / "optimized.onnx"
    session.optimized_model_filepath, session.log_severity_level = str(path), 3
    onnxruntime.InferenceSession(tmp_path / "fp32.onnx", session, providers=["CPUExecutionProvider"])
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert "LayerNormalization" in operators
    assert "SkipLayerNormalization" not in operators
