"""One whole run: what it leaves, that the pieces work on their own, and what a second call does again."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_pipeline import CHILD, ROWS, STEPS, FinishedRun, Listener, essence, forget, predictions
from rich.console import Console
from safetensors.numpy import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from edgesmith.pipeline import compress
from edgesmith.recipe import Recipe
from edgesmith.records import STEP_RECORD_NAME, Candidate, StepRecord, from_dict, read_json
from edgesmith.report.html import render_html
from edgesmith.report.load import load_run
from edgesmith.report.markdown import render_markdown
from edgesmith.report.terminal import print_report

VERDICT_KEYS = {
    "passed", "failed_budgets", "task", "metric", "teacher", "artifact", "n_test", "drop", "drop_ci95", "agreement",
    "runtime", "bundle", "size_bytes", "model_size_bytes", "baseline_size_bytes", "size_ratio", "latency_ms",
    "baseline_latency_ms", "latency_ratio", "int8_latency_ratio", "eager_latency_ratio", "bow_baseline", "threads",
    "rounds", "load_ms", "peak_rss_bytes", "wall_s",
}  # fmt: skip


def changed(recipe: Recipe, room: str, **values: object) -> Recipe:
    return replace(recipe, **{room: replace(getattr(recipe, room), **values)})


def test_the_steps_are_done_in_order(finished: FinishedRun) -> None:
    assert tuple(finished.heard.begun) == finished.heard.done == STEPS


def test_the_run_folder_holds_everything(finished: FinishedRun) -> None:
    names = {path.name for path in finished.path.iterdir()}
    files = {
        ".lock",
        "recipe.resolved.yaml",
        "environment.json",
        "candidates.json",
        "verdict.json",
        "report.md",
        "report.html",
    }
    assert names == files | {step.partition("/")[0] for step in STEPS} | {"bundle"}
    for step in STEPS:
        record = read_json(StepRecord, finished.path / step / STEP_RECORD_NAME)
        assert record.step == step.partition("/")[0][3:]
        assert record.wall_s > 0
    assert Recipe.load(finished.path / "recipe.resolved.yaml") == finished.recipe
    assert not [
        path for path in finished.path.rglob("*") if ".partial" in path.name or "checkpoint" in path.name
    ]


def test_the_verdict_says_what_it_must(finished: FinishedRun) -> None:
    written = json.loads((finished.path / "verdict.json").read_text(encoding="utf-8"))
    assert written.keys() >= VERDICT_KEYS
    verdict, bundle = finished.verdict, finished.path / written["bundle"]
    assert verdict.passed, (verdict.failed_budgets, verdict.failed_guards)
    assert (verdict.n_test, verdict.test_is_held_out) == (ROWS["test"], True)
    assert verdict.drop == pytest.approx(verdict.teacher - verdict.artifact)
    assert verdict.size_bytes == sum(file.stat().st_size for file in bundle.iterdir())
    assert verdict.model_size_bytes == (bundle / "model.onnx").stat().st_size
    assert (
        verdict.baseline_size_bytes
        == (finished.path / "00-finetune/seed-0/model/model.safetensors").stat().st_size
    )
    assert verdict.size_ratio == verdict.baseline_size_bytes / verdict.model_size_bytes > 10
    assert set(verdict.wall_s) == {step.partition("/")[0][3:] for step in STEPS}


def test_the_verdict_counts_what_the_predictions_say(finished: FinishedRun) -> None:
    rows, verdict = predictions(finished.path), finished.verdict
    assert len(rows) == ROWS["test"]
    for who in ("teacher", "artifact"):
        assert sum(row[who] == row["label"] for row in rows) / len(rows) == getattr(verdict, who)
    assert sum(row["teacher"] == row["artifact"] for row in rows) / len(rows) == verdict.agreement


def test_the_rows_with_and_without_unseen_tokens_are_all_the_test_rows(finished: FinishedRun) -> None:
    """120 English test rows, 400 training rows: some words of the former are not in the latter."""
    found = finished.verdict.coverage
    assert found and found.with_unseen and found.without_unseen
    with_unseen, without = found.with_unseen, found.without_unseen
    assert with_unseen.n >= found.test.rows_with_trimmed > 0
    assert with_unseen.n + without.n == found.test.rows == finished.verdict.n_test
    right = with_unseen.n * with_unseen.artifact + without.n * without.artifact
    assert right / finished.verdict.n_test == pytest.approx(finished.verdict.artifact)
    assert 0 < found.test.trimmed < found.test.tokens < found.test.tokens_after


def test_the_candidates_say_why(finished: FinishedRun) -> None:
    rows = json.loads((finished.path / "candidates.json").read_text(encoding="utf-8"))
    candidates = {row["name"]: from_dict(Candidate, row) for row in rows}
    assert list(candidates) == ["tiny", "small", "full"]
    assert [name for name, candidate in candidates.items() if candidate.chosen] == ["tiny"]
    assert candidates["tiny"].final_drop == finished.verdict.validation_drop
    change = "lost" if candidates["tiny"].final_drop >= 0 else "gained"
    assert candidates["tiny"].decision.startswith(f"chosen; built: {change} ")
    assert candidates["small"].decision.startswith("tried, and not built")
    assert candidates["full"].decision == "not tried: 'tiny' costs less and is expected to keep the budget"
    assert all(
        candidate.latency_is_measured and candidate.latency_ms > 0 for candidate in candidates.values()
    )


def test_the_bundle_answers_on_its_own_as_it_did_in_the_run(finished: FinishedRun, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(finished.path / finished.verdict.bundle, tmp_path / "on the device"))
    command = [
        sys.executable,
        "-I",
        str(bundle / "run.py"),
        "--file",
        str(finished.path / "06-validate/predictions-onnxruntime.csv"),
    ]
    done = subprocess.run(
        [*command, "--text-column", "text"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.splitlines() == [row["artifact"] for row in predictions(finished.path)]


def test_every_model_opens_with_from_pretrained(finished: FinishedRun) -> None:
    folders = [
        str(finished.path / step / "model")
        for step in ("00-finetune/seed-0", "02-distill/1-layers", "03-prune/tiny")
    ]
    script = """
import sys, edgesmith.models
from transformers import AutoModelForSequenceClassification, AutoTokenizer
for folder in sys.argv[1:]:
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    print(tuple(model(**tokenizer("ignore this", return_tensors="pt", return_token_type_ids=False)).logits.shape))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, *folders], env=CHILD, capture_output=True, text=True, check=True
    )
    assert done.stdout == "(1, 2)\n" * 3


def test_the_report_is_written_and_printed(finished: FinishedRun) -> None:
    run = load_run(finished.path)
    assert (finished.path / "report.md").read_text(encoding="utf-8") == render_markdown(run)
    assert (finished.path / "report.html").read_text(encoding="utf-8") == render_html(run)
    console = Console(width=120, file=io.StringIO(), record=True)
    print_report(run, console)
    printed = console.export_text()
    assert "PASS" in printed
    assert f"{finished.verdict.size_ratio:.2f}x" in printed


def test_a_second_call_does_nothing_again(copied: Path, finished: FinishedRun) -> None:
    before = {path: path.stat().st_mtime_ns for step in STEPS for path in (copied / step).rglob("*")}
    heard = Listener()
    assert compress(finished.recipe, copied, heard) == finished.verdict
    assert heard.reused == list(STEPS)
    assert {path: path.stat().st_mtime_ns for step in STEPS for path in (copied / step).rglob("*")} == before


def test_new_rounds_only_validate_again(copied: Path, recipe: Recipe, finished: FinishedRun) -> None:
    heard = Listener()
    verdict = compress(changed(recipe, "validate", rounds=2), copied, heard)
    assert heard.done == ("05-settings", "06-validate")
    assert verdict.rounds == 2
    assert essence(verdict)[3:] == essence(finished.verdict)[3:]


def test_new_calibration_rows_quantize_export_and_validate_again(copied: Path, recipe: Recipe) -> None:
    heard = Listener()
    compress(changed(recipe, "quantize", calibration_rows=8), copied, heard)
    assert heard.done == ("04-quantize/tiny", "05-export/tiny-onnxruntime", "05-settings", "06-validate")


def test_bounds_of_the_search_alone_do_nothing_again(copied: Path, recipe: Recipe) -> None:
    heard = Listener()
    compress(changed(recipe, "search", min_trials=1, max_trials=1, max_attempts=1), copied, heard)
    assert heard.done == ()
    assert not (copied / "02-distill" / "trial-small").exists()  # this run has not asked for it


def test_a_new_seed_does_everything_again(copied: Path, recipe: Recipe) -> None:
    heard = Listener(stop_at="01-analyze")
    with pytest.raises(KeyboardInterrupt):
        compress(replace(recipe, seed=1), copied, heard)
    assert heard.done == ("00-finetune/seed-1", "00-teacher")


def test_the_best_of_several_teachers_is_taken(copied: Path, recipe: Recipe) -> None:
    heard = Listener(stop_at="02-distill/trial-tiny")
    with pytest.raises(KeyboardInterrupt):
        compress(changed(recipe, "finetune", restarts=3), copied, heard)
    assert heard.done[:2] == ("00-finetune/seed-1", "00-finetune/seed-2")
    records = {
        path.parent.name: read_json(StepRecord, path)
        for path in (copied / "00-finetune").glob(f"*/{STEP_RECORD_NAME}")
    }
    reached = {name: record.facts["quality"] for name, record in records.items()}
    weights = {
        load_file(copied / "00-finetune" / name / "model/model.safetensors")["classifier.weight"].tobytes()
        for name in reached
    }
    assert len(reached) == len(weights) == 3
    analysis = read_json(StepRecord, copied / "01-analyze" / STEP_RECORD_NAME)
    assert analysis.facts["teacher_validation_quality"] == max(reached.values())
    (line,) = [line for line in heard.lines if line.startswith("the teacher is that of")]
    assert reached[line.split()[5].rstrip(",")] == max(reached.values())


def test_the_teachers_answers_are_written_down(finished: FinishedRun, data: Path) -> None:
    table = load_file(finished.path / "00-teacher/logits.safetensors")["logits"]
    folder = finished.path / "00-finetune/seed-0/model"
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with open(data / "train.csv", encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:20]
    with torch.no_grad():
        expected = [
            model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=48)).logits[0].numpy()
            for text in texts
        ]
    np.testing.assert_allclose(table[:20], np.stack(expected), atol=0.05)  # BF16 where the processor has it


def test_answers_over_their_bound_are_not_written_down(copied: Path, recipe: Recipe) -> None:
    heard = Listener(stop_at="01-analyze")
    with pytest.raises(KeyboardInterrupt):
        compress(changed(recipe, "distill", table_bytes=100), copied, heard)
    assert heard.begun == ["00-finetune/seed-0"]
    assert any("bytes, more than distill.table_bytes, 100:" in line for line in heard.lines)


def test_new_data_does_everything_again(copied: Path, recipe: Recipe, tmp_path: Path) -> None:
    data = Path(shutil.copytree(recipe.data.path, tmp_path / "data"))
    with open(data / "test.csv", "a", encoding="utf-8") as file:
        file.write("one more row,0\n")
    heard = Listener(stop_at="01-analyze")
    with pytest.raises(KeyboardInterrupt):
        compress(changed(recipe, "data", path=str(data)), copied, heard)
    assert heard.done == ("00-finetune/seed-0", "00-teacher")
    assert not (copied / "verdict.json").exists()  # it was another run's


def test_the_same_seed_gives_the_same_artifact(copied: Path, finished: FinishedRun) -> None:
    stays = ("01-analyze", "05-export/baseline-onnxruntime")  # slow, and no weight depends on them
    again = tuple(step for step in STEPS if step not in stays)
    forget(copied, again)
    heard = Listener()
    verdict = compress(finished.recipe, copied, heard)
    assert heard.done == again
    assert predictions(copied) == predictions(finished.path)
    assert essence(verdict)[3:] == essence(finished.verdict)[3:]


def test_a_hub_model_is_read_from_its_cache(headed: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--org--tiny"
    shutil.copytree(headed, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    script = "from edgesmith.pipeline.bench import model_folder; print(model_folder('org/tiny'))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=CHILD | {"HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == repository / "snapshots" / "abc"
