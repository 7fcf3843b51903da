"""Regression through the six steps: pairs of real texts, scored by how many of the two are attacks."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_pipeline import FinishedRun, Listener, predictions
from scipy.stats import spearmanr
from transformers import AutoTokenizer

from edgesmith.models import CompactBertForSequenceClassification
from edgesmith.pipeline import compress
from edgesmith.recipe import DataConfig, FinetuneConfig, Recipe
from edgesmith.records import STEP_RECORD_NAME, StepRecord, read_json
from edgesmith.runtime import load_bundle

COLUMNS = ("--text-column", "text", "--pair-column", "pair")


@pytest.fixture(scope="module")
def scored(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of `data` with their words after the twelfth left out, each beside another one."""
    folder = tmp_path_factory.mktemp("scored")
    generator = np.random.default_rng(0)
    for source in data.iterdir():
        with open(source, encoding="utf-8", newline="") as file:
            rows = [(" ".join(row["text"].split()[:12]), int(row["label"])) for row in csv.DictReader(file)]
        with open(folder / source.name, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["sentence1", "sentence2", "score"])
            for (text, label), other in zip(rows, generator.permutation(len(rows)), strict=True):
                writer.writerow([text, rows[other][0], label + rows[other][1]])
    return folder


@pytest.fixture(scope="module")
def run(recipe: Recipe, scored: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    mine = replace(
        recipe,
        search=replace(recipe.search, candidates=("tiny", "small")),
        task="text-regression",
        data=DataConfig(path=str(scored), max_length=48),
        finetune=FinetuneConfig(epochs=6.0, learning_rate=2e-3, evaluations=2),
    )
    path, heard = tmp_path_factory.mktemp("runs") / "scores", Listener()
    return FinishedRun(mine, path, compress(mine, path, heard), heard)


def columns(run: FinishedRun) -> dict[str, np.ndarray]:
    rows = predictions(run.path)
    return {who: np.array([float(row[who]) for row in rows]) for who in ("label", "teacher", "artifact")}


def test_the_verdict_is_in_the_metric_of_scores(run: FinishedRun) -> None:
    verdict = run.verdict
    assert (verdict.task, verdict.metric) == ("text-regression", "pearson_spearman")
    found = columns(run)
    for who in ("teacher", "artifact"):
        pearson = np.corrcoef(found[who], found["label"])[0, 1]
        spearman = spearmanr(found[who], found["label"]).statistic
        assert getattr(verdict, who) == pytest.approx((pearson + spearman) / 2, abs=1e-6)
    assert verdict.agreement == pytest.approx(
        np.corrcoef(found["teacher"], found["artifact"])[0, 1], abs=1e-4
    )
    assert verdict.drop == pytest.approx(verdict.teacher - verdict.artifact)
    assert verdict.drop_ci95[0] <= verdict.drop <= verdict.drop_ci95[1]


def test_a_student_learns_the_teachers_scores(run: FinishedRun) -> None:
    assert run.verdict.teacher > 0.5
    assert run.verdict.agreement > 4 / np.sqrt(run.verdict.n_test)  # four standard errors of no correlation


@torch.no_grad()
def test_recovery_is_judged_by_the_metric_of_scores(run: FinishedRun, scored: Path) -> None:
    (step,) = (run.path / "03-prune").iterdir()
    model = CompactBertForSequenceClassification.from_pretrained(step / "model").eval()
    with open(scored / "validation.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = [[row[name] for row in rows] for name in ("sentence1", "sentence2")]
    tokenizer = AutoTokenizer.from_pretrained(step / "model")
    batch = tokenizer(*pairs, truncation=True, max_length=48, padding=True, return_tensors="pt")
    found, wanted = model(**batch).logits[:, 0].numpy(), [float(row["score"]) for row in rows]
    correlation = (np.corrcoef(found, wanted)[0, 1] + spearmanr(found, wanted).statistic) / 2
    booked = read_json(StepRecord, step / STEP_RECORD_NAME).facts["quality"]
    assert booked == pytest.approx(correlation, abs=0.02)  # training evaluates in BF16 where the CPU has it


def test_the_bundle_answers_with_numbers_on_its_own(run: FinishedRun) -> None:
    bundle = run.path / run.verdict.bundle
    table = run.path / "06-validate/predictions-onnxruntime.csv"
    done = subprocess.run(
        [sys.executable, "-I", bundle / "run.py", "--file", table, *COLUMNS],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = np.array([float(line) for line in done.stdout.splitlines()])
    np.testing.assert_allclose(told, columns(run)["artifact"], atol=1e-4)
    with open(table, encoding="utf-8", newline="") as file:
        first = next(csv.DictReader(file))
    (answer,) = load_bundle(bundle).predict([first["text"]], [first["pair"]])
    assert answer.score == pytest.approx(told[0], abs=1e-4)


def test_the_report_says_what_was_judged(run: FinishedRun) -> None:
    report = (run.path / "report.md").read_text(encoding="utf-8")
    assert "accuracy" not in report
    assert "pearson_spearman" in report
