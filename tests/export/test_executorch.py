from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_checks import (
    check_every_file,
    check_moved_and_read_only,
    check_second_account,
    check_threads,
)
from fixtures_images import image_logits, random_pixels, tiny_compact_vit, tiny_dinov2, tiny_vit
from fixtures_models import (
    POSITIONS,
    check_precision,
    entries_of,
    logits_of,
    random_batch,
    tiny_bert,
    tiny_compact,
    tiny_distilbert,
)
from fixtures_text import UNICODE_TEXTS, VOCAB_SIZE, minilm_folder, write_small_bundle

pytest.importorskip("executorch", reason="ExecuTorch is not installed: pip install 'edgesmith[executorch]'")

from torch import nn

from edgesmith.compress.quantize import (
    executed,
    is_small_table,
    plan_layer,
    quantizable_layers,
    uniform_plan,
)
from edgesmith.errors import BundleError, ExportError
from edgesmith.export import executorch as exporter
from edgesmith.export.executorch import export_graph, lower, read_back
from edgesmith.models import CompactBertConfig, CompactBertForTokenClassification
from edgesmith.records import LayerPlan, Plan, TensorSpec, graph_files
from edgesmith.runtime import load_bundle
from edgesmith.runtime.executorch import ExecuTorchSession
from edgesmith.runtime.quiet import silence
from edgesmith.runtime.text import TextEncoder

with silence():  # it warns of itself when it is imported
    from executorch.exir._serialize._program import deserialize_pte_binary

TEXTS = [text for text in UNICODE_TEXTS if text.strip() and "\n" not in text]

FP32_TOLERANCE = 1e-5
"""Of logits around 1: the same arithmetic in another order."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def student():
    return tiny_compact(vocab_size=VOCAB_SIZE, heads_per_layer=[2, 1], ffn_per_layer=[16, 8])


@pytest.fixture(scope="module")
def graph(folder: Path, student) -> Path:
    export_graph(student, folder / "graph.pte", max_length=POSITIONS, pairs=True)
    return folder / "graph.pte"


@pytest.fixture(scope="module")
def mixed(student) -> Plan:
    """INT8, but FP16 for small tables and one layer, and FP32 for two."""
    some = {"layers.0.ffn.output": "fp16", "classifier": "fp32", "embeddings.projection": "fp32"}
    return Plan(
        layers=tuple(
            plan_layer(name, module, "fp16" if is_small_table(name) else some.get(name, "int8"))
            for name, module in quantizable_layers(student).items()
        )
    )


@pytest.fixture(scope="module")
def artifact(graph: Path, mixed: Plan, folder: Path):
    return lower(graph, mixed, folder / "mixed.pte")


def feeds(batch: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    names = ("input_ids", "attention_mask", "token_type_ids", "pixel_values")
    return {name: batch[name].numpy() for name in names if name in batch}


def test_every_length_gives_pytorchs_logits(graph: Path, student) -> None:
    """From one token to the longest; a batch of different lengths too."""
    session = ExecuTorchSession(graph)
    for lengths in ([1], [2], [17], [POSITIONS], [3, 16, 40, 27]):
        batch = random_batch(lengths)
        found = session.run(feeds(batch))
        np.testing.assert_allclose(found, logits_of(student, batch).numpy(), atol=FP32_TOLERANCE)


def test_threads_may_share_a_session(graph: Path) -> None:
    session = ExecuTorchSession(graph)
    inputs = [feeds(random_batch([length], seed=length)) for length in (3, 16, 17, POSITIONS)]
    check_threads(lambda one: session.run(one).tolist(), inputs)


def test_a_mixed_plan_is_what_the_file_holds_and_computes(artifact, mixed: Plan, student) -> None:
    assert artifact.stored == {entry.layer: entry.weight for entry in mixed.layers}
    assert set(artifact.stored.values()) == {"int8", "fp16", "fp32"}
    assert [(spec.name, spec.dtype, spec.shape) for spec in artifact.inputs] == [
        (name, "int64", (1, "sequence")) for name in feeds(random_batch())
    ]
    assert [(spec.name, spec.dtype, spec.shape) for spec in artifact.outputs] == [
        ("logits", "float32", (1, 2))
    ]
    batch = random_batch([5, 21, 38])
    exact = logits_of(student, batch).numpy()
    with executed(student, mixed.layers):
        simulated = logits_of(student, batch).numpy()
    check_precision(ExecuTorchSession(artifact.path).run(feeds(batch)), simulated, exact, 0.02)


def test_the_constants_take_as_many_bytes_as_planned(graph: Path, artifact, mixed: Plan, student) -> None:
    """INT8 with an FP32 scale for each row, FP16, and no copy of what they replace."""
    saved = 0
    for entry in mixed.layers:
        weight = student.get_submodule(entry.layer).weight
        saved += {"fp32": 0, "fp16": 2 * weight.numel(), "int8": 3 * weight.numel() - 4 * len(weight)}[
            entry.weight
        ]
    sizes = [_constant_bytes(path) for path in (graph, artifact.path)]
    assert sizes[0] == pytest.approx(4 * sum(each.numel() for each in student.parameters()), rel=0.01)
    assert sizes[0] - sizes[1] == pytest.approx(saved, rel=0.01)


def _constant_bytes(path: Path) -> int:
    file = deserialize_pte_binary(path.read_bytes())
    own = sum(len(buffer.storage) for buffer in file.program.constant_buffer)
    return own + sum(map(len, file.named_data.buffers))


def test_a_file_that_differs_from_the_plan_is_refused(graph: Path, artifact, mixed: Plan, student) -> None:
    weights = {
        entry.layer: student.get_submodule(entry.layer).weight.detach().numpy() for entry in mixed.layers
    }
    assert read_back(artifact.path, weights, mixed) == artifact.stored
    with pytest.raises(ExportError, match=r"embeddings\.word is fp32, planned int8; "):
        read_back(graph, weights, mixed)
    name = "layers.1.ffn.output"
    other = {**weights, name: weights[name] + 0.01}
    with pytest.raises(ExportError, match=rf"does not hold the weight of the layer '{name}'"):
        read_back(artifact.path, other, mixed)
    coarse = Plan(layers=(replace(mixed.entry(name), granularity="per_tensor"),))
    with pytest.raises(ExportError, match=rf"{name} is int8 dynamic, planned int8 per_tensor dynamic\."):
        read_back(artifact.path, weights, coarse)


def test_a_layer_that_is_not_there_is_named(graph: Path, tmp_path: Path) -> None:
    plan = Plan(layers=(LayerPlan(layer="layers.9.ffn.output", kind="linear", weight="int8"),))
    with pytest.raises(ExportError, match=r"'layers\.9\.ffn\.output', which the graph does not have"):
        lower(graph, plan, tmp_path / "model.pte")


def test_a_table_that_is_sliced_cannot_be_int8(graph: Path, tmp_path: Path) -> None:
    plan = Plan(layers=(LayerPlan(layer="embeddings.position", kind="embedding", weight="int8"),))
    with pytest.raises(ExportError, match=r"embeddings\.position is not only looked up.*Plan it as fp16"):
        lower(graph, plan, tmp_path / "model.pte")


@pytest.fixture(scope="module")
def bundle(graph: Path, folder: Path) -> Path:
    specs = [TensorSpec(name=name, dtype="int64", shape=(1, "sequence")) for name in feeds(random_batch())]
    write_small_bundle(
        folder / "bundle",
        files={"model.pte": graph, "tokenizer.json": minilm_folder() / "tokenizer.json"},
        runtime="executorch",
        model="model.pte",
        inputs=specs,
        max_length=POSITIONS,
    )
    return folder / "bundle"


def test_a_bundle_answers_as_pytorch_does(bundle: Path, student, tmp_path: Path) -> None:
    encoder = TextEncoder(bundle / "tokenizer.json", POSITIONS)
    with load_bundle(bundle) as predictor:
        answers, found = predictor.predict(TEXTS), predictor.logits(TEXTS)
        check_threads(predictor.predict, TEXTS)
    for text, logits in zip(TEXTS, found, strict=True):
        batch = {name: torch.from_numpy(values) for name, values in encoder.encode([text]).items()}
        np.testing.assert_allclose(logits[None], logits_of(student, batch).numpy(), atol=FP32_TOLERANCE)
    command = [sys.executable, str(bundle / "run.py"), "--json", *TEXTS]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stderr, done.returncode) == ("", 0)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [vars(answer) for answer in answers]
    check_every_file(bundle, tmp_path)
    check_moved_and_read_only(bundle, tmp_path, TEXTS)


def test_another_account_may_use_a_bundle(bundle: Path) -> None:
    check_second_account(bundle, TEXTS)


class _Inverts(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.linalg.inv(values)


class _Holds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.strange = _Inverts()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.model.strange(values) + 1


def test_an_operator_that_executorch_does_not_have_is_named_with_its_module(tmp_path: Path) -> None:
    program = torch.export.export(_Holds(), (torch.eye(3),))
    with pytest.raises(ExportError, match=r"linalg_inv\w*.*from strange"):
        exporter._write(program, tmp_path / "model.pte")


def test_the_session_says_what_is_wrong(graph: Path, tmp_path: Path) -> None:
    session = ExecuTorchSession(graph)
    batch = feeds(random_batch([POSITIONS + 1]))
    with pytest.raises(
        BundleError, match=rf"\(batch, 1 to {POSITIONS}\), all alike; got \(1, {POSITIONS + 1}\)"
    ):
        session.run(batch)
    with pytest.raises(BundleError, match="wants the input 'attention_mask'"):
        session.run({"input_ids": batch["input_ids"]})
    with pytest.raises(BundleError, match="has 1 threads in this process as long as a session is open"):
        ExecuTorchSession(graph, threads=2)
    cut, other = tmp_path / "cut.pte", tmp_path / "other.pte"
    cut.write_bytes(graph.read_bytes()[:1000])
    other.write_bytes(graph.read_bytes().replace(b"ET12", b"ET99", 1))
    for path in (cut, other):
        with pytest.raises(
            BundleError, match=r"cannot be loaded by ExecuTorch \d.*the executorch that wrote it"
        ):
            ExecuTorchSession(path)


def test_a_graph_has_pytorchs_program_beside_it(graph: Path) -> None:
    assert [path.name for path in graph_files(graph)] == ["graph.pte", "graph.pt2"]
    assert all(path.is_file() for path in graph_files(graph))


@pytest.mark.slow
@pytest.mark.parametrize("make", [tiny_bert, tiny_distilbert])
def test_a_family_of_texts_is_exported_as_it_is(make, tmp_path: Path) -> None:
    model = make()
    export_graph(model, tmp_path / "graph.pte", max_length=POSITIONS, pairs=False)
    artifact = lower(tmp_path / "graph.pte", uniform_plan(model, "test"), tmp_path / "model.pte")
    assert set(artifact.stored.values()) == {"int8"}
    for lengths in ((4, 8, 2), (7,), (POSITIONS, 3)):
        batch = random_batch(lengths, pairs=False)
        exact = logits_of(model, batch).numpy()
        found = ExecuTorchSession(tmp_path / "graph.pte").run(feeds(batch))
        np.testing.assert_allclose(found, exact, atol=1e-4)
    with executed(model, entries_of(model, artifact.stored)):
        simulated = logits_of(model, batch).numpy()
    check_precision(ExecuTorchSession(artifact.path).run(feeds(batch)), simulated, exact, 0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "size"), [(tiny_compact_vit, (16, 12)), (tiny_vit, (16, 16)), (tiny_dinov2, (16, 16))]
)
def test_a_family_of_images_is_exported_as_it_is(make, size, tmp_path: Path) -> None:
    model, batch = make(), random_pixels(2, size)
    export_graph(model, tmp_path / "graph.pte", max_length=25, pairs=False)
    artifact = lower(tmp_path / "graph.pte", uniform_plan(model, "test"), tmp_path / "model.pte")
    assert set(artifact.stored.values()) == {"int8"}
    assert [(spec.name, spec.shape) for spec in artifact.inputs] == [("pixel_values", (1, 3, *size))]
    exact = image_logits(model, batch).numpy()
    session = ExecuTorchSession(tmp_path / "graph.pte")
    np.testing.assert_allclose(session.run(feeds(batch)), exact, atol=1e-4)
    moved = np.moveaxis(np.moveaxis(batch["pixel_values"].numpy(), 1, -1).copy(), -1, 1)
    assert not moved.flags.c_contiguous
    np.testing.assert_allclose(session.run({"pixel_values": moved}), exact, atol=1e-4)
    with pytest.raises(BundleError, match=r"takes pixel_values of shape \(batch, 3, "):
        session.run({"pixel_values": batch["pixel_values"].numpy()[:, :, 1:]})
    with executed(model, entries_of(model, artifact.stored)):
        simulated = image_logits(model, batch).numpy()
    check_precision(ExecuTorchSession(artifact.path).run(feeds(batch)), simulated, exact, 0.02)


@pytest.mark.slow
def test_every_token_gets_pytorchs_logits(tmp_path: Path) -> None:
    names = {"id2label": dict(enumerate(("O", "B-PER", "I-PER")))}
    model = CompactBertForTokenClassification(
        CompactBertConfig(**tiny_compact().config.to_dict() | names)
    ).eval()
    export_graph(model, tmp_path / "graph.pte", max_length=POSITIONS, pairs=True)
    artifact = lower(tmp_path / "graph.pte", Plan(layers=()), tmp_path / "model.pte")
    assert [spec.shape for spec in artifact.outputs] == [(1, "sequence", 3)]
    session = ExecuTorchSession(artifact.path)
    for lengths in ([1], [17], [5, 20]):
        batch = random_batch(lengths)
        real = batch["attention_mask"].bool().numpy()
        expected = logits_of(model, batch).numpy()
        np.testing.assert_allclose(session.run(feeds(batch))[real], expected[real], atol=FP32_TOLERANCE)
