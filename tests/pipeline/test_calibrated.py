"""Runs that are calibrated once more: for TensorRT, whose inputs are static, and for QNN, where everything is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from fixtures_models import tiny_compact
from fixtures_pipeline import FinishedRun
from fixtures_prepared import text_order

from edgesmith.cli import main
from edgesmith.compress.quantize import Divergence, executed, uniform_plan
from edgesmith.pipeline.calibrated import FLOOR, MARGIN, ROWS, calibration_rows, changes, static_plan
from edgesmith.recipe import DataConfig
from edgesmith.runtime.bundle import open_bundle

pytest.importorskip(
    "onnxruntime", reason="ONNX Runtime is not installed: pip install 'edgesmith[onnxruntime]'"
)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)], prog_name="edgesmith")


def tensors(rows):
    return [{name: torch.from_numpy(value) for name, value in row.items()} for row in rows]


def test_inputs_are_static_and_symmetric_or_the_layer_is_fp16() -> None:
    model, order = text_order()
    made = static_plan(model, order.plan, order.rows)
    linear = [entry for entry in made.layers if entry.kind == "linear"]
    assert {str(entry.scheme) for entry in linear} <= {"int8 static", "fp16"}
    for entry in linear:
        if entry.activation == "static_int8":
            assert entry.input_range is not None and entry.input_range[0] == -entry.input_range[1]
    told = changes(order.plan, made)
    assert set(told.values()) <= {"int8 dynamic -> int8 static", "int8 dynamic -> fp16"}
    assert set(told) == {entry.layer for entry in linear}
    divergence = Divergence(model, tensors(order.rows))
    assert divergence(made.layers) <= max(MARGIN * divergence(order.plan.layers), FLOOR)


def test_a_layer_whose_inputs_have_an_outlier_becomes_fp16() -> None:
    """One feature a thousand times the others leaves these no steps; nothing else has to change."""
    model = tiny_compact()
    _, order = text_order()
    with torch.no_grad():
        model.layers[1].attention_norm.weight[3] *= 1000  # what layers.1.ffn.intermediate reads
        model.layers[1].ffn.intermediate.weight[:, 3] /= 1000
        model.layers[1].ffn_norm.weight[3] /= 1000
    made = static_plan(model, uniform_plan(model, "test"), order.rows)
    assert made.entry("layers.1.ffn.intermediate").weight == "fp16"
    assert "static inputs alone would cost" in made.entry("layers.1.ffn.intermediate").reason
    assert sum(entry.activation == "static_int8" for entry in made.layers) > 0


def test_what_is_planned_in_floating_point_stays_so() -> None:
    model, order = text_order()
    plan = replace(
        order.plan,
        layers=tuple(replace(entry, weight="fp32", activation="none") for entry in order.plan.layers),
    )
    assert static_plan(model, plan, order.rows) == plan


def test_the_static_plan_computes_near_the_model() -> None:
    """In the simulation: within a tenth of the logits."""
    model, order = text_order()
    made = static_plan(model, order.plan, order.rows)
    for row in tensors(order.rows):
        with torch.no_grad():
            exact = model(**row).logits
            with executed(model, made.layers):
                found = model(**row).logits
        assert (found - exact).norm() < 0.1 * exact.norm()


def test_rows_are_training_rows_as_the_bundle_reads_them(finished: FinishedRun, data: Path) -> None:
    bundle = open_bundle(finished.path / "bundle" / "onnxruntime")
    rows = calibration_rows(bundle, DataConfig(path=str(data)), seed=0)
    assert len(rows) == ROWS
    assert {tuple(row) for row in rows} == {("input_ids", "attention_mask")}
    assert all(row["input_ids"].shape == (1, int(row["attention_mask"].sum())) for row in rows)  # no padding
    again = calibration_rows(bundle, DataConfig(path=str(data)), seed=0)
    assert all(np.array_equal(a["input_ids"], b["input_ids"]) for a, b in zip(rows, again, strict=True))


def test_a_compressed_model_for_tensorrt(finished: FinishedRun, tmp_path: Path) -> None:
    """Calibrated on the run's own data."""
    done = call(finished.path, "--to", "tensorrt", "-o", tmp_path / "trt", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert sorted(path.name for path in (tmp_path / "trt").iterdir()) == ["build.json", "model.onnx"]
    assert {"int8 static"} <= set(found["file"]["stored"].values()) <= {"int8 static", "int8", "fp16", "fp32"}
    assert f"answered {ROWS} calibration rows" in found["file"]["checks"][1]
    assert "trtexec --onnx=model.onnx" in found["file"]["open"]


def test_a_compressed_model_for_qnn(finished: FinishedRun, tmp_path: Path) -> None:
    done = call(finished.path, "--to", "qnn", "-o", tmp_path / "qnn")
    assert done.exit_code == 0, done.stderr
    assert "keeps the 9 rules for QNN's HTP" in done.stdout
    assert "not checked: no Qualcomm device ran it" in done.stdout
    settings = json.loads((tmp_path / "qnn" / "settings.json").read_text())
    for name in settings["files"]:
        assert onnx.load(tmp_path / "qnn" / name).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_data_for_a_format_that_is_not_calibrated_are_refused(
    finished: FinishedRun, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip(
        "coremltools", reason="Core ML Tools is not installed: pip install 'edgesmith[coreml]'"
    )
    done = call(finished.path, "--to", "coreml", "--data", data, "-o", tmp_path / "x.mlpackage")
    assert done.exit_code == 2 and "coreml is not calibrated; leave --data out" in done.stderr
