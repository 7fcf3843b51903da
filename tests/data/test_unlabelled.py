"""Texts without labels: every kind of file, what is left out, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from edgesmith.data import Splits, TextExamples, load_unlabelled, with_unlabelled
from edgesmith.data.examples import IGNORED_LABEL
from edgesmith.errors import DataError, RecipeError
from edgesmith.recipe import DataConfig, GeneralConfig, Recipe

TEXTS = [f"this is sentence number {number}" for number in range(40)]


def examples(*texts: str, pairs: tuple[str, ...] | None = None) -> TextExamples:
    return TextExamples(texts, pairs, (0,) * len(texts))


def splits(validation: TextExamples | None = None, test: TextExamples | None = None) -> Splits[TextExamples]:
    return Splits(
        train=examples("a", "b"),
        validation=validation or examples("c"),
        test=test or examples("d"),
        label_names=("0", "1"),
        columns={},
        notes=(),
        test_is_held_out=True,
        fingerprint="",
    )


def write(folder: Path, kind: str, texts: list[str]) -> Path:
    path, ids = folder / f"corpus.{kind}", range(len(texts))
    if kind == "txt":
        path.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    elif kind in ("csv", "tsv"):
        frame = pd.DataFrame({"id": ids, "sentence": texts})
        frame.to_csv(path, sep="\t" if kind == "tsv" else ",", index=False)
    elif kind == "parquet":
        pd.DataFrame({"id": ids, "sentence": texts}).to_parquet(path)
    else:
        lines = (json.dumps({"id": row, "sentence": text}) for row, text in enumerate(texts))
        path.write_text("\n".join(lines), encoding="utf-8")
    return path


def load(path: Path, given: Splits[TextExamples] | None = None, seed: int = 0, **settings: object):
    return load_unlabelled(GeneralConfig(data=str(path), **settings), given or splits(), seed)


@pytest.mark.parametrize("kind", ["txt", "csv", "tsv", "jsonl", "parquet"])
def test_every_kind_of_file_gives_the_same_texts(kind: str, tmp_path: Path) -> None:
    found = load(write(tmp_path, kind, TEXTS))
    assert len(found.train) == 36 and len(found.validation) == 4
    assert sorted(found.train.texts + found.validation.texts) == sorted(TEXTS)
    assert set(found.train.labels + found.validation.labels) == {IGNORED_LABEL}
    assert found.fingerprint == load(write(tmp_path, "txt", TEXTS)).fingerprint


def test_a_seed_says_what_is_held_out(tmp_path: Path) -> None:
    path = write(tmp_path, "txt", TEXTS)
    held = [load(path, seed=seed).validation.texts for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]
    assert load(path).fingerprint != load(path, seed=1).fingerprint


def test_rows_can_be_bounded(tmp_path: Path) -> None:
    found = load(write(tmp_path, "txt", TEXTS), max_rows=20, validation_rows=5)
    assert (len(found.train), len(found.validation)) == (15, 5)
    assert any("20 of 40 texts sampled" in note for note in found.notes)


def test_a_column_is_guessed_and_said_or_named(tmp_path: Path) -> None:
    path = tmp_path / "corpus.csv"
    frame = pd.DataFrame({"body": TEXTS, "summary": [text.upper() for text in TEXTS]})
    frame.to_csv(path, index=False)
    guessed = load(path)
    assert f"{path}: text is column 'body' (guessed; distill.general.text names another)." in guessed.notes
    assert all(text.isupper() for text in load(path, text="summary").train.texts)
    with pytest.raises(
        DataError, match=r"distill.general.text: unknown column 'sumary'. Did you mean 'summary'"
    ):
        load(path, text="sumary")


def test_a_column_that_cannot_be_guessed_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "corpus.csv"
    pd.DataFrame({"left": TEXTS, "right": TEXTS}).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"Name it with distill.general.text. Columns: 'left', 'right'"):
        load(path)


def test_equal_texts_and_those_that_decide_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "txt", [*TEXTS, TEXTS[0], TEXTS[1], "  "])
    given = splits(examples(TEXTS[3], pairs=(TEXTS[4],)), examples(TEXTS[5]))
    found = load(path, given)
    texts = found.train.texts + found.validation.texts
    assert sorted(texts) == sorted(set(TEXTS) - {TEXTS[3], TEXTS[4], TEXTS[5]})
    assert f"{path}: 2 texts that stand there again left out." in found.notes
    assert f"{path}: 3 texts of the task's own splits left out." in found.notes


@pytest.mark.parametrize("content", ["", "\n \n\t\n", "one line\none line\n", "one\nc\nd\n"])
def test_too_few_texts_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=r"2 or more are needed. Give a file of more texts, or leave"):
        load(path)


def test_holding_out_everything_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "txt", TEXTS)
    with pytest.raises(DataError, match=r"40 different texts, .*validation_rows is 40; allowed: 1 to 39"):
        load(path, validation_rows=40)


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"corpus.txt: no such file"):
        load(tmp_path / "corpus.txt")
    with pytest.raises(DataError, match=r"is a folder; allowed: one file: .txt with a text a line, or .csv"):
        load(tmp_path)
    (tmp_path / "corpus.docx").write_bytes(b"PK")
    with pytest.raises(
        DataError, match=r"distill.general.data: .*corpus.docx is of an unknown kind; allowed: one file"
    ):
        load(tmp_path / "corpus.docx")


def test_what_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_bytes("gut\nsch\u00f6n\n".encode("latin-1"))
    with pytest.raises(DataError, match="line 2: byte 0xf6 is not UTF-8"):
        load(path)


def test_a_cell_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"text": "good"}\n{"text": 7}\n')
    with pytest.raises(
        DataError, match=r"line 2, column 'text': expected a text, got int 7. distill.general.text"
    ):
        load(path)


# ---- beside the training rows


def beside(path: Path, given: Splits[TextExamples] | None = None, **settings: object) -> Splits[TextExamples]:
    return with_unlabelled(DataConfig(path="", unlabelled=str(path), **settings), given or splits())


def test_students_get_the_texts_that_stand_in_no_split(tmp_path: Path) -> None:
    given = replace(
        splits(examples(TEXTS[1]), examples(TEXTS[2], TEXTS[3])), train=examples(TEXTS[0], "other")
    )
    path = write(tmp_path, "csv", [*TEXTS, TEXTS[9]])
    found = beside(path, given)
    assert found.unlabelled == TextExamples(tuple(TEXTS[4:]), None, (IGNORED_LABEL,) * 36)
    assert (found.train, found.validation, found.test) == (given.train, given.validation, given.test)
    assert found.notes == (
        f"{path}: text is column 'sentence' (guessed; data.unlabelled_text names another).",
        f"{path}: 1 texts that stand there again left out.",
        f"{path}: 4 texts of the task's own splits left out.",
        f"{path}: 36 texts without labels, which the teacher answers.",
    )


def test_the_texts_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    found = [beside(write(tmp_path, "txt", TEXTS[:count])).fingerprint for count in (20, 21, 20)]
    assert found[0] == found[2] != found[1]
    assert with_unlabelled(DataConfig(path=""), splits()) == splits()


def test_a_named_column_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "corpus.csv"
    pd.DataFrame({"a": TEXTS, "b": [text.upper() for text in TEXTS]}).to_csv(path, index=False)
    found = beside(path, unlabelled_text="b").unlabelled
    assert found is not None
    assert all(text.isupper() for text in found.texts)
    with pytest.raises(DataError, match=r"Name it with data.unlabelled_text. Columns: 'a', 'b'"):
        beside(path)


def test_pairs_and_other_tasks_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "txt", TEXTS)
    with pytest.raises(DataError, match=r"data.unlabelled is .*corpus.txt, and rows are pairs of texts"):
        beside(path, replace(splits(), train=examples("a", pairs=("b",))))
    with pytest.raises(RecipeError, match=r"data.unlabelled is 'x'; allowed: null for image-classification"):
        Recipe(model="m", data=DataConfig(path="d", unlabelled="x"), task="image-classification")
    with pytest.raises(DataError, match=r"data.unlabelled: .* is a folder; allowed: one file"):
        beside(tmp_path)
    (tmp_path / "few.txt").write_text("one\n")
    with pytest.raises(DataError, match=r"2 or more are needed. .* or leave data.unlabelled out"):
        beside(tmp_path / "few.txt")
