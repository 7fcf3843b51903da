from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_checks import check_threads
from fixtures_models import (
    POSITIONS,
    entries_of,
    logits_of,
    random_batch,
    tiny_bert,
    tiny_compact,
    tiny_distilbert,
)

pytest.importorskip("litert_torch", reason="LiteRT is not installed: pip install 'edgesmith[litert]'")

from ai_edge_litert.schema_py_generated import Model, TensorType
from ai_edge_litert.tools import flatbuffer_utils
from ai_edge_quantizer import quantizer
from ai_edge_quantizer.qtyping import TFLOperationName
from torch import nn

from edgesmith.compress.migrate import migrate
from edgesmith.compress.quantize import (
    executed,
    is_small_table,
    plan_layer,
    quantizable_layers,
    scheme_layer,
    uniform_plan,
)
from edgesmith.compress.quantize_ranges import input_range, observe_inputs, observe_outputs
from edgesmith.errors import BundleError, ExportError
from edgesmith.export.litert import buckets, export_graph, folded_layers, lower, read_back
from edgesmith.measure.parity import sqnr_db
from edgesmith.models import CompactBertConfig, CompactBertForTokenClassification
from edgesmith.records import LayerPlan, Plan, Scheme
from edgesmith.runtime.litert import LiteRTSession
from edgesmith.runtime.quiet import silence

STATIC = Scheme("int8", activation="static_int8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def student():
    return tiny_compact()


@pytest.fixture(scope="module")
def graph(folder, student) -> Path:
    export_graph(student, folder / "student.tflite", max_length=POSITIONS, pairs=True)
    return folder / "student.tflite"


def feeds(batch: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {
        name: batch[name].numpy()
        for name in ("input_ids", "attention_mask", "token_type_ids")
        if name in batch
    }


def mixed_plan(model) -> Plan:
    """INT8, but FP16 for small tables and FP32 for the classifier."""
    entries = []
    for name, module in quantizable_layers(model).items():
        weight = "fp16" if is_small_table(name) else "fp32" if name == "classifier" else "int8"
        entries.append(plan_layer(name, module, weight))
    return Plan(layers=tuple(entries))


@pytest.mark.parametrize(
    ("max_length", "expected"),
    [
        (128, (16, 32, 48, 64, 96, 128)),
        (40, (16, 32, 40)),
        (16, (16,)),
        (8, (8,)),
        (512, (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)),
    ],
)
def test_buckets_grow_up_to_the_longest_input(max_length, expected):
    assert buckets(max_length) == expected


def test_every_length_gives_pytorchs_logits(graph, student):
    """From one token to the last bucket, its edges included; a batch of different lengths too."""
    session = LiteRTSession(graph)
    for lengths in ([1], [15], [16], [17], [32], [33], [POSITIONS], [3, 16, 40, 27]):
        batch = random_batch(lengths)
        np.testing.assert_allclose(session.run(feeds(batch)), logits_of(student, batch).numpy(), atol=2e-5)


def test_threads_may_share_a_session(graph):
    session = LiteRTSession(graph)
    inputs = [feeds(random_batch([length], seed=length)) for length in (3, 16, 17, POSITIONS)]
    check_threads(lambda one: session.run(one).tolist(), inputs)


def test_the_signatures_share_the_weights(graph, student):
    """Three of them, and every byte of the model once; small constants of the operators come on top."""
    file = flatbuffer_utils.read_model(str(graph))
    stored = sum(len(buffer.data) for buffer in file.buffers if buffer.data is not None)
    once = 4 * sum(parameter.numel() for parameter in student.parameters())
    assert len(file.subgraphs) == 3
    assert once <= stored < 1.1 * once


@pytest.mark.parametrize("make", [tiny_bert, tiny_compact])
def test_more_buckets_add_no_tables_and_no_scales(make, tmp_path):
    """Weights, and scales of INT8, are in the file once; constants of a further signature are a few shapes and positions."""
    model = make()
    sizes: dict[str, list[int]] = {"fp32": [], "int8": []}
    for is_fixed in (True, False):
        folder = tmp_path / str(is_fixed)
        folder.mkdir()
        graph, file = folder / "fp32.tflite", folder / "int8.tflite"
        export_graph(model, graph, max_length=POSITIONS, pairs=False, is_fixed=is_fixed)
        lower(graph, uniform_plan(model, "test"), file)
        for name, path in (("fp32", graph), ("int8", file)):
            sizes[name].append(_stored_bytes(path))
    for one, all_buckets in sizes.values():
        assert one < all_buckets < one + (len(buckets(POSITIONS)) - 1) * 2_000


def _stored_bytes(path: Path) -> int:
    """Of constants, and of vectors of scales and zero points, each counted where it lies in the file."""
    model = Model.GetRootAs(path.read_bytes())
    data = sum(model.Buffers(number).DataLength() for number in range(model.BuffersLength()))
    return data + sum(_scale_bytes(path).values())


@pytest.mark.parametrize("model", [tiny_bert(), tiny_distilbert()], ids=["bert", "distilbert"])
def test_a_whole_teacher_is_written_too(model, tmp_path):
    export_graph(model, tmp_path / "fp32.tflite", max_length=16, pairs=False)
    artifact = lower(tmp_path / "fp32.tflite", uniform_plan(model, "test"), tmp_path / "int8.tflite")
    assert set(artifact.stored.values()) == {"int8"}
    assert set(artifact.stored) == {name for name in quantizable_layers(model) if not is_small_table(name)}
    batch = random_batch([9], pairs=False)
    expected = logits_of(model, batch).numpy()
    np.testing.assert_allclose(LiteRTSession(tmp_path / "fp32.tflite").run(feeds(batch)), expected, atol=2e-5)
    np.testing.assert_allclose(LiteRTSession(artifact.path).run(feeds(batch)), expected, atol=0.3)


def test_layers_without_a_bias_are_told_apart(tmp_path):
    """The converter merges query, key and value of a model whose biases are 0, as they are before any training."""
    model = tiny_bert()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    export_graph(model, tmp_path / "fp32.tflite", max_length=16, pairs=False)
    plan = mixed_plan(model)
    halved = [
        replace(entry, weight="fp16", activation="none") if entry.layer.endswith("key") else entry
        for entry in plan.layers
    ]
    artifact = lower(tmp_path / "fp32.tflite", Plan(layers=tuple(halved)), tmp_path / "mixed.tflite")
    assert artifact.stored == {entry.layer: entry.weight for entry in halved}
    batch = random_batch([9], pairs=False)
    given = LiteRTSession(artifact.path).run(feeds(batch))
    np.testing.assert_allclose(given, logits_of(model, batch).numpy(), atol=0.3)


def test_a_sum_of_a_tables_shape_is_not_taken_for_the_table(tmp_path):
    """A row of token types that is folded over the longest input has the shape of the positions."""
    model = tiny_compact(max_position_embeddings=16)
    export_graph(model, tmp_path / "fp32.tflite", max_length=16, pairs=False)
    plan = uniform_plan(model, "test")
    assert lower(tmp_path / "fp32.tflite", plan, tmp_path / "model.tflite").stored == {
        entry.layer: "int8" for entry in plan.layers
    }


CALIBRATION = [random_batch((30, 12, 25), seed=7), random_batch((5, 40, 19), seed=8)]


def static_entries(model, *names) -> list[LayerPlan]:
    """With the ranges of `CALIBRATION`."""
    reads, gives = observe_inputs(model, CALIBRATION), observe_outputs(model, CALIBRATION)
    return [
        scheme_layer(
            name,
            model.get_submodule(name),
            STATIC,
            input_range=input_range(reads[name], "min_max"),
            output_range=input_range(gives[name], "min_max"),
        )
        for name in names
    ]


@pytest.fixture(scope="module")
def migrated(student):
    return migrate(student, CALIBRATION)


@pytest.fixture(scope="module")
def migrated_graph(folder, migrated) -> Path:
    export_graph(migrated, folder / "migrated.tflite", max_length=POSITIONS, pairs=True)
    return folder / "migrated.tflite"


def test_static_layers_compute_what_was_simulated(migrated_graph, migrated, folder):
    """Beside dynamic and floating-point ones, in three signatures; 30 dB is an error of 3 % of the logits."""
    layers = {
        name: module for name, module in quantizable_layers(migrated).items() if isinstance(module, nn.Linear)
    }
    static = [name for name in layers if "attention" in name or "intermediate" in name]
    entries = static_entries(migrated, *static)
    entries += [plan_layer(name, layers[name], "int8") for name in layers if name.endswith("ffn.output")]
    plan = Plan(layers=tuple(entries))
    artifact = lower(migrated_graph, plan, folder / "static.tflite")
    assert artifact.stored == {entry.layer: "int8" for entry in entries}
    batch = random_batch([5, 21, 38])
    found, exact = LiteRTSession(artifact.path).run(feeds(batch)), logits_of(migrated, batch).numpy()
    with executed(migrated, entries, per_token=True):
        simulated = logits_of(migrated, batch).numpy()
    assert sqnr_db(simulated, found) > 30
    assert sqnr_db(exact, found) > 15
    assert integer_operators(artifact.path) == {"FULLY_CONNECTED": 3 * len(static)}


def integer_operators(path: Path) -> dict[str, int]:
    """How often each operator reads and gives INT8; QUANTIZE and DEQUANTIZE do one of both."""
    file, found = flatbuffer_utils.read_model(str(path)), Counter()
    for subgraph in file.subgraphs:
        for operator in subgraph.operators:
            types = [subgraph.tensors[index].type for index in (operator.inputs[0], operator.outputs[0])]
            if types == [TensorType.INT8, TensorType.INT8]:
                found[flatbuffer_utils.opcode_to_name(file, operator.opcodeIndex)] += 1
    return dict(found)


def test_no_static_range_holds_a_constant_of_the_mask(migrated_graph, migrated, folder):
    """Every quantized tensor of a wholly static file; the mask itself is added in floating point."""
    linear = [name for name, module in quantizable_layers(migrated).items() if isinstance(module, nn.Linear)]
    artifact = lower(
        migrated_graph, Plan(layers=tuple(static_entries(migrated, *linear))), folder / "all.tflite"
    )
    file = flatbuffer_utils.read_model(str(artifact.path))
    steps = [
        float(tensor.quantization.scale[0])
        for subgraph in file.subgraphs
        for tensor in subgraph.tensors
        if tensor.type == TensorType.INT8 and file.buffers[tensor.buffer].data is None
    ]
    assert len(steps) == 3 * 2 * len(linear)
    assert max(steps) < 1  # a range of -1e4 has steps of 39


def test_a_static_layer_whose_norm_was_folded_is_refused(graph, student, tmp_path):
    (entry,) = static_entries(student, "layers.1.attention.qkv")
    with pytest.raises(
        ExportError, match=r"layers\.1\.attention\.qkv .* the converter folded the norm before it"
    ):
        lower(graph, Plan(layers=(entry,)), tmp_path / "model.tflite")


def test_folded_layers_are_known_from_the_graph(graph, migrated_graph):
    """Whatever reads a norm, but for the last FFN, which is computed for one token."""
    parts = [f"layers.{layer}.{part}" for layer in range(3) for part in ("attention.qkv", "ffn.intermediate")]
    assert folded_layers(graph) == set(parts[:-1])
    assert folded_layers(migrated_graph) == set()


def test_a_static_layer_needs_both_ranges(graph, student, tmp_path):
    entry = replace(static_entries(student, "layers.1.ffn.output")[0], output_range=None)
    with pytest.raises(ExportError, match=r"has no range of inputs and outputs"):
        lower(graph, Plan(layers=(entry,)), tmp_path / "model.tflite")


def test_other_steps_than_planned_are_refused(graph, student, tmp_path):
    path, (entry,) = tmp_path / "model.tflite", static_entries(student, "layers.1.ffn.output")
    quantized = quantizer.Quantizer(str(graph))
    quantized.add_static_config(r"^layers\.1\.ffn\.output@", TFLOperationName.FULLY_CONNECTED, 8, 8)
    narrow = {"min": np.array([[-0.5]], np.float32), "max": np.array([[0.5]], np.float32)}
    file = flatbuffer_utils.read_model(str(graph))
    names = [
        tensor.name.decode()
        for subgraph in file.subgraphs
        for tensor in subgraph.tensors
        if file.buffers[tensor.buffer].data is None
    ]
    with silence():
        quantized.quantize(dict.fromkeys(names, narrow)).export_model(str(path))
    with pytest.raises(
        ExportError, match=r"has steps of 0\.003922 .* for the inputs of layers\.1\.ffn\.output, planned"
    ):
        read_back(path, Plan(layers=(entry,)))


def test_a_mixed_plan_is_stored_as_it_says(graph, student, folder):
    plan = mixed_plan(student)
    artifact = lower(graph, plan, folder / "mixed.tflite")
    assert artifact.stored == {entry.layer: entry.weight for entry in plan.layers}
    assert {"int8", "fp16", "fp32"} == set(artifact.stored.values())
    assert artifact.path.stat().st_size < graph.stat().st_size
    scales = _scale_vectors(artifact.path)
    assert len(set(scales)) == len(scales) // 3  # written once, whatever the number of signatures
    assert [spec.name for spec in artifact.inputs] == sorted(feeds(random_batch()))
    assert {spec.dtype for spec in artifact.inputs} == {"int32"}
    assert [spec.shape for spec in artifact.outputs] == [(1, 2)]
    batch = random_batch([5, 21, 38])
    found, expected = LiteRTSession(artifact.path).run(feeds(batch)), logits_of(student, batch).numpy()
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_int4_halves_int8_and_computes_what_was_simulated(graph, student, folder):
    """On layers that follow no norm: the converter folds a norm's scale into the matrix behind it."""
    linear = [
        name
        for name, module in quantizable_layers(student).items()
        if isinstance(module, nn.Linear) and not name.endswith(("attention.qkv", "ffn.intermediate"))
    ]
    batch, artifacts = random_batch([5, 21, 38]), {}
    for dtype in ("int8", "int4"):
        entries = [plan_layer(name, student.get_submodule(name), dtype) for name in linear]
        artifacts[dtype] = lower(graph, Plan(layers=tuple(entries)), folder / f"{dtype}.tflite")
        assert set(artifacts[dtype].stored.values()) == {dtype}
    weights = sum(student.get_submodule(name).weight.numel() for name in linear)
    saved = artifacts["int8"].path.stat().st_size - artifacts["int4"].path.stat().st_size
    assert saved == pytest.approx(weights / 2, rel=0.05)
    found = LiteRTSession(artifacts["int4"].path).run(feeds(batch))
    exact = logits_of(student, batch).numpy()
    with executed(student, entries_of(student, dict.fromkeys(linear, "int4"))):
        expected = logits_of(student, batch).numpy()
    assert np.abs(found - expected).max() < 0.2 * np.abs(exact - expected).max()


def _scale_vectors(path: Path) -> list[int]:
    """Place in the file of every tensor's vector of scales, where it has more than one."""
    model, places = Model.GetRootAs(path.read_bytes()), []
    for number in range(model.SubgraphsLength()):
        subgraph = model.Subgraphs(number)
        for index in range(subgraph.TensorsLength()):
            quantization = subgraph.Tensors(index).Quantization()
            if quantization is not None and quantization.ScaleLength() > 1:
                places.append(quantization._tab.Vector(quantization._tab.Offset(8)))
    return places


def _scale_bytes(path: Path) -> dict[int, int]:
    """Place in the file of every vector of scales -> its bytes and those of the zero points."""
    model, found = Model.GetRootAs(path.read_bytes()), {}
    for number in range(model.SubgraphsLength()):
        subgraph = model.Subgraphs(number)
        for index in range(subgraph.TensorsLength()):
            quantization = subgraph.Tensors(index).Quantization()
            if quantization is not None and quantization.ScaleLength() > 1:
                place = quantization._tab.Vector(quantization._tab.Offset(8))
                found[place] = 4 * quantization.ScaleLength() + 8 * quantization.ZeroPointLength()
    return found


def test_a_file_that_differs_from_the_plan_is_refused(graph, student):
    with pytest.raises(ExportError, match=r"embeddings\.word is fp32, planned int8"):
        read_back(graph, uniform_plan(student, "test"))


def test_scales_that_differ_from_the_plan_are_refused(graph, student, tmp_path):
    name = "layers.0.ffn.output"
    entry = replace(plan_layer(name, student.get_submodule(name), "int8"), granularity="per_tensor")
    message = rf"{name} is int8 dynamic, planned int8 per_tensor dynamic\."
    with pytest.raises(ExportError, match=message):
        lower(graph, Plan(layers=(entry,)), tmp_path / "model.tflite")


def test_every_token_gets_pytorchs_logits_and_padding_gets_none(tmp_path):
    """Of windows in two buckets; as tags have them, and starts and ends of answers."""
    names = {"id2label": dict(enumerate(("O", "B-PER", "I-PER")))}
    settings = {"max_position_embeddings": 24, "heads_per_layer": [2, 1], "ffn_per_layer": [16, 8]}
    model = CompactBertForTokenClassification(
        CompactBertConfig(**tiny_compact(**settings).config.to_dict() | names)
    )
    export_graph(model.eval(), tmp_path / "fp32.tflite", max_length=24, pairs=True)
    artifact = lower(tmp_path / "fp32.tflite", uniform_plan(model, "test"), tmp_path / "int8.tflite")
    assert [spec.shape for spec in artifact.outputs] == [(1, "length", 3)]
    assert set(artifact.stored.values()) == {"int8"}
    exact, integers = LiteRTSession(tmp_path / "fp32.tflite"), LiteRTSession(artifact.path)
    for lengths in ([1], [16], [17], [24], [5, 20]):
        batch = random_batch(lengths)
        expected, real = logits_of(model, batch).numpy(), batch["attention_mask"].bool().numpy()
        found = exact.run(feeds(batch))
        assert found.shape == (len(lengths), max(lengths), 3)
        np.testing.assert_allclose(found[real], expected[real], atol=2e-5)
        rough = integers.run(feeds(batch))[real] - expected[real]
        assert np.abs(rough).max() < 0.1 * np.abs(expected).max()


def test_a_layer_that_is_not_there_is_named(graph, tmp_path):
    plan = Plan(layers=(LayerPlan(layer="layers.9.ffn.output", kind="linear", weight="int8"),))
    with pytest.raises(ExportError, match=r"'layers\.9\.ffn\.output', which the file does not have"):
        lower(graph, plan, tmp_path / "model.tflite")


def test_the_session_says_what_is_wrong(graph, tmp_path):
    session = LiteRTSession(graph)
    batch = feeds(random_batch([POSITIONS + 1]))
    with pytest.raises(BundleError, match=f"at most {POSITIONS} tokens, and the input has {POSITIONS + 1}"):
        session.run(batch)
    with pytest.raises(BundleError, match="wants the input 'attention_mask'"):
        session.run({"input_ids": batch["input_ids"]})
    damaged = tmp_path / "model.tflite"
    damaged.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(BundleError, match="cannot be loaded by LiteRT"):
        LiteRTSession(damaged)


def test_an_entry_may_name_one_of_two_layers_that_begin_alike(folder, graph, student):
    """``layers.0.ffn.output`` must not take ``layers.0.attention.output`` or another layer's with it."""
    whole = uniform_plan(student, "test")
    plan = Plan(
        layers=tuple(
            entry
            if entry.layer == "layers.0.ffn.output"
            else replace(entry, weight="fp32", activation="none")
            for entry in whole.layers
        )
    )
    stored = lower(graph, plan, folder / "one.tflite").stored
    assert [layer for layer, dtype in stored.items() if dtype == "int8"] == ["layers.0.ffn.output"]
