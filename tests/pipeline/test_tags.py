"""A whole run on named entities, from .conll files to the tags and entities that ``run.py`` prints."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from fixtures_pipeline import CHILD, FinishedRun, Listener, add_litert, predictions
from fixtures_tags import SENTENCES, sentences

from edgesmith.cli.evaluation import evaluate_bundle
from edgesmith.errors import RecipeError
from edgesmith.pipeline import compress
from edgesmith.pipeline.tasks import open_task
from edgesmith.recipe import DataConfig, Recipe
from edgesmith.records import SilentProgress
from edgesmith.runtime.judge import Judge
from edgesmith.runtime.tokens import as_answers


@pytest.fixture(scope="module")
def tags_run(tag_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    path, heard = tmp_path_factory.mktemp("runs") / "tags", Listener()
    return FinishedRun(tag_recipe, path, compress(tag_recipe, path, heard), heard)


def run_script(finished: FinishedRun, *arguments: str) -> str:
    script = finished.path / finished.verdict.bundle / "run.py"
    return subprocess.run(
        [sys.executable, str(script), *arguments], env=CHILD, capture_output=True, text=True, check=True
    ).stdout


def test_the_verdict_is_of_entities(tags_run: FinishedRun) -> None:
    verdict = tags_run.verdict
    assert verdict.passed, (verdict.failed_budgets, verdict.failed_guards)
    assert (verdict.task, verdict.metric, verdict.n_test) == (
        "token-classification",
        "entity_f1",
        SENTENCES["test"],
    )
    assert min(verdict.teacher, verdict.artifact, verdict.agreement) > 0.9  # a list of names does as well
    assert verdict.mcnemar_p is None
    assert verdict.drop_ci95[0] <= verdict.drop <= verdict.drop_ci95[1]
    assert verdict.size_ratio > 10


def test_the_f1_is_that_of_the_predictions(tags_run: FinishedRun) -> None:
    rows, judge = predictions(tags_run.path), Judge.of("token-classification")
    columns = {
        name: as_answers([tuple(row[name].split(" ")) for row in rows])
        for name in ("label", "teacher", "artifact")
    }
    truth = [[tag for _, tag in row] for row in sentences(SENTENCES["test"], seed=2)]
    assert [list(tags) for tags in columns["label"]] == truth
    for who in ("teacher", "artifact"):
        assert judge.quality(columns[who], columns["label"]) == getattr(tags_run.verdict, who)


def test_run_py_tags_the_test_rows_again_and_finds_entities(tags_run: FinishedRun, tmp_path) -> None:
    rows = predictions(tags_run.path)
    assert any(len(row["text"].split()) > 14 for row in rows)  # longer than a window of 16
    (tmp_path / "rows.txt").write_text("".join(f"{row['text']}\n" for row in rows), encoding="utf-8")
    tags = run_script(tags_run, "--words", "--file", str(tmp_path / "rows.txt"))
    assert tags.splitlines() == [row["artifact"] for row in rows]
    text = "Nobody saw the ship. Did Alan Turing live in Paris?"
    (line,) = run_script(tags_run, "--json", text).splitlines()
    for entity in json.loads(line)["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]
        assert entity["label"] in ("PER", "LOC")
        assert 0 < entity["probability"] <= 1


def test_litert_is_added_to_a_finished_run(tags_run: FinishedRun, tmp_path) -> None:
    litert = add_litert(tags_run, tmp_path)
    assert litert.verdict.artifact == pytest.approx(tags_run.verdict.artifact, abs=0.1)
    rows = predictions(litert.path, "litert")
    (tmp_path / "rows.txt").write_text("".join(f"{row['text']}\n" for row in rows), encoding="utf-8")
    tags = run_script(litert, "--words", "--file", str(tmp_path / "rows.txt"))
    assert tags.splitlines() == [row["artifact"] for row in rows]


def test_evaluate_gives_every_metric(tags_run: FinishedRun, tagged) -> None:
    found = evaluate_bundle(
        tags_run.path / tags_run.verdict.bundle, DataConfig(path=str(tagged)), SilentProgress()
    )
    assert found.n == SENTENCES["test"]
    assert found.metrics["entity_f1"] == tags_run.verdict.artifact
    assert found.metrics["tag_accuracy"] >= found.metrics["entity_f1"]


def test_what_does_not_go_is_refused_at_once(tag_recipe: Recipe) -> None:
    rare = replace(tag_recipe.prune, min_token_count=2)
    cases = (
        (replace(tag_recipe, prune=rare), RecipeError, r"prune\.min_token_count is 2; allowed for token-classification: 1"),
        (replace(tag_recipe, model="tinybert-4"), RecipeError, "tinybert-4 is a model of the zoo"),
    )  # fmt: skip
    for recipe, error, problem in cases:
        with pytest.raises(error, match=problem):
            open_task(recipe)
