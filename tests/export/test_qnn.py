"""Files of fixed shapes for QNN: what is in them, what they answer on the CPU, and which node breaks which rule."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from fixtures_prepared import (
    LONGEST,
    changed,
    check_is_named,
    constant,
    image_order,
    node_of,
    set_constant,
    text_order,
    text_rows,
    untried,
)
from onnx import helper

from edgesmith.errors import ExportError
from edgesmith.export import qnn
from edgesmith.export.onnx_answers import compare
from edgesmith.export.onnx_rules import Graph
from edgesmith.export.qnn_rules import RULES, WIDEST_SCORES
from edgesmith.models.compact import MASK_VALUE
from edgesmith.runtime.onnxruntime import OnnxRuntimeSession

LAYER = "layers.1.ffn.output"


@pytest.fixture(scope="module", params=["text", "image"])
def written(request, tmp_path_factory):
    model, order = text_order() if request.param == "text" else image_order()
    path = tmp_path_factory.mktemp("qnn") / request.param
    found = qnn.write(model, order, path)
    (file,) = (one for one in path.glob("*.onnx") if "_ctx" not in one.name)
    return model, order, file, found


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """Of a text model."""
    model, order = text_order()
    path = tmp_path_factory.mktemp("qnn") / "file"
    qnn.write(model, order, path)
    return path / f"model-{LONGEST}.onnx"


def test_all_shapes_are_fixed(written) -> None:
    _, order, file, _ = written
    graph = Graph(onnx.load(file))
    sizes = (1, 3, 16, 12) if order.task == "image-classification" else (1, LONGEST)
    assert {graph.sizes[name] for name in graph.inputs} == {sizes}
    assert graph.sizes["logits"] == (1, len(order.labels))


def test_weights_are_int8_and_activations_16_bit(written) -> None:
    model, order, file, found = written
    graph = Graph(onnx.load(file))
    layers = {entry.layer: entry.kind for entry in order.plan.layers}
    wanted = {"linear": "int8 per_channel", "embedding": "uint8 per_tensor"}
    assert found.stored == {layer: wanted[kind] for layer, kind in layers.items()}
    assert set(found.changes) == set(layers)
    matrices = [
        graph.constants[node.input[0]]
        for node in graph.pairs()
        if graph.is_stored(node) and graph.dtype(node) == np.int8
    ]
    linear = [model.get_submodule(layer).weight for layer, kind in layers.items() if kind == "linear"]
    assert sorted(one.size for one in matrices) == sorted(one.numel() for one in linear)
    rounded = [str(graph.dtype(node)) for node in graph.nodes if node.op_type == "QuantizeLinear"]
    assert set(rounded) == {"uint16", "uint8"}
    assert rounded.count("uint16") > 5 * rounded.count("uint8")


def test_it_answers_rows_that_it_was_not_calibrated_on(written) -> None:
    """Within a tenth of the model's logits."""
    model, order, file, _ = written
    if order.task == "image-classification":
        rows = [{"pixel_values": np.random.default_rng(9).standard_normal((1, 3, 16, 12), np.float32)}]
        found = compare(model, file, rows)
    else:
        rows = text_rows((6, 24, 13, 2))
        found = compare(model, file, rows, qnn._padded(LONGEST))
    assert found.cosine > 0.99
    assert found.rows == len(rows)


def test_the_record_says_what_was_checked_and_what_was_not(written) -> None:
    _, _, file, found = written
    assert f"keeps the {len(RULES)} rules for QNN's HTP" in found.checks[0]
    assert f"{file.name}: ONNX Runtime answered 8 calibration rows: worst cosine" in found.checks[1]
    assert "no Qualcomm device ran it" in found.open
    settings = json.loads((file.parent / "settings.json").read_text())
    assert set(settings["files"]) == {file.name}


def test_a_text_gets_a_file_for_each_length() -> None:
    model, order = text_order()
    longer = replace(order, max_length=100, rows=text_rows((90, 40)))
    files = {
        name: (length, [row["input_ids"].shape[1] for row in rows])
        for name, length, rows in qnn._files(model, longer)
    }
    assert files == {
        "model-32.onnx": (32, [32, 32]),
        "model-64.onnx": (64, [64, 40]),
        "model-100.onnx": (100, [90, 40]),
    }


def test_the_mask_hides_every_token_and_leaves_steps_to_the_scores(file: Path) -> None:
    """Whatever stands in the padding, the answer is the same; -10,000 would take nearly all of the range."""
    graph = Graph(onnx.load(file))
    assert not any(
        (value == MASK_VALUE).any() for value in graph.constants.values() if value.dtype.kind == "f"
    )
    softmax = next(node for node in graph.nodes if node.op_type == "Softmax")
    scale = float(graph.scales(graph.unpacked(softmax.input[0])))
    assert np.isfinite(scale)
    assert 2 * qnn.HIDDEN_BY < scale * 65535 < WIDEST_SCORES
    session, row = OnnxRuntimeSession(file), qnn._padded(LONGEST)(text_rows((5,))[0])
    ids = np.where(row["attention_mask"] == 1, row["input_ids"], 3 + np.arange(LONGEST))
    np.testing.assert_array_equal(session.run(row), session.run({**row, "input_ids": ids}))
    hidden = {**row, "input_ids": np.where(np.arange(LONGEST) == 1, 3, ids)}  # one that counts
    assert (session.run(row) != session.run(hidden)).all()


@pytest.mark.parametrize("scores", [(-3.0, 5.0), (-98.0, 48.5), (0.0, 0.0)])
def test_a_masked_score_is_far_below_the_lowest_that_counts(scores) -> None:
    low, high = scores
    assert low - (high + qnn.mask_value(scores)) == pytest.approx(qnn.HIDDEN_BY)


def test_8_bit_activations_are_all_8_bit(tmp_path: Path) -> None:
    model, order = image_order()
    qnn.write(model, replace(order, activation_bits=8), tmp_path / "out")
    graph = Graph(onnx.load(tmp_path / "out" / "model.onnx"))
    assert {str(graph.dtype(node)) for node in graph.nodes if node.op_type == "QuantizeLinear"} == {"uint8"}


def test_a_linear_layer_that_is_not_int8_is_named(file: Path, tmp_path: Path) -> None:
    _, order = text_order()

    def widen(graph) -> None:
        unpacked = Graph(helper.make_model(graph)).unpacked(node_of(graph, "MatMul", end=LAYER).input[1])
        set_constant(graph, unpacked.input[0], constant(graph, unpacked.input[0]).astype(np.int16))
        set_constant(graph, unpacked.input[2], constant(graph, unpacked.input[2]).astype(np.int16))

    with pytest.raises(ExportError, match=rf"{LAYER} is int16 per_channel, wanted int8 per_channel"):
        qnn.read_back(changed(file, tmp_path, widen), order.plan, 16)


# ---- one file for each rule, with one thing wrong


def pair_before(graph, kind: str, end: str = "", at: int = 0):
    """QuantizeLinear and DequantizeLinear that an operator's input comes from."""
    view = Graph(helper.make_model(graph))
    unpacked = view.unpacked(node_of(graph, kind, end=end).input[at])
    return view.makers.get(unpacked.input[0]), unpacked


def dynamic_batch(graph) -> None:
    graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def other_operator(graph) -> None:
    node_of(graph, "Gelu").op_type = "Erf"


def floating_point(graph) -> None:
    rounding, _ = pair_before(graph, "Gelu")
    node_of(graph, "Gelu").input[0] = rounding.input[0]


def signed_activation(graph) -> None:
    rounding, _ = pair_before(graph, "Gelu")
    set_constant(graph, rounding.input[2], np.int16(0))


def shifted_weight(graph) -> None:
    _, unpacked = pair_before(graph, "MatMul", LAYER, 1)
    set_constant(graph, unpacked.input[2], constant(graph, unpacked.input[2]) + np.int8(1))


def infinite_scale(graph) -> None:
    rounding, _ = pair_before(graph, "Gelu")
    set_constant(graph, rounding.input[1], np.float32(np.inf))


def scales_for_an_activation(graph) -> None:
    rounding, _ = pair_before(graph, "Gelu")
    set_constant(graph, rounding.input[1], np.full(16, 0.1, np.float32))


def product_of_16_bits(graph) -> None:
    view = Graph(helper.make_model(graph))
    node = next(one for one in graph.node if one.op_type == "MatMul" and view.weight(one) is None)
    node.input[1] = node.input[0]


def lowest_mask(graph) -> None:
    _, unpacked = pair_before(graph, "Softmax")
    set_constant(graph, unpacked.input[1], np.float32(3.4e38 / 65535))


BROKEN = {
    dynamic_batch: (r"input_ids has the shape \('batch', 24\)", "all shapes are fixed"),
    other_operator: (r"Gelu_\d+ is a Erf", "operators are supported"),
    floating_point: (r"Gelu Gelu_\d+ reads '\w+' in floating point", "leaves the integer graph"),
    signed_activation: (r"\w+ has the type int16", "activations are UINT8 or UINT16"),
    shifted_weight: (r"\w+ has a zero point other than 0", "INT8 weights are symmetric"),
    infinite_scale: (r"\w+ has a scale that is not finite", "finite and positive"),
    scales_for_an_activation: (r"\w+ has 16 scales", "activations have one scale"),
    product_of_16_bits: (r"MatMul_\d+ multiplies uint16 by uint16", "multiplied as UINT8"),
    lowest_mask: (r"Softmax_\d+ reads scores over a range of 3.4e\+38", "scores of attention"),
}


@pytest.mark.parametrize("change", BROKEN, ids=lambda change: change.__name__)
def test_the_node_that_breaks_a_rule_is_named_with_its_source(change, file: Path, tmp_path: Path) -> None:
    node, rule = BROKEN[change]
    check_is_named(changed(file, tmp_path, change), "QNN's HTP", RULES, node, rule)


def test_every_rule_has_a_file_that_breaks_it() -> None:
    assert untried(RULES, [rule for _, rule in BROKEN.values()]) == []


def test_a_graph_without_a_mask_is_refused(tmp_path: Path) -> None:
    """Nothing would hide padding."""
    empty = helper.make_model(helper.make_graph([], "g", [], []))
    with pytest.raises(ExportError, match="no constant -10000 that masks tokens"):
        qnn._move_mask(empty, tmp_path / "g.onnx", [])


@pytest.mark.slow
@pytest.mark.parametrize("arch", [None, 73, 75])
def test_qualcomms_own_compiler_takes_all_of_it(arch, file: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime_qnn", reason="QNN is not installed: pip install 'edgesmith[qnn]'")
    context = tmp_path / qnn.compile_context(changed(file, tmp_path, lambda graph: None), arch)
    assert [node.op_type for node in onnx.load(context).graph.node] == ["EPContext"]


@pytest.mark.slow
def test_what_the_compiler_does_not_take_is_named(file: Path, tmp_path: Path) -> None:
    """A layer norm with signed weights, which the rules' sources do not tell of."""
    pytest.importorskip("onnxruntime_qnn", reason="QNN is not installed: pip install 'edgesmith[qnn]'")

    def sign(graph) -> None:
        _, unpacked = pair_before(graph, "LayerNormalization", at=1)
        stored = constant(graph, unpacked.input[0])
        set_constant(graph, unpacked.input[0], (stored // 2).astype(np.int8))
        set_constant(graph, unpacked.input[2], np.int8(0))

    with pytest.raises(ExportError, match=r"does not compile for HTP: .*LayerNormalization"):
        qnn.compile_context(changed(file, tmp_path, sign), None)
