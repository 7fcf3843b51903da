"""ONNX with explicit quantization for TensorRT: what is in it, what it answers, and which node breaks which rule."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from fixtures_models import logits_of, random_batch
from fixtures_prepared import (
    LONGEST,
    changed,
    check_is_named,
    constant,
    image_order,
    node_of,
    set_constant,
    text_order,
    untried,
)
from onnx import TensorProto, helper, numpy_helper

from edgesmith.compress.quantize_ranges import input_range, observe_inputs
from edgesmith.errors import ExportError, UnsupportedError
from edgesmith.export import tensorrt
from edgesmith.export.onnx_rules import Graph, check_rules
from edgesmith.export.tensorrt_rules import RULES
from edgesmith.pipeline.calibrated import static_plan
from edgesmith.records import Plan
from edgesmith.runtime.onnxruntime import OnnxRuntimeSession

LAYER = "layers.1.ffn.output"


@pytest.fixture(scope="module", params=["text", "image"])
def written(request, tmp_path_factory):
    model, order = text_order() if request.param == "text" else image_order()
    order = replace(order, plan=static_plan(model, order.plan, order.rows))
    path = tmp_path_factory.mktemp("tensorrt") / request.param
    return model, order, path, tensorrt.write(model, order, path)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """Of a text model, every integer of its plan as planned."""
    model, order = text_order()
    path = tmp_path_factory.mktemp("tensorrt") / "file"
    tensorrt.write(model, replace(order, plan=all_static(model, order)), path)
    return path / "model.onnx"


def all_static(model, order):
    rows = [{name: torch.from_numpy(value) for name, value in row.items()} for row in order.rows]
    seen = {name: input_range(one, "min_max") for name, one in observe_inputs(model, rows).items()}
    static = {"activation": "static_int8"}
    return Plan(
        layers=tuple(
            replace(entry, **static, input_range=seen[entry.layer]) if entry.kind == "linear" else entry
            for entry in order.plan.layers
        )
    )


def test_every_integer_is_symmetric_int8(written) -> None:
    _, order, path, _ = written
    graph = Graph(onnx.load(path / "model.onnx"))
    pairs = list(graph.pairs())
    linear = sum(entry.activation == "static_int8" for entry in order.plan.layers)
    tables = sum(entry.kind == "embedding" and entry.weight == "int8" for entry in order.plan.layers)
    assert linear >= 8  # of 14 or 15
    assert len(pairs) == 3 * linear + tables
    assert {str(graph.dtype(node)) for node in pairs} == {"int8"}
    assert not any(graph.constants[node.input[2]].any() for node in pairs)


def test_a_weight_is_its_integers_times_a_scale_a_channel(file: Path) -> None:
    model, _ = text_order()
    graph = Graph(onnx.load(file))
    unpacked = graph.makers[f"{LAYER}.weight"]
    stored, scales = graph.constants[unpacked.input[0]], graph.constants[unpacked.input[1]]  # (K, N), (N,)
    weight = model.get_submodule(LAYER).weight.detach().numpy().T
    assert scales.shape == (weight.shape[1],)
    assert (np.abs(stored * scales - weight) <= scales / 2 * (1 + 1e-5)).all()


def test_the_step_of_an_input_is_its_farther_end_over_127(file: Path) -> None:
    model, order = text_order()
    entry = all_static(model, order).entry(LAYER)
    step = constant(onnx.load(file).graph, f"{LAYER}.step")
    assert step == pytest.approx(max(map(abs, entry.input_range)) / 127)


def test_it_answers_rows_of_every_length_as_the_model(written) -> None:
    model, order, path, _ = written
    session = OnnxRuntimeSession(path / "model.onnx")
    if order.task == "image-classification":
        feeds = {"pixel_values": np.concatenate([row["pixel_values"] for row in order.rows])}
        wanted = (
            model(**{name: torch.from_numpy(value) for name, value in feeds.items()}).logits.detach().numpy()
        )
        check_close(session.run(feeds), wanted)
        return
    for lengths in ((2,), (LONGEST, 3, 11), (9,) * tensorrt.MAX_BATCH):
        batch = random_batch(lengths, seed=7)
        found = session.run({name: value.numpy() for name, value in batch.items()})
        check_close(found, logits_of(model, batch).numpy())


def check_close(found, wanted) -> None:
    """Within a tenth of the model's logits, as in INT8 with one scale for all inputs of a layer."""
    assert np.linalg.norm(found - wanted) < 0.1 * np.linalg.norm(wanted)


def test_the_profile_and_the_line_to_type(written) -> None:
    _, _, path, found = written
    build = json.loads((path / "build.json").read_text())
    name, points = next(iter(build["profile"].items()))
    sizes = [16, 12] if name == "pixel_values" else []
    texts = {"min": [1, 2], "opt": [1, 14], "max": [8, LONGEST]}  # 14.5 is the median of the rows' lengths
    assert points == (
        {"min": [1, 3, *sizes], "opt": [1, 3, *sizes], "max": [8, 3, *sizes]} if sizes else texts
    )
    assert build["trtexec"].startswith("trtexec --onnx=model.onnx --stronglyTyped --minShapes=")
    for one, points in build["profile"].items():
        assert f"{one}:{'x'.join(map(str, points['max']))}" in build["trtexec"].partition("--maxShapes=")[2]
    assert build["trtexec"] in found.open


def test_the_record_says_what_was_checked_and_what_was_not(written) -> None:
    *_, found = written
    assert f"keeps the {len(RULES)} rules for TensorRT" in found.checks[0]
    assert "answered 8 calibration rows: worst cosine" in found.checks[1]
    assert "no NVIDIA device ran it" in found.open


def test_dynamic_inputs_are_refused_with_what_would_do(tmp_path: Path) -> None:
    model, order = text_order()
    with pytest.raises(
        UnsupportedError, match=r"layers\.0\.attention\.qkv is planned int8 dynamic; .* static inputs"
    ):
        tensorrt.write(model, order, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- one file for each rule, with one thing wrong


def to_uint8(graph) -> None:
    set_constant(graph, f"{LAYER}.zero", np.uint8(0))


def shift(graph) -> None:
    set_constant(graph, f"{LAYER}.zero", np.int8(3))


def no_scale(graph) -> None:
    set_constant(graph, f"{LAYER}.step", np.float32(0))


def scales_for_an_activation(graph) -> None:
    width = constant(graph, f"{LAYER}.int8").shape[0]
    set_constant(graph, f"{LAYER}.step", np.full(width, 0.1, np.float32))


def one_scale_for_a_weight(graph) -> None:
    set_constant(graph, f"{LAYER}.scales", np.float32(0.1))
    set_constant(graph, f"{LAYER}.zeros", np.int8(0))


def weights_only(graph) -> None:
    node = node_of(graph, "MatMul", end=LAYER)
    node.input[0] = node_of(graph, "QuantizeLinear", end=f"{LAYER}_input").input[0]


def idle_pair(graph) -> None:
    """A quantized input of a softmax."""
    softmax = node_of(graph, "Softmax")
    parts = [f"{LAYER}.step", f"{LAYER}.zero"]
    graph.node.append(helper.make_node("QuantizeLinear", [softmax.input[0], *parts], ["rounded"], "idle_q"))
    graph.node.append(helper.make_node("DequantizeLinear", ["rounded", *parts], ["idle"], "idle_dq"))
    softmax.input[0] = "idle"


def rounded_bias(graph) -> None:
    bias = next(node for node in graph.node if node.op_type == "Add" and f"model.{LAYER}.bias" in node.input)
    graph.initializer.append(numpy_helper.from_array(np.ones(32, np.int8), "bias.int8"))
    parts = ["bias.int8", f"{LAYER}.step", f"{LAYER}.zero"]
    graph.node.insert(0, helper.make_node("DequantizeLinear", parts, ["bias.back"], "bias_dq"))
    bias.input[list(bias.input).index(f"model.{LAYER}.bias")] = "bias.back"


def gathered_integers(graph) -> None:
    node_of(graph, "Gather", end="embeddings.word").input[0] = "embeddings.word.rows"


def lowest_weight(graph) -> None:
    stored = constant(graph, f"{LAYER}.int8").copy()
    stored[0, 0] = -128
    set_constant(graph, f"{LAYER}.int8", stored)


def other_operator(graph) -> None:
    node_of(graph, "MatMul", end=LAYER).op_type = "MatMulInteger"


def infinite_mask(graph) -> None:
    mask = next(
        one.name for one in graph.initializer if not one.dims and numpy_helper.to_array(one) == -10000
    )
    set_constant(graph, mask, np.float32(-3.4e38))


BROKEN = {
    to_uint8: (f"{LAYER}_input rounds to uint8", "work on INT8"),
    shift: (f"{LAYER}_input has a zero point 3", "symmetric"),
    no_scale: (f"{LAYER}_input has a scale of 0.0", "finite and positive"),
    scales_for_an_activation: (f"{LAYER}_input has 16 scales", "activations have one scale"),
    one_scale_for_a_weight: (f"{LAYER} has 1 scales along axis 1 for 32", "one scale an output channel"),
    weights_only: (f"{LAYER} has INT8 weights only", "all inputs of a weighted operator"),
    idle_pair: ("idle_dq feeds Softmax", "only for a weighted operator"),
    rounded_bias: ("bias_dq unpacks a bias", "biases stay"),
    gathered_integers: ("Gather embeddings.word reads", "read by DequantizeLinear only"),
    lowest_weight: (f"{LAYER}_weight unpacks a weight of -128", r"-127, 127"),
    other_operator: (f"{LAYER} is a MatMulInteger", "operators are ONNX's"),
    infinite_mask: (r"Mul \w+ reads -3.4e\+38", "fit FP16"),
}


@pytest.mark.parametrize("change", BROKEN, ids=lambda change: change.__name__)
def test_the_node_that_breaks_a_rule_is_named_with_its_source(change, file: Path, tmp_path: Path) -> None:
    node, rule = BROKEN[change]
    check_is_named(changed(file, tmp_path, change), "TensorRT", RULES, node, rule)


def test_an_opset_that_is_too_new_is_refused(file: Path, tmp_path: Path) -> None:
    model = onnx.load(file)
    model.opset_import[0].version = 25
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match=r"the file has opset 25; the opset is 9 to 20"):
        check_rules(tmp_path / "model.onnx", "TensorRT", RULES)


def test_every_rule_has_a_file_that_breaks_it() -> None:
    assert untried(RULES, [rule for _, rule in BROKEN.values()]) == ["the opset is 9 to 20"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [None, shift, gathered_integers], ids=["whole", "shift", "gathered_integers"]
)
def test_nvidias_own_builder_agrees(change, file: Path, tmp_path: Path) -> None:
    """On a file that keeps the rules, and on two that do not."""
    pytest.importorskip(
        "tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'edgesmith[tensorrt]'"
    )
    profile = json.loads((file.parent / "build.json").read_text())["profile"]
    if change is None:
        assert "built an engine of" in tensorrt.build_without_gpu(file, profile)
        return
    with pytest.raises(ExportError, match=r"TensorRT-RTX .* cannot (read|build)"):
        tensorrt.build_without_gpu(changed(file, tmp_path, change), profile)


def test_int8_constants_of_the_graph_are_the_planned_ones(file: Path) -> None:
    """As many bytes as the planned weights have values, and a zero point a scale."""
    model, order = text_order()
    graph = onnx.load(file).graph
    stored = sum(int(np.prod(one.dims)) for one in graph.initializer if one.data_type == TensorProto.INT8)
    planned = [(model.get_submodule(entry.layer).weight, entry.kind) for entry in order.plan.layers]
    zeros = sum(len(weight) + (kind == "linear") for weight, kind in planned)
    assert stored == sum(weight.numel() for weight, _ in planned) + zeros
