"""A vision transformer as a file of every runtime, and the run.py of a bundle that labels images."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from bundle_checks import (
    check_every_file,
    check_moved_and_read_only,
    check_second_account,
    check_threads,
    link_packages,
    run_alone,
)
from fixtures_images import image_logits, random_pixels, tiny_compact_vit, tiny_deit, tiny_dinov2, tiny_vit
from fixtures_models import entries_of

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
from edgesmith.export.artifact import Artifact
from edgesmith.export.bundle import write_bundle
from edgesmith.export.onnxruntime import export_graph, lower
from edgesmith.export.run_script import IMAGE_MODULES, run_script
from edgesmith.measure.parity import sqnr_db
from edgesmith.records import ImagePreprocessing, Plan, Scheme, model_files
from edgesmith.runtime import OnnxRuntimeSession, load_bundle
from edgesmith.runtime.litert import LiteRTSession

pytest.importorskip("PIL", reason="the extra `vision` is not installed")
import PIL.Image

LABELS = ("a", "b", "c", "d", "e")
PREPROCESSING = ImagePreprocessing(
    resize=(16, 12), crop=None, resample=2, scale=1 / 255, mean=(0.5,) * 3, std=(0.5,) * 3
)


@pytest.mark.parametrize(
    ("make", "size"), [(tiny_compact_vit, (16, 12)), (tiny_vit, (16, 16)), (tiny_dinov2, (16, 16))]
)
def test_the_graph_computes_what_the_model_computes(make, size, tmp_path: Path) -> None:
    model = make()
    export_graph(model, tmp_path / "model.onnx", max_length=25, pairs=False)
    session = OnnxRuntimeSession(tmp_path / "model.onnx")
    for count in (1, 3):
        batch = random_pixels(count, size)
        logits = session.run({"pixel_values": batch["pixel_values"].numpy()})
        np.testing.assert_allclose(logits, image_logits(model, batch).numpy(), atol=1e-4)


@dataclass(frozen=True)
class Exported:
    graph: Path
    plan: Plan


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder, model = tmp_path_factory.mktemp("export"), tiny_compact_vit()
    export_graph(model, folder / "graph.onnx", max_length=25, pairs=False)
    layers = (
        plan_layer(name, module, "fp16" if name in ("embeddings.position", "classifier") else "int8")
        for name, module in quantizable_layers(model).items()
    )
    return Exported(folder / "graph.onnx", Plan(layers=tuple(layers)))


def write(exported: Exported, artifact: Artifact, runtime: str) -> Path:
    """A bundle beside the graph."""
    assert artifact.stored == {entry.layer: entry.weight for entry in exported.plan.layers}
    assert [(spec.name, spec.shape[1:]) for spec in artifact.inputs] == [("pixel_values", (3, 16, 12))]
    folder = exported.graph.parent / runtime
    write_bundle(
        folder,
        files={part.name: part for part in model_files(artifact.path)},
        runtime=runtime,
        task="image-classification",
        model=artifact.path.name,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        labels=LABELS,
        max_length=25,
        plan=exported.plan,
        session={},
        metrics={},
        provenance={},
        preprocessing=PREPROCESSING,
    )
    return folder


@pytest.fixture(scope="module")
def bundle(exported: Exported) -> Path:
    artifact = lower(exported.graph, exported.plan, exported.graph.with_name("model.onnx"))
    return write(exported, artifact, "onnxruntime")


@pytest.fixture(scope="module")
def bundle_for_openvino(exported: Exported) -> Path:
    pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'edgesmith[openvino]'")
    from edgesmith.export import openvino

    graph = exported.graph.with_name("graph.xml")
    openvino.convert(exported.graph, graph)
    return write(exported, openvino.lower(graph, exported.plan, graph.with_name("model.xml")), "openvino")


@pytest.fixture(scope="module")
def litert() -> ModuleType:
    pytest.importorskip("litert_torch", reason="LiteRT is not installed: pip install 'edgesmith[litert]'")
    from edgesmith.export import litert

    return litert


def test_static_layers_compute_what_was_simulated_on_litert(litert: ModuleType, tmp_path: Path) -> None:
    rows = [random_pixels(size=(16, 12), seed=seed) for seed in (3, 4)]
    model = migrate(tiny_compact_vit(), rows)
    litert.export_graph(model, tmp_path / "graph.tflite", max_length=25, pairs=False)
    assert litert.folded_layers(tmp_path / "graph.tflite") == {
        "embeddings.position"
    }  # a table; the class token is in it
    reads, gives = (
        {name: input_range(seen, "min_max") for name, seen in observe(model, rows).items()}
        for observe in (observe_inputs, observe_outputs)
    )
    scheme = Scheme("int8", activation="static_int8")
    entries = [
        scheme_layer(
            name, model.get_submodule(name), scheme, input_range=reads[name], output_range=gives[name]
        )
        for name in reads
    ]
    litert.lower(tmp_path / "graph.tflite", Plan(layers=tuple(entries)), tmp_path / "model.tflite")
    batch = random_pixels(size=(16, 12), seed=9)
    with executed(model, entries):
        simulated = image_logits(model, batch).numpy()
    found = LiteRTSession(tmp_path / "model.tflite").run({"pixel_values": batch["pixel_values"].numpy()})
    assert sqnr_db(simulated, found) > 25
    assert sqnr_db(image_logits(model, batch).numpy(), found) > 10


@pytest.fixture(scope="module")
def graph_for_litert(exported: Exported, litert: ModuleType) -> Path:
    graph = exported.graph.with_name("graph.tflite")
    litert.export_graph(tiny_compact_vit(), graph, max_length=25, pairs=False)
    return graph


@pytest.fixture(scope="module")
def bundle_for_litert(exported: Exported, graph_for_litert: Path, litert: ModuleType) -> Path:
    file = graph_for_litert.with_name("model.tflite")
    return write(exported, litert.lower(graph_for_litert, exported.plan, file), "litert")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, generator = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    names = [str(folder / name) for name in ("one.png", "two.jpg", "three and more.bmp")]
    for name in names:
        PIL.Image.fromarray(generator.integers(0, 256, (30, 20, 3), dtype=np.uint8)).save(name)
    return names


def run(bundle: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(bundle / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_run_py_answers_as_edgesmith_does(bundle: Path, images: list[str]) -> None:
    answers = [vars(answer) for answer in load_bundle(bundle).predict(images)]
    by_name = run(bundle, "--json", *images)
    assert (by_name.stderr, by_name.returncode) == ("", 0)
    assert [json.loads(line) for line in by_name.stdout.splitlines()] == answers
    by_lines = run(bundle, "--json", "--time", input="\n".join(images) + "\n")
    assert [json.loads(line) for line in by_lines.stdout.splitlines()] == answers
    assert by_lines.stderr.startswith("p50 ")


def test_run_py_needs_numpy_pillow_and_litert_only(
    bundle_for_litert: Path, images: list[str], tmp_path: Path
) -> None:
    packages = link_packages(tmp_path, ("numpy", "numpy.libs", "PIL", "pillow.libs", "ai_edge_litert"))
    done = run_alone(packages, bundle_for_litert, "--json", *images)
    assert done.returncode == 0, done.stderr
    with load_bundle(bundle_for_litert) as predictor:
        expected = [vars(answer) for answer in predictor.predict(images)]
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected


@pytest.mark.parametrize("make", [tiny_vit, tiny_deit, tiny_dinov2])
def test_litert_computes_what_a_whole_teacher_computes(make, litert: ModuleType, tmp_path: Path) -> None:
    model, batch = make(num_hidden_layers=1), random_pixels(2)
    litert.export_graph(model, tmp_path / "fp32.tflite", max_length=17, pairs=False)
    artifact = litert.lower(tmp_path / "fp32.tflite", uniform_plan(model, "test"), tmp_path / "int8.tflite")
    assert set(artifact.stored) == set(quantizable_layers(model))
    assert set(artifact.stored.values()) == {"int8"}
    expected = image_logits(model, batch).numpy()
    for file, tolerance in (("fp32", 1e-5), ("int8", 0.1)):
        session = LiteRTSession(tmp_path / f"{file}.tflite")
        logits = session.run({"pixel_values": batch["pixel_values"].numpy()})
        np.testing.assert_allclose(logits, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize(
    ("weight", "table", "tolerance"),
    [("fp32", "fp32", 1e-5), ("fp16", "fp16", 2e-3), ("int8", "fp16", 0.1), ("int4", "fp32", 0.5)],
)
def test_litert_holds_the_plan_and_computes_what_the_model_computes(
    weight, table, tolerance, exported: Exported, graph_for_litert: Path, litert: ModuleType, tmp_path: Path
) -> None:
    """Positions are added whole: a table that no lookup reads."""
    model, batch = tiny_compact_vit(), random_pixels(2, (16, 12))
    dtypes = {name: table if is_small_table(name) else weight for name in quantizable_layers(model)}
    plan = Plan(layers=tuple(entries_of(model, dtypes)))
    artifact = litert.lower(graph_for_litert, plan, tmp_path / "model.tflite")
    assert artifact.stored == dtypes
    expected = image_logits(model, batch).numpy()
    logits = LiteRTSession(artifact.path).run({"pixel_values": batch["pixel_values"].numpy()})
    np.testing.assert_allclose(logits, expected, atol=tolerance * np.abs(expected).max())


def test_litert_refuses_another_shape_and_a_table_in_integers(
    exported: Exported, graph_for_litert: Path, litert: ModuleType, tmp_path: Path
) -> None:
    pixels = random_pixels(2, (12, 16))["pixel_values"].numpy()
    with pytest.raises(
        BundleError, match=r"takes 'pixel_values' of shape \(batch, 3, 16, 12\), .* \(2, 3, 12, 16\)"
    ):
        LiteRTSession(graph_for_litert).run({"pixel_values": pixels})
    plan = Plan(layers=tuple(entries_of(tiny_compact_vit(), {"embeddings.position": "int8"})))
    with pytest.raises(ExportError, match=r"embeddings\.position is fp32, planned int8"):
        litert.lower(graph_for_litert, plan, tmp_path / "model.tflite")


@pytest.mark.parametrize("fixture", ["bundle", "bundle_for_openvino", "bundle_for_litert"])
def test_a_bundle_answers_images_in_batches_from_threads_and_elsewhere(
    fixture: str, images: list[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bundle: Path = request.getfixturevalue(fixture)
    with load_bundle(bundle) as predictor:
        logits = predictor.logits(images)
        batch = predictor.logits(images, batch_size=len(images))
        assert (
            np.abs(batch - logits).max() < 0.1 * np.abs(logits).max()
        )  # INT8 inputs share a scale in a batch
        assert predictor.logits(images[1]).tolist() == logits[1:2].tolist()
        check_threads(predictor.predict, images)
    check_every_file(bundle, tmp_path)
    check_moved_and_read_only(bundle, tmp_path, images)


@pytest.mark.parametrize("fixture", ["bundle", "bundle_for_openvino", "bundle_for_litert"])
def test_another_account_may_use_a_bundle(
    fixture: str, images: list[str], request: pytest.FixtureRequest
) -> None:
    check_second_account(request.getfixturevalue(fixture), [Path(name).read_bytes() for name in images])


def test_run_py_says_what_is_wrong(bundle: Path, images: list[str], tmp_path: Path) -> None:
    for arguments, code, message in (
        (["none.png"], 2, "error: none.png cannot be read as an image"),
        (["--file", "none.txt"], 2, "error: none.txt cannot be read"),
        (["--file", "a.txt", images[0]], 2, "give images or --file, not both"),
        (["--threads", "0", images[0]], 2, "--threads is 0"),
    ):
        done = run(bundle, *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (code, "")
        assert message in done.stderr


def test_run_py_needs_numpy_pillow_and_the_runtime_only() -> None:
    source = run_script(IMAGE_MODULES)
    assert source == run_script(IMAGE_MODULES)
    source = source.replace("        import torch\n        from executorch import runtime\n", "")
    for heavy in ("torch", "transformers", "tokenizers", "edgesmith", "pandas"):
        assert f"import {heavy}" not in source and f"from {heavy}" not in source
    assert "class ImageEncoder" in source and "import PIL.Image" in source
    assert "class TextEncoder" not in source and "--text-column" not in source
