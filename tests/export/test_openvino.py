from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_images import image_logits, random_pixels, tiny_deit, tiny_dinov2, tiny_vit
from fixtures_models import (
    POSITIONS,
    check_precision,
    entries_of,
    logits_of,
    random_batch,
    tiny_bert,
    tiny_compact,
    tiny_distilbert,
    tiny_mobilebert,
)
from onnx import TensorProto, helper, save

pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'edgesmith[openvino]'")

from edgesmith.compress.quantize import (
    executed,
    is_small_table,
    plan_layer,
    quantizable_layers,
    uniform_plan,
)
from edgesmith.errors import ExportError
from edgesmith.export.openvino import convert, export_graph, lower, read_back
from edgesmith.records import LayerPlan, Plan, model_files
from edgesmith.runtime.openvino import OpenVINOSession

FP32_TOLERANCE = 1e-5
"""Of logits around 1: the same arithmetic in another order."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def student():
    return tiny_compact()


@pytest.fixture(scope="module")
def graph(folder: Path, student) -> Path:
    export_graph(student, folder / "graph.xml", max_length=POSITIONS, pairs=True)
    return folder / "graph.xml"


def run(path: Path, batch: dict[str, torch.Tensor]) -> np.ndarray:
    return OpenVINOSession(path).run({name: value.numpy() for name, value in batch.items()})


def plan_of(model, weight: str) -> Plan:
    """A precision for everything but small tables, which are FP16; ``mixed`` has all three."""
    some = {"layers.0.ffn.output": "fp16", "classifier": "fp32", "embeddings.projection": "fp32"}
    entries = []
    for name, module in quantizable_layers(model).items():
        chosen = some.get(name, "int8") if weight == "mixed" else weight
        entries.append(plan_layer(name, module, "fp16" if is_small_table(name) else chosen))
    return Plan(layers=tuple(entries))


def test_every_length_gives_pytorchs_logits(graph: Path, student) -> None:
    """From one token to the longest; a batch of different lengths too."""
    for lengths in ([1], [2], [17], [POSITIONS], [3, 16, 40, 27]):
        batch = random_batch(lengths)
        found = run(graph, batch)
        np.testing.assert_allclose(found, logits_of(student, batch).numpy(), atol=FP32_TOLERANCE)


@pytest.mark.parametrize(("weight", "more"), [("int8", 0.02), ("fp16", 1e-4), ("mixed", 0.02)])
def test_the_plan_is_what_the_file_holds_and_what_it_computes(weight, more, graph, student, folder) -> None:
    plan = plan_of(student, weight)
    artifact = lower(graph, plan, folder / f"{weight}.xml")
    assert artifact.stored == {entry.layer: entry.weight for entry in plan.layers}
    assert [path.name for path in model_files(artifact.path)] == [f"{weight}.xml", f"{weight}.bin"]
    batch = random_batch([5, 21, 38])
    exact = logits_of(student, batch).numpy()
    with executed(student, entries_of(student, artifact.stored)):
        expected = logits_of(student, batch).numpy()
    check_precision(run(artifact.path, batch), expected, exact, more)


def test_the_weights_take_as_many_bytes_as_planned(graph: Path, student, folder: Path) -> None:
    """INT8 with an FP32 scale for each row, and the rest as it was; but for small constants of the operators."""
    plan = uniform_plan(student, "test")
    weights = [student.get_submodule(entry.layer).weight for entry in plan.layers]
    saved = sum(3 * weight.numel() - 4 * len(weight) for weight in weights)
    sizes = [
        path.with_suffix(".bin").stat().st_size
        for path in (graph, lower(graph, plan, folder / "bytes.xml").path)
    ]
    assert sizes[0] - sizes[1] == pytest.approx(saved, rel=0.02)


def test_the_kernel_multiplies_int8(graph: Path, student, folder: Path) -> None:
    """Not the unpacked weights: every linear layer that is planned so, as the compiled model tells of itself."""
    plan = uniform_plan(student, "test")
    compiled = OpenVINOSession(lower(graph, plan, folder / "kernel.xml").path).compiled
    kinds = [
        node.get_rt_info()["runtimePrecision"].astype(str)
        for node in compiled.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].astype(str) == "FullyConnected"
    ]
    assert kinds == ["i8"] * sum(entry.kind == "linear" for entry in plan.layers)


def test_the_artifact_says_what_goes_in_and_out(graph: Path, student, folder: Path) -> None:
    artifact = lower(graph, uniform_plan(student, "test"), folder / "specs.xml")
    assert [(spec.name, spec.dtype, spec.shape) for spec in artifact.inputs] == [
        (name, "int64", ("batch", "sequence")) for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    assert [(spec.name, spec.dtype, spec.shape) for spec in artifact.outputs] == [
        ("logits", "float32", ("batch", 2))
    ]


def test_a_file_that_differs_from_the_plan_is_refused(graph: Path, student) -> None:
    with pytest.raises(
        ExportError, match=r"graph\.xml does not hold .*embeddings\.word is fp32, planned int8"
    ):
        read_back(graph, uniform_plan(student, "test"))


def test_a_layer_that_is_not_there_is_named(graph: Path, tmp_path: Path) -> None:
    plan = Plan(layers=(LayerPlan(layer="layers.9.ffn.output", kind="linear", weight="int8"),))
    with pytest.raises(ExportError, match=r"'layers\.9\.ffn\.output', which the graph does not have"):
        lower(graph, plan, tmp_path / "model.xml")


def test_a_table_that_is_sliced_cannot_be_int8(graph: Path, tmp_path: Path) -> None:
    plan = Plan(layers=(LayerPlan(layer="embeddings.position", kind="embedding", weight="int8"),))
    with pytest.raises(
        ExportError, match=r"embeddings\.position is read by a \w+, .*Plan it as fp16 or fp32"
    ):
        lower(graph, plan, tmp_path / "model.xml")


def test_one_entry_leaves_its_neighbours_alone(graph: Path, student, folder: Path) -> None:
    whole = uniform_plan(student, "test")
    plan = Plan(
        layers=tuple(
            entry
            if entry.layer == "layers.0.ffn.output"
            else replace(entry, weight="fp32", activation="none")
            for entry in whole.layers
        )
    )
    stored = lower(graph, plan, folder / "one.xml").stored
    assert [layer for layer, dtype in stored.items() if dtype == "int8"] == ["layers.0.ffn.output"]


def test_an_operator_that_openvino_does_not_have_is_named(tmp_path: Path) -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    nodes = [helper.make_node("Unheard", ["x"], ["y"], domain="of.nowhere")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ports[:1], ports[1:]),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("of.nowhere", 1)],
        ir_version=8,
    )
    save(model, tmp_path / "graph.onnx")
    with pytest.raises(ExportError, match=r"cannot be written for OpenVINO: .*Unheard"):
        convert(tmp_path / "graph.onnx", tmp_path / "model.xml")


@pytest.mark.slow
@pytest.mark.parametrize("make", [tiny_bert, tiny_distilbert, tiny_mobilebert])
def test_a_family_of_texts_is_exported_as_it_is(make, tmp_path: Path) -> None:
    model = make()
    export_graph(model, tmp_path / "graph.xml", max_length=POSITIONS, pairs=False)
    for lengths in ((4, 8, 2), (7,), (POSITIONS, 3)):
        batch = random_batch(lengths, pairs=False)
        expected = logits_of(model, batch).numpy()
        np.testing.assert_allclose(run(tmp_path / "graph.xml", batch), expected, atol=1e-4)
    artifact = lower(tmp_path / "graph.xml", uniform_plan(model, "test"), tmp_path / "model.xml")
    exact = logits_of(model, batch).numpy()
    with executed(model, entries_of(model, artifact.stored)):
        expected = logits_of(model, batch).numpy()
    check_precision(run(artifact.path, batch), expected, exact, 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("make", [tiny_vit, tiny_deit, tiny_dinov2])
def test_a_family_of_images_is_exported_as_it_is(make, tmp_path: Path) -> None:
    model = make()
    export_graph(model, tmp_path / "graph.xml", max_length=25, pairs=False)
    for count in (1, 3):
        batch = random_pixels(count, (16, 16))
        pixels = {"pixel_values": batch["pixel_values"]}
        np.testing.assert_allclose(
            run(tmp_path / "graph.xml", pixels), image_logits(model, batch).numpy(), atol=1e-4
        )
    artifact = lower(tmp_path / "graph.xml", uniform_plan(model, "test"), tmp_path / "model.xml")
    exact = image_logits(model, batch).numpy()
    with executed(model, entries_of(model, artifact.stored)):
        expected = image_logits(model, batch).numpy()
    check_precision(run(artifact.path, pixels), expected, exact, 0.02)
