from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures_questions import PARAGRAPHS, paragraphs, squad

from edgesmith.data import Splits, TextExamples, load_question_splits, load_questions
from edgesmith.data.phrases import tokenize
from edgesmith.errors import DataError
from edgesmith.recipe import DataConfig

SQUAD = Path(__file__).parents[2].parent / "shared" / "data" / "squad"
CONTEXT = "Ada left London in 1843."


def write(path: Path, content: str) -> DataConfig:
    path.write_text(content, encoding="utf-8")
    return DataConfig(path=str(path))


def flat(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the hub has them."""
    return [
        {
            "id": asked["id"],
            "title": "Letters",
            "context": paragraph["context"],
            "question": asked["question"],
            "answers": {
                "text": [answer["text"] for answer in asked["answers"]],
                "answer_start": [answer["answer_start"] for answer in asked["answers"]],
            },
        }
        for paragraph in rows
        for asked in paragraph["qas"]
    ]


def record(**changes: object) -> str:
    answers = {"text": ["Ada"], "answer_start": [0]}
    row = {"id": "7", "question": "Who left?", "context": CONTEXT, "answers": answers} | changes
    return json.dumps(row) + "\n"


def nested(**changes: object) -> str:
    asked = {"id": "7", "question": "Who left?", "answers": [{"text": "Ada", "answer_start": 0}]} | changes
    return squad([{"context": CONTEXT, "qas": [asked]}])


def parts(splits: Splits[TextExamples]) -> tuple[TextExamples, ...]:
    return splits.train, splits.validation, splits.test


def test_every_form_says_the_same(tmp_path: Path) -> None:
    rows = paragraphs(40, seed=0)
    pq.write_table(pa.Table.from_pylist(flat(rows)), tmp_path / "rows.parquet")
    files = {
        "rows.json": squad(rows),
        "long.json": json.dumps(json.loads(squad(rows)), indent=1),
        "rows.jsonl": "".join(f"{json.dumps(row)}\n" for row in flat(rows)),
        "pairs.jsonl": "".join(
            json.dumps(asked | {"context": paragraph["context"]}) + "\n"
            for paragraph in rows
            for asked in paragraph["qas"]
        ),
    }
    configs = [write(tmp_path / name, content) for name, content in files.items()]
    configs.append(DataConfig(path=str(tmp_path / "rows.parquet")))
    found = [load_question_splits(config, seed=0) for config in configs]
    assert len({splits.fingerprint for splits in found}) == 1
    assert found[0].label_names == ("start", "end")
    assert found[0].columns == {"text": "question", "pair": "context", "label": "answers"}
    every = {
        (question, context, answers)
        for part in parts(found[0])
        for question, context, answers in zip(part.texts, part.pairs or (), part.labels, strict=True)
    }
    assert every == {
        (
            asked["question"],
            row["context"],
            tuple((one["text"], one["answer_start"]) for one in asked["answers"]),
        )
        for row in rows
        for asked in row["qas"]
    }


def test_no_context_is_in_two_splits(tmp_path: Path) -> None:
    rows = paragraphs(60, seed=0)
    rows += [{"context": f"{row['context']} More is not known.", "qas": row["qas"]} for row in rows[:20]]
    splits = load_question_splits(write(tmp_path / "rows.json", squad(rows)), seed=0)
    contexts = [{" ".join(tokenize(context)) for context in part.pairs or ()} for part in parts(splits)]
    assert all(contexts)
    for ours in contexts:
        for theirs in contexts:
            if ours is not theirs:
                assert not any(one in other for one in ours for other in theirs)
    assert sum(map(len, parts(splits))) == 3 * 80  # no question is lost


def test_a_folder_of_splits_is_taken_as_it_is(asked: Path) -> None:
    splits = load_question_splits(DataConfig(path=str(asked)), seed=0)
    assert len(splits.test) == 3 * PARAGRAPHS["dev"]
    assert splits.test_is_held_out
    assert "test: 0 of 120 rows are contained in a training row; all are kept, as provided." in splits.notes
    rows, _ = load_questions(DataConfig(path=str(asked)))
    assert rows == splits.test


def test_a_context_of_the_test_split_that_is_trained_on_is_told(tmp_path: Path) -> None:
    rows = paragraphs(40, seed=0)
    write(tmp_path / "train.json", squad(rows))
    write(tmp_path / "dev.json", squad(rows[:2]))
    splits = load_question_splits(DataConfig(path=str(tmp_path), validation_rows=6), seed=0)
    (note,) = (note for note in splits.notes if note.startswith("test: ") and "contained" in note)
    held = set(splits.validation.pairs or ())  # a context that was carved is not trained on
    leaked = sum(3 for row in rows[:2] if row["context"] not in held)
    assert note.startswith(f"test: {leaked} of 6 rows are contained")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("r.jsonl", record(answers={"text": ["ada"], "answer_start": [0]}), r"line 1: the answer 'ada' does not stand at character 0 of its context \(24 characters\), where 'Ada' is; its first place there is -1 \(-1: nowhere\)"),
        ("r.jsonl", record(answers={"text": ["London"], "answer_start": [10]}), r"where 'ondon ' is; its first place there is 9"),
        ("r.jsonl", record(answers={"text": ["1843."], "answer_start": [-5]}), "does not stand at character -5"),
        ("r.jsonl", record(answers={"text": [" "], "answer_start": [3]}), "the answer ' ' does not stand"),
        ("r.jsonl", record(answers={"text": [], "answer_start": []}), "no answer; each question needs one or more .* SQuAD 2.0"),
        ("r.jsonl", record(answers={"text": ["Ada"]}), r"expected answers, \{'text': \[...\], 'answer_start': \[...\]\}"),
        ("r.jsonl", record(answers="Ada"), r"line 1, column 'answers': expected answers, .* got str 'Ada'. CSV and TSV cannot hold them"),
        ("r.jsonl", record(context=" "), "line 1, column 'context': empty; expected a cell in each of 'question', 'context', 'answers'"),
        ("r.jsonl", record(context=3), "expected a text, got int 3. --text-column or --pair-column names another"),
        ("r.json", nested(answers=[]), "question 7, column 'answers': empty"),
        ("r.json", nested(question=""), "question 7, column 'question': empty"),
        ("r.json", nested(answers=[{"text": "Bob", "answer_start": 0}]), "r.json, question 7: the answer 'Bob' does not stand"),
        ("r.json", '{"data": [{"paragraphs": [{"context": "a"}]}]}', r"article 1: not of SQuAD's form \('qas'\); expected data > paragraphs"),
        ("r.json", '{"data": []}', "the file has no rows"),
        ("r.csv", 'question,text,answer\nWho?,Ada left.,Ada\n', "no column is called context or passage or paragraph or document. Name it with --pair-column"),
        ("r.csv", 'question,context,answers\nWho?,Ada left.,Ada\n', "CSV and TSV cannot hold them"),
    ],
)  # fmt: skip
def test_bad_rows_are_refused(tmp_path: Path, name: str, content: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        load_questions(write(tmp_path / name, content))
    assert name in str(caught.value)


def test_columns_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"q": "Who left?", "text": CONTEXT, "spans": [{"text": "Ada", "answer_start": 0}] * 2})
        + "\n"
    )
    config = DataConfig(path=str(tmp_path / "rows.jsonl"), text="q", pair="text", label="spans")
    rows, notes = load_questions(config)
    assert (rows.texts, rows.pairs, rows.labels) == (("Who left?",), (CONTEXT,), ((("Ada", 0),),))
    assert notes == ()


def test_squads_own_files_are_read() -> None:
    if not SQUAD.is_dir():
        pytest.skip(f"{SQUAD} is not there")
    rows, _ = load_questions(DataConfig(path=str(SQUAD)))
    assert len(rows) == 1190
    splits = load_question_splits(DataConfig(path=str(SQUAD)), seed=0)
    train, validation, test = (set(part.pairs or ()) for part in parts(splits))
    assert not train & validation
    assert not validation & test
    assert len(splits.train) + len(splits.validation) == 4330
