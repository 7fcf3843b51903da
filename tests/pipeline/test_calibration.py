"""A small calibration of this machine: every rate is there, and a prediction follows from the profile."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures_models import tiny_bert

from edgesmith.errors import RecipeError
from edgesmith.pipeline.calibration import FUNCTIONS, Grid, calibrate
from edgesmith.pipeline.prediction import predict_model
from edgesmith.records import SilentProgress
from edgesmith.targets import Target, load_target, save_target, user_folder

pytest.importorskip("onnxruntime", reason="the extra `onnxruntime` is not installed")

GRID = Grid(rows=(2, 16), widths=(64,), head_dims=(8,), function_width=64, copy_bytes=1_000_000)


@pytest.fixture(scope="module")
def target() -> Target:
    return calibrate("host", [1], SilentProgress(), grid=GRID)


def test_every_kind_of_operator_was_measured(target: Target) -> None:
    rates = target.unit().rates
    assert rates is not None
    assert (rates.threads, rates.precisions) == ([1], ["fp32", "int8"])
    for precision in rates.precisions:
        assert [one.rows for one in rates.of("linear", precision, 1)] == [2, 16]
    for kind in ("products", *FUNCTIONS):
        assert [one.rows for one in rates.of(kind, "fp32", 1)] == [2, 16]
    assert all(0 < one.per_s < 1e15 for one in rates.kernels)
    assert rates.copy_bandwidth(1) > 0
    assert 0 < rates.call_s < 1
    assert rates.node_s < rates.call_s + 0.01
    assert rates.environment.packages["onnxruntime"]


def test_the_profile_is_read_back_and_predicts(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    save_target(target, user_folder() / "host.yaml")
    assert load_target("host") == target
    found = predict_model("tinybert-4", length=8)
    assert [(one.precision, one.threads) for one in found.predictions] == [("fp32", 1), ("int8", 1)]
    for one in found.predictions:
        assert one.expected is not None
        assert one.floor is not None
        assert one.expected.value > one.floor.value
    assert found.roof.source.startswith("measured")


@pytest.mark.slow
def test_litert_has_its_own_rates() -> None:
    pytest.importorskip("litert_torch", reason="the extra `litert` is not installed")
    grid = Grid(rows=(4,), widths=(16,), head_dims=(4,), function_width=16, copy_bytes=1_000_000)
    rates = calibrate("lite", [1], SilentProgress(), runtime="litert", grid=grid).unit().rates
    assert rates is not None
    assert (rates.runtime, rates.precisions) == ("litert", ["fp32", "int8"])
    assert {one.kind for one in rates.kernels} == {"linear", "products", *FUNCTIONS}


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'litert'"):
        calibrate("host", [1], SilentProgress(), runtime="litrt", grid=GRID)


def test_threads_without_cores_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"threads is 4096; this process may use \d+ cores"):
        calibrate("host", [4096], SilentProgress(), grid=GRID)


def test_a_model_in_a_folder_is_predicted_from_its_config(tmp_path: Path) -> None:
    model = tiny_bert()
    model.config.save_pretrained(tmp_path)  # no weights: none are read
    found = predict_model(str(tmp_path), target="raspberry-pi-5")
    assert found.tokens == model.config.max_position_embeddings < 128
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert found.predictions[0].weight_bytes == 4 * found.parameters
