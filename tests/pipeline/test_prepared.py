"""`edgesmith export`: what a run left becomes a file of another format, or an error says what to type."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from fixtures_pipeline import FinishedRun
from fixtures_text import minilm_folder
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from edgesmith.cli import main
from edgesmith.export import exporter
from edgesmith.records import Plan, read_json
from edgesmith.records.prepared import FORMATS

needs_coreml = pytest.mark.skipif(
    find_spec("coremltools") is None, reason="Core ML Tools is not installed: pip install 'edgesmith[coreml]'"
)


def call(command: str, *arguments: object) -> Result:
    return CliRunner().invoke(main, [command, *map(str, arguments)], prog_name="edgesmith")


@pytest.fixture(autouse=True)
def no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.glob(".*"))  # half-written files


@needs_coreml
def test_a_compressed_model_becomes_a_package_of_its_plan(finished: FinishedRun, tmp_path: Path) -> None:
    path = tmp_path / "new" / "reviews.mlpackage"
    done = call("export", finished.path, "--to", "coreml", "-o", path, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    plan = read_json(Plan, finished.path / "04-quantize" / "tiny" / "plan-onnxruntime.json")
    assert set(found["file"]["stored"]) == {entry.layer for entry in plan.layers}
    for entry in plan.layers:
        assert found["file"]["stored"][entry.layer].startswith(entry.weight)
    assert [spec["name"] for spec in found["file"]["inputs"]] == ["input_ids", "attention_mask"]
    assert (found["format"], found["plan_of"]) == ("coreml", "onnxruntime")
    assert found["size_bytes"] == sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


@needs_coreml
def test_a_quantized_model_becomes_one_too_and_is_told_in_words(data: Path, tmp_path: Path) -> None:
    """Its layers are those of its compact form, which the plan names."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 96}
    config = BertConfig(vocab_size=30522, max_position_embeddings=64, initializer_range=0.1, **sizes)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(minilm_folder()).save_pretrained(tmp_path / "model")
    done = call(
        "quantize", tmp_path / "model", "--data", data, "--max-length", 16, "--rows", 8, "--uniform", "int8-static",
        "--max-drop", "90%", "-o", tmp_path / "small",
    )  # fmt: skip
    assert done.exit_code in (0, 4), done.stderr  # its random answers may agree too little
    done = call("export", tmp_path / "small", "--to", "coreml", "-o", tmp_path / "small.mlpackage")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "as planned for onnxruntime: 1 fp16, 7 int8 per_channel" in lines[0]
    assert "static INT8 inputs are planned; they stay floating-point" in lines[1]
    assert lines[-1].startswith("not checked: Core ML did not run it")
    assert sum(line.startswith("checked: ") for line in lines) == 3


@pytest.mark.parametrize("form", FORMATS)
def test_a_name_that_is_taken_or_ends_otherwise_is_refused(form: str, tmp_path: Path) -> None:
    suffix = FORMATS[form].suffix
    taken = tmp_path / f"mine{suffix}"
    taken.write_text("mine")
    done = call("export", tmp_path, "--to", form, "-o", taken)
    assert done.exit_code == 2 and f"exists; give a new name with -o, such as {tmp_path}" in done.stderr
    assert taken.read_text() == "mine"
    done = call("export", tmp_path, "--to", form, "-o", tmp_path / "model.zip")
    why = f"does not end in {suffix}" if suffix else "is a folder's name with an ending"
    assert done.exit_code == 2 and f"model.zip {why}; give a new name" in done.stderr


def test_a_format_that_is_not_known_is_refused_with_those_that_are(tmp_path: Path) -> None:
    done = call("export", tmp_path, "--to", "tflite", "-o", tmp_path / "x")
    assert done.exit_code == 2 and all(f"'{form}'" in done.stderr for form in FORMATS)


@needs_coreml
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    done = call("export", tmp_path, "--to", "coreml", "-o", tmp_path / "model.mlpackage")
    assert done.exit_code == 2 and f"{tmp_path} is not a run folder" in done.stderr


@needs_coreml
def test_a_plan_that_the_run_does_not_have_is_refused(finished: FinishedRun, tmp_path: Path) -> None:
    done = call(
        "export", finished.path, "--to", "coreml", "--runtime", "litert", "-o", tmp_path / "m.mlpackage"
    )
    assert done.exit_code == 2
    assert "unknown runtime 'litert'. Allowed: onnxruntime." in done.stderr


def test_without_the_extra_the_line_to_type_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    for name in ("coreml", "coreml_program"):
        monkeypatch.delitem(sys.modules, f"edgesmith.export.{name}", raising=False)
    done = call("export", tmp_path, "--to", "coreml", "-o", tmp_path / "model.mlpackage")
    assert done.exit_code == 3 and "Type: pip install 'edgesmith[coreml]'" in done.stderr


@needs_coreml
def test_every_format_has_a_writer() -> None:
    for form, described in FORMATS.items():
        assert callable(exporter(form, described.extra).write)
