"""`edgesmith plan` says what a run would do, and does none of it."""

from __future__ import annotations

import json
from math import ceil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fixtures_pipeline import ROWS

from edgesmith.cli import main


def plan(model: Path, data: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["plan", str(model), "--data", str(data), "--quiet", *options])


def test_a_plan_in_words(headless: Path, data: Path) -> None:
    done = plan(headless, data)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "Data",
        "Steps",
        "Training",
        "Candidates, INT8",
    ]
    assert "  text is column 'text' (guessed; --text-column names another)." in lines
    assert "  0 finetune: the model has no head for this task" in lines
    assert "  4 quantize: sensitivity of each layer; INT8 or FP16" in lines
    assert f"  6 validate: {ROWS['test']} test rows, used once" in lines
    assert lines[-5].split()[0] == "tiny"
    assert lines[-1].endswith("MB (predicted), 1.00 of the teacher's MACs")


def test_a_plan_as_json(headless: Path, headed: Path, data: Path) -> None:
    done = plan(headless, data, "--json", "--set", "finetune.batch_size=64", "--set", "finetune.epochs=3")
    found = json.loads(done.stdout)
    assert found["needs_finetuning"]
    assert found["training_steps"]["finetune"] == ceil(ROWS["train"] / 64) * 3
    ratios = [candidate["macs_ratio"] for candidate in found["candidates"].values()]
    assert ratios == sorted(ratios)
    assert ratios[-1] == pytest.approx(1)
    with_head = json.loads(plan(headed, data, "--json").stdout)
    assert not with_head["needs_finetuning"]
    assert "finetune" not in with_head["training_steps"]


def test_a_plan_writes_nothing(
    headed: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for folder in (headed, data) for path in folder.rglob("*")}
    assert plan(headed, data).exit_code == 0
    assert list(tmp_path.iterdir()) == []
    assert {
        path: path.stat().st_mtime_ns for folder in (headed, data) for path in folder.rglob("*")
    } == before


def test_a_plan_refuses_what_a_run_would_refuse(data: Path, tmp_path: Path) -> None:
    done = plan(tmp_path / "nowhere", data)
    assert done.exit_code == 2
    assert "nowhere: no such model folder" in done.stderr
