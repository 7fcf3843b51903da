from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from fixtures_models import (
    POSITIONS,
    SECOND_SENTENCES,
    SENTENCES,
    entries_of,
    logits_of,
    minilm,
    random_batch,
    tiny_bert,
    tiny_distilbert,
    tiny_mobilebert,
)
from onnx import numpy_helper
from onnxruntime.quantization import quantize_dynamic

from edgesmith.analyze.cost import int8_file_bytes
from edgesmith.compress.quantize import (
    executed,
    is_small_table,
    plan_layer,
    quantizable_layers,
    quantize_weight,
    scheme_layer,
    uniform_plan,
    weight_bytes,
)
from edgesmith.compress.quantize_ranges import input_range, observe_inputs
from edgesmith.compress.structure import factorise_embedding, keep_layers, keep_positions
from edgesmith.errors import ExportError
from edgesmith.export.onnxruntime import export_graph, lower, read_back
from edgesmith.models import shape_of, to_compact
from edgesmith.records import LayerPlan, Plan, Scheme
from edgesmith.runtime.onnxruntime import OnnxRuntimeSession

MAX_LENGTH = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="module")
def student():
    """Two layers of the pretrained MiniLM with a factorised word table."""
    whole = keep_positions(to_compact(minilm().model), MAX_LENGTH)
    return factorise_embedding(keep_layers(whole, [1, 4]), 96)


@pytest.fixture(scope="module")
def student_graph(folder, student) -> Path:
    export_graph(student, folder / "student.onnx", max_length=MAX_LENGTH, pairs=True)
    return folder / "student.onnx"


def sentences(*, pairs: bool) -> list[dict[str, torch.Tensor]]:
    """Real sentences: each alone, and all of them padded."""
    tokenizer = minilm().tokenizer
    second = list(SECOND_SENTENCES) if pairs else None
    batch = dict(tokenizer(list(SENTENCES), second, padding=True, return_tensors="pt"))
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    alone = [
        {name: value[row : row + 1, :length] for name, value in batch.items()}
        for row, length in enumerate(lengths)
    ]
    return [*alone, batch]


def run(path: Path, batch: dict[str, torch.Tensor]) -> np.ndarray:
    return OnnxRuntimeSession(path).run({name: value.numpy() for name, value in batch.items()})


def mixed_plan(model) -> Plan:
    """Every lowering at once: INT8 and FP16 linears, an FP32 one, an INT8 table, small tables in FP16."""
    higher = {
        "layers.0.ffn.output": "fp16",
        "embeddings.projection": "fp16",
        "pooler": "fp32",
        "classifier": "fp16",
    }
    return Plan(
        layers=tuple(
            plan_layer(name, module, "fp16" if is_small_table(name) else higher.get(name, "int8"))
            for name, module in quantizable_layers(model).items()
        )
    )


SCHEMES = {
    "attention": Scheme("int8", activation="static_int8"),
    "ffn.intermediate": Scheme("int8", "per_block", "dynamic_int8"),
    "ffn.output": Scheme("int8", activation="dynamic_int8"),
    "projection": Scheme("fp16"),
    "pooler": Scheme("int4", "per_block", "dynamic_int8"),
    "classifier": Scheme("int8", activation="static_int8"),
    "word": Scheme("int4", "per_block"),
}


def plan_of_schemes(model) -> Plan:
    """Static inputs, blocks and INT4 beside one another."""
    ranges = {
        name: input_range(seen, "mse")
        for name, seen in observe_inputs(model, sentences(pairs=True)[:-1]).items()
    }
    return Plan(
        layers=tuple(
            scheme_layer(name, module, scheme, input_range=ranges.get(name))
            for name, module in quantizable_layers(model).items()
            for part, scheme in SCHEMES.items()
            if part in name
        )
    )


PLANS = {
    "schemes": plan_of_schemes,
    "int8": lambda model: uniform_plan(model, "test"),
    "fp16": lambda model: Plan(
        layers=tuple(plan_layer(name, module, "fp16") for name, module in quantizable_layers(model).items())
    ),
    "mixed": mixed_plan,
}


@pytest.fixture(scope="module", params=PLANS)
def lowered(request, folder, student, student_graph):
    """Plan and artifact."""
    plan = PLANS[request.param](student)
    return plan, lower(student_graph, plan, folder / f"{request.param}.onnx")


@pytest.mark.parametrize("pairs", [False, True])
def test_the_graph_computes_what_the_model_computes(student, student_graph, pairs):
    for batch in sentences(pairs=pairs):
        np.testing.assert_allclose(run(student_graph, batch), logits_of(student, batch), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "longest"), [(tiny_bert, POSITIONS), (tiny_distilbert, 8), (tiny_mobilebert, 16)]
)
def test_a_family_is_exported_as_it_is(make, longest, tmp_path):
    model = make()
    export_graph(model, tmp_path / "graph.onnx", max_length=longest, pairs=False)
    assert OnnxRuntimeSession(tmp_path / "graph.onnx").inputs == ("input_ids", "attention_mask")
    for lengths in ((4, 8, 2), (7,), (longest, 3)):
        batch = random_batch(lengths, pairs=False)
        np.testing.assert_allclose(
            run(tmp_path / "graph.onnx", batch), logits_of(model, batch), rtol=0, atol=1e-4
        )
    plan = uniform_plan(model, "test")
    artifact = lower(tmp_path / "graph.onnx", plan, tmp_path / "model.onnx")
    assert artifact.stored == {entry.layer: "int8" for entry in plan.layers}
    batch = random_batch((8,), pairs=False)
    with executed(model, entries_of(model, dict.fromkeys(artifact.stored, "int8"))):
        np.testing.assert_allclose(run(artifact.path, batch), logits_of(model, batch), rtol=0, atol=1e-3)


def test_the_simulation_is_what_the_runtime_computes(student, lowered):
    """A static input that another order of sums rounds to the next step moves a logit by a thousandth or two."""
    plan, artifact = lowered
    is_static = any(entry.activation == "static_int8" for entry in plan.layers)
    for batch in sentences(pairs=True)[:-1]:
        with executed(student, plan.layers):
            np.testing.assert_allclose(
                run(artifact.path, batch), logits_of(student, batch), rtol=0, atol=2e-3 if is_static else 1e-4
            )


def test_every_weight_is_stored_as_planned(lowered):
    plan, artifact = lowered
    assert artifact.stored == {entry.layer: entry.weight for entry in plan.layers}


def test_the_file_is_as_small_as_its_plan(student, lowered):
    plan, artifact = lowered
    planned = {entry.layer: entry.scheme for entry in plan.layers}
    matrices = quantizable_layers(student)
    weights = sum(
        weight_bytes(module.weight, planned.get(name, Scheme("fp32"))) for name, module in matrices.items()
    )
    rows = sum(len(module.weight) for module in matrices.values())
    assert weights - 5 * rows < artifact.path.stat().st_size < weights + 5 * rows + 100_000


def test_the_size_of_an_int8_file_was_predicted_within_3_percent(student, lowered):
    plan, artifact = lowered
    if plan.counts() != {"int8": len(plan.layers)}:
        pytest.skip("the prediction is for INT8 throughout")
    predicted = int8_file_bytes(shape_of(student.config))
    assert predicted == pytest.approx(artifact.path.stat().st_size, rel=0.03)


def test_the_artifact_says_what_goes_in_and_out(lowered):
    _, artifact = lowered
    assert [spec.name for spec in artifact.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert {(spec.dtype, spec.shape) for spec in artifact.inputs} == {("int64", ("batch", "sequence"))}
    assert [(spec.name, spec.dtype, spec.shape) for spec in artifact.outputs] == [
        ("logits", "float", ("batch", 2))
    ]


def test_the_rows_of_an_int8_table_are_those_of_the_simulation(student, lowered):
    plan, artifact = lowered
    if plan.entry("embeddings.word").weight != "int8":
        pytest.skip("this plan has no INT8 table")
    tensors = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(artifact.path).graph.initializer
    }
    rows = tensors["embeddings.word.rows"] * tensors["embeddings.word.scales"]
    np.testing.assert_allclose(
        rows, quantize_weight(student.embeddings.word.weight.detach()), rtol=1e-6, atol=1e-9
    )


def test_nothing_of_the_machine_that_exported_is_left_in_the_file(lowered):
    content = lowered[1].path.read_bytes()
    assert b"site-packages" not in content and b"/src/edgesmith" not in content


def test_a_file_that_differs_from_its_plan_is_caught(lowered):
    plan, artifact = lowered
    name = "layers.1.ffn.intermediate"
    stored, other = plan.entry(name).scheme, "fp32" if plan.entry(name).weight != "fp32" else "fp16"
    changed = Plan(
        layers=tuple(replace(entry, weight=other) if entry.layer == name else entry for entry in plan.layers)
    )
    message = rf"does not hold what the plan says: {name} is {stored}, planned {other}\."
    with pytest.raises(ExportError, match=message):
        read_back(artifact.path, changed)


def test_scales_and_inputs_that_differ_from_the_plan_are_caught(student, student_graph, tmp_path):
    name = "layers.1.ffn.intermediate"
    plan = Plan(layers=(plan_layer(name, student.get_submodule(name), "int8"),))
    quantize_dynamic(student_graph, tmp_path / "shared.onnx", per_channel=False, nodes_to_quantize=[name])
    with pytest.raises(ExportError, match=rf"{name} is int8 per_tensor dynamic, planned int8 dynamic\."):
        read_back(tmp_path / "shared.onnx", plan)
    path = lower(student_graph, plan, tmp_path / "model.onnx").path
    static = Plan(layers=(replace(plan.layers[0], activation="static_int8", input_range=(-1.0, 1.0)),))
    with pytest.raises(ExportError, match=rf"{name} is int8 dynamic, planned int8 static\."):
        read_back(path, static)


def test_static_layers_run_on_int8_kernels(student, student_graph, tmp_path):
    """What the session makes of the graph: QuantizeLinear and DequantizeLinear are gone from around the product."""
    plan = plan_of_schemes(student)
    lower(student_graph, plan, tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    planned = Counter(entry.scheme for entry in plan.layers if entry.kind == "linear")
    static = planned[Scheme("int8", activation="static_int8")]
    blocks = sum(count for scheme, count in planned.items() if scheme.granularity == "per_block")
    assert (
        kinds["MatMulIntegerToFloat"] + kinds["QLinearMatMul"] + kinds["DynamicQuantizeMatMul"]
        == static + (planned[Scheme("int8", activation="dynamic_int8")])
    )
    assert kinds["MatMulNBits"] == blocks
    assert kinds["DequantizeLinear"] == 0


@pytest.mark.parametrize("weight", ["int8", "fp16", "fp32"])
@pytest.mark.parametrize("kind", ["linear", "embedding"])
def test_an_entry_for_a_layer_that_is_not_there(student_graph, tmp_path, kind, weight):
    plan = Plan(layers=(LayerPlan(layer="layers.7.pooler", kind=kind, weight=weight),))
    with pytest.raises(
        ExportError, match=r"the plan names the layer 'layers.7.pooler', which the graph does not have"
    ):
        lower(student_graph, plan, tmp_path / "model.onnx")


def test_a_table_that_is_sliced_cannot_be_int8(student_graph, tmp_path):
    plan = Plan(layers=(LayerPlan(layer="embeddings.position", kind="embedding", weight="int8"),))
    with pytest.raises(
        ExportError, match=r"embeddings.position is read by a Slice, .* Plan it as fp16 or fp32"
    ):
        lower(student_graph, plan, tmp_path / "model.onnx")


def test_a_weight_beyond_fp16_is_refused(student_graph, tmp_path):
    model = onnx.load(student_graph)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("classifier.weight"))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(70_000), tensor.name))
    onnx.save(model, tmp_path / "graph.onnx")
    plan = Plan(layers=(LayerPlan(layer="classifier", kind="linear", weight="fp16"),))
    with pytest.raises(ExportError, match=r"classifier holds 7e\+04, more than FP16 can. Plan it as fp32"):
        lower(tmp_path / "graph.onnx", plan, tmp_path / "model.onnx")
