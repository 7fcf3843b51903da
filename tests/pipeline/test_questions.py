"""A whole run on questions, from SQuAD's files to the answers that ``run.py`` prints."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from fixtures_pipeline import CHILD, FinishedRun, Listener, add_litert, predictions
from fixtures_questions import ASKED, PARAGRAPHS, paragraphs, squad

from edgesmith.cli.evaluation import evaluate_bundle
from edgesmith.errors import DataError, RecipeError
from edgesmith.pipeline import compress, plan
from edgesmith.pipeline.tasks import open_task
from edgesmith.recipe import DataConfig, Recipe
from edgesmith.records import SilentProgress
from edgesmith.runtime.squad import normalise, word_f1


@pytest.fixture(scope="module")
def question_run(question_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    path, heard = tmp_path_factory.mktemp("runs") / "questions", Listener()
    return FinishedRun(question_recipe, path, compress(question_recipe, path, heard), heard)


def run_script(finished: FinishedRun, *arguments: str) -> str:
    script = finished.path / finished.verdict.bundle / "run.py"
    return subprocess.run(
        [sys.executable, str(script), *arguments], env=CHILD, capture_output=True, text=True, check=True
    ).stdout


def test_the_verdict_is_of_answers(question_run: FinishedRun) -> None:
    verdict = question_run.verdict
    assert verdict.passed, (verdict.failed_budgets, verdict.failed_guards)
    assert (verdict.task, verdict.metric) == ("question-answering", "squad_f1")
    assert verdict.n_test == 3 * PARAGRAPHS["dev"]
    assert verdict.teacher > 0.9
    assert verdict.artifact > 0.55 > verdict.bow_baseline  # a trial of a twentieth of its steps reaches 0.375
    assert verdict.mcnemar_p is None
    assert verdict.drop_ci95[0] <= verdict.drop <= verdict.drop_ci95[1]
    assert verdict.size_ratio > 10
    assert verdict.coverage is not None
    assert verdict.coverage.validation.trimmed >= 0


def test_f1_and_exact_match_are_those_of_the_predictions(question_run: FinishedRun, asked) -> None:
    rows = predictions(question_run.path)
    truth = [one["answers"][0]["text"] for row in paragraphs(PARAGRAPHS["dev"], seed=1) for one in row["qas"]]
    assert [row["label"] for row in rows] == truth
    f1 = [word_f1(row["artifact"], row["label"]) for row in rows]
    exact = [normalise(row["artifact"]) == normalise(row["label"]) for row in rows]
    assert sum(f1) / len(f1) == pytest.approx(question_run.verdict.artifact)
    teacher, artifact = question_run.verdict.other_metrics["exact_match"]
    assert artifact == pytest.approx(sum(exact) / len(exact))
    assert 0 < teacher <= 1
    found = evaluate_bundle(
        question_run.path / question_run.verdict.bundle, DataConfig(path=str(asked)), SilentProgress()
    )
    assert found.n == len(rows)
    assert found.metrics == {
        "squad_f1": pytest.approx(question_run.verdict.artifact),
        "exact_match": pytest.approx(sum(exact) / len(exact)),
    }


def test_run_py_gives_the_answers_again(question_run: FinishedRun, tmp_path) -> None:
    rows = predictions(question_run.path)
    lines = [json.dumps({"question": row["text"], "context": row["pair"]}) for row in rows]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    answers = run_script(question_run, "--file", str(tmp_path / "rows.jsonl"))
    assert answers.splitlines() == [row["artifact"] for row in rows]
    question, context = rows[1]["text"], rows[1]["pair"]
    told = run_script(question_run, "--question", question, "--context", context)
    answer, place, probability = told.strip("\n").split("\t")
    start, end = map(int, place.split(":"))
    assert context[start:end] == answer == rows[1]["artifact"]
    (line,) = run_script(question_run, "--json", question, context).splitlines()
    found = json.loads(line)
    assert (found["answer"], found["start"], found["end"]) == (answer, start, end)
    assert found["probability"] == pytest.approx(float(probability), abs=1e-4)
    assert 0 < found["probability"] <= 1


@pytest.mark.slow
def test_litert_is_added_to_a_finished_run(question_run: FinishedRun, tmp_path) -> None:
    litert = add_litert(question_run, tmp_path)
    assert litert.verdict.artifact == pytest.approx(question_run.verdict.artifact, abs=0.1)
    rows = predictions(litert.path, "litert")
    lines = [json.dumps({"question": row["text"], "context": row["pair"]}) for row in rows]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    answers = run_script(litert, "--file", str(tmp_path / "rows.jsonl"))
    assert answers.splitlines() == [row["artifact"] for row in rows]


def test_the_report_names_what_the_teacher_is_compared_with(question_run: FinishedRun) -> None:
    told = (question_run.path / "report.md").read_text(encoding="utf-8")
    assert "the sentence of the context with the most words of the question" in told
    assert 'run.py "question" "context"' in told
    assert "exact_match, teacher and artifact" in told


def test_plan_counts_without_training(question_recipe: Recipe) -> None:
    outlook = plan(question_recipe, SilentProgress())
    assert outlook.needs_finetuning
    assert f"6 validate: {3 * PARAGRAPHS['dev']:,} test rows, used once" in outlook.steps


def test_what_does_not_go_is_refused_at_once(question_recipe: Recipe, tmp_path) -> None:
    long = paragraphs(30, seed=3)
    long[4]["qas"][0]["question"] = ASKED["who"] * 8
    (tmp_path / "long.json").write_text(squad(long), encoding="utf-8")
    rare = replace(question_recipe.prune, min_token_count=2)
    data = DataConfig(path=str(tmp_path / "long.json"), max_length=28)
    cases = (
        (replace(question_recipe, prune=rare), RecipeError, r"prune\.min_token_count is 2; allowed for question-answering: 1"),
        (replace(question_recipe, model="tinybert-4"), RecipeError, "tinybert-4 is a model of the zoo"),
        (replace(question_recipe, data=data), DataError, r"takes 4\d tokens with the special ones; allowed: less than 28"),
    )  # fmt: skip
    for recipe, error, problem in cases:
        with pytest.raises(error, match=problem):
            open_task(recipe)
