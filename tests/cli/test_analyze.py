"""`edgesmith analyze` and `recommend`: exit codes, JSON, and what is said where nothing can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgesmith.cli import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="edgesmith")


def test_a_zoo_model_on_a_device(folder: Path) -> None:
    done = call("analyze", "tinybert-4", "--target", "raspberry-pi-5", "--deadline", "33ms", "-o", "out")
    assert done.exit_code == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "tinybert-4 on raspberry-pi-5: 14,350,874 parameters, 0.624 GMACs at 128 tokens" in told
    assert "Predicted to meet the deadline of 33 ms" in told
    assert (folder / "out" / "analysis.html").is_file()


def test_json_says_that_it_is_predicted() -> None:
    done = call("analyze", "tinybert-4", "--target", "jetson-orin-nano", "--unit", "gpu", "--json")
    found = json.loads(done.stdout)
    assert found["label"] == "predicted"
    assert {one["unit"] for one in found["predictions"]} == {"gpu"}
    assert all("roofline" in one["floor"]["model"] for one in found["predictions"])
    assert found["timeline"]


def test_a_deadline_that_is_not_met_exits_4_and_shows_the_table() -> None:
    done = call("analyze", "bert-base", "--target", "raspberry-pi-4", "--deadline", "1ms")
    assert done.exit_code == 4
    assert "error: predicted: no precision of cpu on raspberry-pi-4 meets 1 ms" in done.stderr
    assert "Predicted, batch 1" in done.stdout


def test_an_impossible_deadline_says_so() -> None:
    done = call("analyze", "bert-base", "--target", "raspberry-pi-4", "--deadline", "0.0001ms", "--json")
    assert done.exit_code == 4
    assert "It is impossible: not even 1 token meets it. Choose a smaller model." in done.stderr
    assert json.loads(done.stdout)["deadlines"]


def test_without_a_device_there_are_counts_and_the_line_to_type() -> None:
    done = call("analyze", "tinybert-4")
    assert done.exit_code == 0, done.stderr
    assert "counts only. Type: edgesmith targets calibrate" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["analyze", "tinybert-4", "--target", "raspbery-pi-5"], 2, "Did you mean 'raspberry-pi-5'"),
        (["analyze", "tinybert-4", "--target", "raspberry-pi-5", "--precision", "int4"], 3, "it executes fp32, fp16, int8"),
        (["analyze", "tinybert-4", "--target", "raspberry-pi-5", "--unit", "npu"], 2, "unknown unit 'npu'"),
        (["analyze", "tinybert-4", "--target", "raspberry-pi-5", "--length", "9999"], 2, "allowed: 1 to 512"),
        (["analyze", "tinybert-4", "--precision", "int8"], 3, "does not say which precisions"),
        (["analyze", "tinybert-4", "--deadline", "33ms"], 3, "no latency of cpu on 'host' can be predicted"),
        (["analyze", "nowhere", "--target", "raspberry-pi-5"], 2, "nowhere"),
        (["analyze", "tinybert-4", "--deadline", "soon"], 2, "--deadline"),
        (
            ["recommend", "--task", "text-clasification", "--target", "raspberry-pi-5", "--max-latency", "9ms"],
            2,
            "Did you mean 'text-classification'",
        ),
        (
            ["recommend", "--task", "image-classification", "--target", "raspberry-pi-5", "--max-latency", "9ms",
             "--length", "64"],
            2,
            "the model reads images",
        ),
        (["recommend", "--task", "text-classification", "--target", "host", "--max-latency", "9ms"], 3, "calibrate"),
        (
            ["recommend", "--task", "text-classification", "--target", "raspberry-pi-5", "--max-latency", "soon"],
            2,
            "--max-latency",
        ),
    ],
)  # fmt: skip
def test_errors_say_what_is_allowed(arguments: list[str], code: int, text: str) -> None:
    done = call(*arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recommendation_and_its_folder(folder: Path) -> None:
    done = call(
        "recommend", "--task", "text-classification", "--target", "raspberry-pi-5", "--max-latency", "10ms", "-o", "out"
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "may answer on cpu of raspberry-pi-5 in 10 ms" in " ".join(done.stdout.split())
    assert {path.name for path in (folder / "out").iterdir()} == {
        "recommendation.html", "recommendation.md", "recommendation.json", "pareto.svg",
    }  # fmt: skip


def test_a_latency_that_nothing_meets_exits_4() -> None:
    done = call(
        "recommend",
        "--task",
        "text-classification",
        "--target",
        "raspberry-pi-5",
        "--max-latency",
        "0.001ms",
        "--json",
    )
    assert done.exit_code == 4
    assert "No model of the zoo is predicted to answer" in done.stderr
    assert len(json.loads(done.stdout)["choices"]) == 12
