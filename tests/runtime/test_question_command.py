from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from fixtures_text import write_question_bundle

from edgesmith.errors import DataError
from edgesmith.runtime import load_bundle
from edgesmith.runtime.question_command import main
from edgesmith.runtime.questions import FoundAnswer, QuestionPredictor

CONTEXT = "Nobody saw the ship. In 1843, Ada Lovelace left London for good; the letter was never found. " * 3
QUESTIONS = ("Who left London?", "When was that?")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "questions"
    write_question_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def answers(bundle) -> list[FoundAnswer]:
    with load_bundle(bundle) as predictor:
        assert isinstance(predictor, QuestionPredictor)
        return predictor.predict(QUESTIONS, [CONTEXT, CONTEXT[21:]])


@pytest.fixture
def run(bundle, capsys):
    def call(*arguments: str, code: int = 0) -> tuple[str, str]:
        assert main(arguments, bundle) == code
        return capsys.readouterr()

    return call


def test_an_answer_stands_at_its_place_in_a_context_longer_than_a_window(answers) -> None:
    for found, context in zip(answers, (CONTEXT, CONTEXT[21:]), strict=True):
        assert context[found.start : found.end] == found.answer
        assert 0 < found.probability <= 1
    assert len(CONTEXT.split()) > 32  # the bundle's windows, in tokens


def test_questions_and_contexts_are_taken_two_by_two(run, answers) -> None:
    lines = run(QUESTIONS[0], CONTEXT, QUESTIONS[1], CONTEXT[21:])[0].splitlines()
    assert lines == [found.line(is_brief=False) for found in answers]
    named = run("--question", QUESTIONS[0], "--context", CONTEXT)[0].splitlines()
    assert named == lines[:1]
    told = run("--json", QUESTIONS[0], CONTEXT)[0]
    assert json.loads(told) == asdict(answers[0])


def test_files_of_every_kind_give_one_answer_a_line(run, answers, tmp_path, monkeypatch) -> None:
    rows = [(QUESTIONS[0], CONTEXT), (QUESTIONS[1], CONTEXT[21:])]
    records = [{"id": 1, "question": question, "context": context} for question, context in rows]
    (tmp_path / "r.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    (tmp_path / "r.txt").write_text("".join(f"{question}\t{context}\n" for question, context in rows))
    with open(tmp_path / "r.csv", "w", newline="") as file:
        csv.writer(file).writerows([("q", "text"), *rows])
    wanted = "".join(f"{found.line(is_brief=True)}\n" for found in answers)
    assert run("--file", str(tmp_path / "r.jsonl"))[0] == wanted
    assert run("--file", str(tmp_path / "r.txt"))[0] == wanted
    named = ("--text-column", "q", "--pair-column", "text")
    assert run("--file", str(tmp_path / "r.csv"), *named)[0] == wanted
    content = (tmp_path / "r.txt").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))
    assert run()[0] == "".join(f"{found.line(is_brief=False)}\n" for found in answers)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["Who?"], "texts are taken two by two, and there are 1"),
        (["--question", "Who?"], "--question goes with --context"),
        (
            ["--question", "Who?", "--context", "Ada.", "more"],
            "--question goes with --context, and with no other",
        ),
        (["--context", "Ada."], "--question goes with --context"),
    ],
)
def test_slips_of_usage_are_told(bundle, capsys, arguments, problem) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments, bundle)
    assert caught.value.code == 2
    assert problem in capsys.readouterr().err


def test_what_cannot_be_answered_is_told(run, bundle) -> None:
    error = run("who " * 40, CONTEXT, code=2)[1]
    assert error.startswith("error: the question 'who who who")
    assert "takes 43 tokens with the special ones; allowed: less than 32" in error
    assert "expected a text with words" in run("Who?", " ", code=2)[1]
    with load_bundle(bundle) as predictor, pytest.raises(DataError, match="1 texts and 0 pairs"):
        predictor.predict("Who?")
