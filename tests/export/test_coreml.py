"""What a package holds and computes, as coremltools reads it; Core ML itself runs on no machine of these tests."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_images import tiny_compact_vit, tiny_deit, tiny_dinov2, tiny_vit
from fixtures_models import (
    POSITIONS,
    logits_of,
    random_batch,
    tiny_bert,
    tiny_compact,
    tiny_distilbert,
    whole_compact,
)
from torch import nn

if find_spec("coremltools") is None:
    pytest.skip("Core ML Tools is not installed: pip install 'edgesmith[coreml]'", allow_module_level=True)

from edgesmith.compress.quantize import plan_layer, quantizable_layers, quantize_weight, scheme_layer
from edgesmith.errors import ExportError, ParityError, UnsupportedError
from edgesmith.export.coreml import check_answers, lengths, read_back, write
from edgesmith.export.coreml_program import block_of, ct, evaluate, open_program, stored_weights
from edgesmith.export.order import Order
from edgesmith.models import CompactBertConfig, CompactBertForTokenClassification, to_compact, to_compact_vit
from edgesmith.records import LayerPlan, Plan, Scheme
from edgesmith.records.plan import BITS

MIXED = {
    "embeddings.word": Scheme("int8"),
    "embeddings.projection": Scheme("fp32"),
    "embeddings.position": Scheme("fp16"),
    "embeddings.token_type": Scheme("fp16"),
    "layers.0.attention.qkv": Scheme("int4", "per_channel", "dynamic_int8"),
    "layers.0.attention.output": Scheme("int8", "per_tensor", "static_int8"),
    "layers.0.ffn.intermediate": Scheme("int4", "per_block", "dynamic_int8"),
    "layers.0.ffn.output": Scheme("int4", "per_block", "dynamic_int8"),
    "layers.1.ffn.output": Scheme("int8", "per_channel", "static_int8"),
    "layers.2.ffn.output": Scheme("fp16"),
    "classifier": Scheme("fp32"),
}
"""One of each; the first FFN has inputs of one block and of two."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="module")
def student():
    """Two rows of its table are what padding and a token that was never seen leave: zeros, and next to nothing."""
    model = tiny_compact(ffn_per_layer=[64, 16, 20])
    with torch.no_grad():
        model.embeddings.word.weight[0] = 0
        model.embeddings.word.weight[5] *= 1e-6
    return model


def mixed_plan(model) -> Plan:
    return Plan(
        layers=tuple(
            scheme_layer(
                name, module, MIXED.get(name, Scheme("int8", activation="dynamic_int8")), input_range=(-4, 4)
            )
            for name, module in quantizable_layers(model).items()
        )
    )


def plan_of(model, weight: str) -> Plan:
    return Plan(
        layers=tuple(plan_layer(name, module, weight) for name, module in quantizable_layers(model).items())
    )


def order_of(plan: Plan, *, pairs: bool = True, max_length: int = POSITIONS) -> Order:
    return Order(
        plan=plan, task="text-classification", max_length=max_length, pairs=pairs, labels=("no", "yes")
    )


@pytest.fixture(scope="module")
def mixed(student, folder):
    """The path, the order, and what the writer says of it."""
    order = order_of(mixed_plan(student))
    path = folder / "mixed.mlpackage"
    return path, order, write(student, order, path)


@pytest.fixture(scope="module")
def exact(student, folder):
    order = order_of(plan_of(student, "fp32"))
    path = folder / "exact.mlpackage"
    return path, order, write(student, order, path)


def padded(length: int, size: int) -> dict[str, np.ndarray]:
    """A text of some tokens in a program's length."""
    batch = random_batch([length, size], seed=length)
    names = ("input_ids", "attention_mask", "token_type_ids")
    return {name: batch[name][:1].numpy().astype(np.int32) for name in names}


def logits(path: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return evaluate(open_program(path), feeds)["logits"]


def test_the_program_computes_pytorchs_logits_at_every_length(exact, student) -> None:
    """In FP32, padding included: from one token to the longest."""
    path, _, written = exact
    assert set(written.stored.values()) == {"fp32"} and not written.changes
    program = open_program(path)
    for length, size in ((1, 16), (16, 16), (17, 32), (POSITIONS - 1, POSITIONS)):
        feeds = padded(length, size)
        wanted = logits_of(student, {name: torch.from_numpy(value) for name, value in feeds.items()})
        np.testing.assert_allclose(evaluate(program, feeds)["logits"], wanted.numpy(), atol=1e-5)


def test_each_layer_is_stored_as_planned(mixed, student) -> None:
    """Down to what shares a scale; a block that is a whole channel is one."""
    _, order, written = mixed
    told = {entry.layer: str(replace(entry.scheme, activation="none")) for entry in order.plan.layers}
    stored = {entry.layer: entry.scheme.stored for entry in order.plan.layers if entry.scheme.is_integer}
    stored |= {layer: word for layer, word in told.items() if word in ("fp16", "fp32")}
    assert written.stored == stored | {"layers.0.ffn.intermediate": "int4 per_channel"}
    assert set(written.stored.values()) == {
        *("fp32", "fp16", "int8 per_channel", "int8 per_tensor", "int4 per_channel", "int4 per_block")
    }
    assert set(written.changes) == {entry.layer for entry in order.plan.layers if entry.activation != "none"}
    assert "static INT8 inputs are planned; they stay floating" in written.changes["layers.1.ffn.output"]
    assert written.open.startswith("Core ML did not run it")


def test_unpacked_weights_are_those_of_the_model(mixed, student) -> None:
    """INT8 and INT4 with one scale a channel: our own rounding, but that the scale is FP16."""
    path, order, _ = mixed
    weights = stored_weights(open_program(path), order.plan)
    checked = 0
    for entry in order.plan.layers:
        weight = student.get_submodule(entry.layer).weight.detach()
        if entry.scheme.is_integer and entry.granularity == "per_channel":
            largest = weight.abs().amax(dim=1, keepdim=True).numpy()
            step = largest / ((1 << (BITS[entry.weight] - 1)) - 1)
            simulated = quantize_weight(weight, entry.weight).numpy()
            difference = np.abs(weights[entry.layer].values - simulated)
            rounding = largest / 1024 + np.finfo(np.float16).tiny
            assert (difference <= step + rounding).all()  # a value halfway may go either way
            assert (difference <= rounding).mean() > 0.9
            checked += 1
        elif not entry.scheme.is_integer:
            exact = weight.numpy().astype({"fp16": np.float16, "fp32": np.float32}[entry.weight])
            np.testing.assert_array_equal(weights[entry.layer].values, exact.astype(np.float32))
    assert checked > 5


def test_the_weights_take_as_many_bytes_as_planned(mixed, student) -> None:
    """Integers with FP16 scales, the rest FP16 or FP32; a constant begins at a multiple of 64 bytes, after 64 of its own."""
    path, order, written = mixed
    planned, scales = 0, 0
    for entry in order.plan.layers:
        rows, columns = student.get_submodule(entry.layer).weight.shape
        planned += rows * columns * BITS[entry.weight] // 8
        form = written.stored[entry.layer].partition(" ")[2]
        blocks = rows * columns // block_of(columns)
        scales += 2 * {"per_channel": rows, "per_block": blocks, "per_tensor": 1, "": 0}[form]
    others = sum(2 * parameter.numel() for parameter in student.parameters() if parameter.dim() == 1)
    found = (path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").stat().st_size
    constants = 2 * len(order.plan.layers) + sum(parameter.dim() == 1 for parameter in student.parameters())
    assert planned + scales < found < planned + scales + others + 128 * constants + 200


def test_the_package_says_what_goes_in_and_out(mixed) -> None:
    path, _, written = mixed
    assert [(spec.name, spec.dtype, spec.shape) for spec in written.inputs] == [
        (name, "int32", (1, "sequence")) for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    assert [(spec.name, spec.dtype, spec.shape) for spec in written.outputs] == [
        ("logits", "float32", (1, 2))
    ]
    package = ct.models.MLModel(str(path), skip_model_load=True)
    assert json.loads(package.user_defined_metadata["labels"]) == ["no", "yes"]
    spec = package.get_spec()
    assert spec.specificationVersion == ct.target.iOS18
    for feature in spec.description.input:
        shapes = feature.type.multiArrayType.enumeratedShapes.shapes
        assert sorted(tuple(one.shape) for one in shapes) == [(1, 16), (1, 32), (1, POSITIONS)]


@pytest.mark.parametrize(("longest", "expected"), [(128, (16, 32, 64, 128)), (40, (16, 32, 40)), (8, (4, 8))])
def test_lengths_double_up_to_the_longest(longest, expected) -> None:
    assert lengths(longest) == expected


def test_a_package_that_differs_from_the_plan_is_refused(exact, student) -> None:
    path, _, _ = exact
    with pytest.raises(
        ExportError, match=r"exact\.mlpackage does not hold .*embeddings\.word is fp32, planned fp16"
    ):
        read_back(path, student, plan_of(student, "fp16"))


def test_a_package_with_other_weights_is_refused(exact, student) -> None:
    path, order, _ = exact
    other = copy.deepcopy(student)
    with torch.no_grad():
        other.layers[1].ffn.output.weight[3, 2] += 0.01
    with pytest.raises(
        ExportError, match=r"other weights than the model: layers\.1\.ffn\.output by .*Plan them as fp32"
    ):
        read_back(path, other, order.plan)


def test_a_program_that_computes_something_else_is_refused(exact, student) -> None:
    """A norm is in no plan, so only the answers tell."""
    path, order, _ = exact
    other = copy.deepcopy(student)
    with torch.no_grad():
        other.layers[1].ffn_norm.weight *= 1.5
    assert read_back(path, other, order.plan)
    with pytest.raises(ParityError, match=r"computes other logits .* allowed: 0\.02"):
        check_answers(path, other, order, order.plan)


def test_a_damaged_package_is_refused(exact, tmp_path: Path) -> None:
    program = tmp_path / "cut.mlpackage" / "Data" / "com.apple.CoreML" / "model.mlmodel"
    program.parent.mkdir(parents=True)
    whole = exact[0]
    (tmp_path / "cut.mlpackage" / "Manifest.json").write_bytes((whole / "Manifest.json").read_bytes())
    program.write_bytes((whole / "Data" / "com.apple.CoreML" / "model.mlmodel").read_bytes()[:1000])
    with pytest.raises(ExportError, match=r"cut\.mlpackage is no package that coremltools opens"):
        open_program(tmp_path / "cut.mlpackage")


def test_a_layer_that_is_not_there_is_named(student, tmp_path: Path) -> None:
    plan = Plan(layers=(LayerPlan(layer="layers.9.ffn.output", kind="linear", weight="int8"),))
    with pytest.raises(ExportError, match=r"'layers\.9\.ffn\.output', which the model does not have"):
        write(student, order_of(plan), tmp_path / "model.mlpackage")


def test_blocks_are_as_large_as_divide_a_channel(student, folder: Path) -> None:
    """Of 64 inputs, 32; of 40, 20; of 16, all: a channel. A prime number of inputs is refused."""
    schemes = {
        f"layers.{index}.ffn.output": Scheme("int4", "per_block", "dynamic_int8") for index in range(3)
    }
    model = tiny_compact(ffn_per_layer=[64, 16, 40])
    modules = quantizable_layers(model)
    plan = Plan(layers=tuple(scheme_layer(name, modules[name], scheme) for name, scheme in schemes.items()))
    written = write(model, order_of(plan), folder / "blocks.mlpackage")
    assert list(written.stored.values()) == ["int4 per_block", "int4 per_channel", "int4 per_block"]
    assert written.changes["layers.2.ffn.output"].startswith(
        "blocks of 32 are planned; 20 divide its channels; dyn"
    )
    weights = stored_weights(open_program(folder / "blocks.mlpackage"), plan)
    assert len(np.unique(weights["layers.2.ffn.output"].steps[0])) == 2
    prime = tiny_compact(ffn_per_layer=[37, 16, 20])
    entry = scheme_layer("layers.0.ffn.output", prime.layers[0].ffn.output, Scheme("int4", "per_block"))
    with pytest.raises(
        UnsupportedError, match=r"layers\.0\.ffn\.output has 37 inputs, which no block of 8 to 32"
    ):
        write(prime, order_of(Plan(layers=(entry,))), folder / "prime.mlpackage")


def test_an_operator_that_core_ml_does_not_have_is_named(tmp_path: Path) -> None:
    class Bessel(nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return torch.special.i0(values)

    model = tiny_compact()
    model.pooler_activation = Bessel()
    with pytest.raises(ExportError, match=r"cannot be written for Core ML: .*i0"):
        write(model, order_of(plan_of(model, "fp32")), tmp_path / "model.mlpackage")


def test_images_are_written_too(tmp_path: Path) -> None:
    """Height and width differ, so that they cannot change places."""
    model = tiny_compact_vit()
    order = replace(order_of(plan_of(model, "int8"), pairs=False), task="image-classification")
    written = write(model, order, tmp_path / "images.mlpackage")
    assert set(written.stored.values()) == {"int8 per_channel"}
    assert [(spec.name, spec.dtype, spec.shape) for spec in written.inputs] == [
        ("pixel_values", "float32", (1, 3, 16, 12))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("make", [tiny_vit, tiny_deit, tiny_dinov2])
@pytest.mark.parametrize("weight", ["fp32", "fp16", "int8", "int4"])
def test_a_family_of_images_is_written(make, weight, tmp_path: Path) -> None:
    model = to_compact_vit(make())
    written = write(model, order_of(plan_of(model, weight), pairs=False), tmp_path / "model.mlpackage")
    assert {word.partition(" ")[0] for word in written.stored.values()} == {weight}


@pytest.mark.slow
@pytest.mark.parametrize("make", [tiny_bert, tiny_distilbert, whole_compact])
@pytest.mark.parametrize("weight", ["fp32", "fp16", "int8", "int4"])
def test_a_family_of_texts_is_written(make, weight, tmp_path: Path) -> None:
    model = to_compact(make())
    written = write(model, order_of(plan_of(model, weight), pairs=False), tmp_path / "model.mlpackage")
    assert {word.partition(" ")[0] for word in written.stored.values()} == {weight}


@pytest.mark.slow
def test_ids_beyond_16_bits_are_read_right(tmp_path: Path) -> None:
    """The converter casts ids to INT16 where it believes that they fit."""
    model = tiny_compact(vocab_size=70_000)
    path = tmp_path / "large.mlpackage"
    write(model, order_of(plan_of(model, "fp32")), path)
    feeds = padded(16, 16) | {"input_ids": np.arange(32_760, 70_000, 2_328, dtype=np.int32)[None]}
    wanted = logits_of(model, {name: torch.from_numpy(value) for name, value in feeds.items()})
    np.testing.assert_allclose(logits(path, feeds), wanted.numpy(), atol=1e-5)


@pytest.mark.slow
def test_logits_of_every_token_are_written(tmp_path: Path) -> None:
    config = CompactBertConfig(**{**tiny_compact().config.to_dict(), "num_labels": 5})
    model = CompactBertForTokenClassification(config).eval()
    order = replace(order_of(plan_of(model, "int8")), task="token-classification")
    written = write(model, order, tmp_path / "tokens.mlpackage")
    assert {word.partition(" ")[0] for word in written.stored.values()} == {"int8"}
