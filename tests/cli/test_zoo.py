"""`edgesmith models` and the ways into `edgesmith compare`; what compare measures is tested with the pipeline."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgesmith.cli import main
from edgesmith.cli.zoo import COMPARISON, measured_here
from edgesmith.records import (
    RANDOM_WEIGHTS,
    ZOO,
    ComparedModel,
    Comparison,
    LatencySample,
    describe_environment,
    read_json,
    write_json,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands are typed: an empty folder of a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="edgesmith")


def comparison() -> Comparison:
    sample = LatencySample(p50=12.34, p90=13.0, p99=14.0, n=80)
    model = ComparedModel(
        name="tinybert-4", parameters=1, macs=1, fp32_bytes=1, int8_bytes=1, fp32_ms=sample,
        int8_ms=replace(sample, p50=5.67), fp32_ratio=1.0, int8_ratio=1.0, survey_ratio=1.0,
    )  # fmt: skip
    return Comparison(
        models=(model,), weights=RANDOM_WEIGHTS, runtime="onnxruntime", length=128, inputs=4, rounds=20,
        threads=1, seed=0, cpu_share=1.0, date="2026-01-02", environment=describe_environment(()),
    )  # fmt: skip


def test_every_model_is_listed_with_counts_published_figures_and_the_label() -> None:
    done = call("models")
    assert done.exit_code == 0, done.stderr
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.split()[:1]}
    assert [name for name in lines if name in ZOO] == list(ZOO)
    assert lines["tinybert-4"] == [
        "tinybert-4",
        "14.4",
        "(14.5)",
        "0.62",
        "57",
        "77.0",
        "82.1",
        "62",
        "-",
        "-",
    ]
    assert RANDOM_WEIGHTS in " ".join(done.stdout.split())
    assert "Type: edgesmith compare" in " ".join(done.stdout.split())


def test_the_list_keeps_to_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = call("models").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("mobilebert-tiny ") for line in lines)


def test_json_has_every_figure() -> None:
    rows = json.loads(call("models", "--json").stdout)
    assert [row["name"] for row in rows] == list(ZOO)
    one = json.loads(call("models", "mobilebert-tiny", "--json").stdout)
    assert one["parameters"] == 15_486_722
    assert one["fp32_bytes"] == 4 * 15_486_722
    assert one["published"] == {
        "parameters_m": 15.1,
        "glue": 75.8,
        "squad_f1": 84.2,
        "latency_ms": 40,
    }
    assert (one["paper"], one["measured"], one["labelled"]) == ("arXiv:2004.02984", None, RANDOM_WEIGHTS)


@pytest.mark.parametrize("name", ZOO)
def test_one_model_is_told_with_its_paper_and_its_label(name: str) -> None:
    done = call("models", name)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(f"{name}: {ZOO[name].title}, {ZOO[name].paper}")
    assert RANDOM_WEIGHTS in done.stdout
    assert all(note in done.stdout for note in ZOO[name].notes)


def test_what_was_measured_here_stands_beside_what_was_published() -> None:
    write_json(COMPARISON, comparison())
    line = next(line for line in call("models").stdout.splitlines() if line.startswith("tinybert-4"))
    assert line.split()[-2:] == ["12.3", "5.7"]
    assert "12.34 ms in FP32, 5.67 ms in INT8" in call("models", "tinybert-4").stdout
    assert "measured     nothing here yet" in call("models", "bert-base").stdout


def test_what_another_processor_measured_is_not_shown() -> None:
    other = replace(describe_environment(()), processor="another")
    write_json(COMPARISON, replace(comparison(), environment=other))
    assert read_json(Comparison, COMPARISON).environment.processor == "another"
    assert measured_here(COMPARISON) is None
    assert "12.3" not in call("models").stdout


def test_a_damaged_comparison_is_named() -> None:
    write_json(COMPARISON, {"models": []})
    done = call("models")
    assert done.exit_code == 2
    assert "runs/compare.json is not what `edgesmith compare` writes" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["models", "tinybert4"], "unknown zoo model 'tinybert4'. Did you mean 'tinybert-4'?"),
        (["compare", "bert-base", "distillbert"], "unknown zoo model 'distillbert'. Did you mean 'distilbert'?"),
        (["compare", "xyz"], "Allowed: bert-base, distilbert, mobilebert, mobilebert-tiny, tinybert-4, tinybert-6."),
        (["compare", "--rounds", "0"], "0 is not in the range x>=1"),
        (["compare", "--threads", "0"], "0 is not in the range x>=1"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_exits_2(arguments: list[str], text: str) -> None:
    done = call(*arguments)
    assert done.exit_code == 2
    assert text in done.stderr
    assert done.stdout == ""
