from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from edgesmith.data import Splits, TextExamples, load_labelled, load_splits
from edgesmith.data.examples import fingerprint
from edgesmith.data.splits import find_leaks
from edgesmith.errors import DataError, UnsupportedError
from edgesmith.recipe import DataConfig


def frame(rows: int, start: int = 0, labels: tuple[Any, ...] = ("neg", "pos")) -> pd.DataFrame:
    numbers = range(start, start + rows)
    return pd.DataFrame(
        {"text": [f"text{n} of{n}" for n in numbers], "label": [labels[n % len(labels)] for n in numbers]}
    )


def load(path: Path, seed: int = 0, *, scores: bool = False, **options: Any) -> Splits:
    return load_splits(DataConfig(path=str(path), **options), seed, scores=scores)


def write_lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize(
    ("task", "train", "dev", "names"),
    [
        ("SST-2", 67349, 872, ("0", "1")),
        ("MRPC", 3667, 408, ("0", "1")),
        ("RTE", 2490, 277, ("entailment", "not_entailment")),
        ("CoLA", 8551, 1043, ("0", "1")),
    ],
)
def test_glue_opens_as_it_is(
    glue: Path,
    glue_splits: Callable[[str], Splits],
    task: str,
    train: int,
    dev: int,
    names: tuple[str, ...],
) -> None:
    splits = glue_splits(task)
    validation = min(train // 10, 6000)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (
        train - validation,
        validation,
        dev,
    )
    assert splits.label_names == names
    assert splits.test_is_held_out
    assert f"{glue / task / 'dev.tsv'} takes its place, used once at the end." in " ".join(splits.notes)


def test_stsb_is_regression(glue: Path) -> None:
    with pytest.raises(
        UnsupportedError, match=r"train\.tsv, column 'score': \S+ is a score\. Predict it with"
    ):
        load(glue / "STS-B")
    splits = load(glue / "STS-B", scores=True)
    assert splits.label_names == ("score",)
    assert (len(splits.train) + len(splits.validation), len(splits.test)) == (5749, 1500)
    assert splits.train.labels[0] == 5.0
    assert min(splits.train.labels) == 0.0
    assert find_leaks(splits.train, splits.validation) == []


def test_one_file_is_split_three_ways(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    frame(100).to_csv(path, index=False)
    splits = load(path)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (80, 10, 10)
    assert not splits.test_is_held_out
    assert splits.columns == {"text": "text", "label": "label"}
    everything = splits.train.texts + splits.validation.texts + splits.test.texts
    assert sorted(everything) == sorted(frame(100)["text"])
    assert splits.fingerprint == fingerprint(splits.train, splits.validation, splits.test)
    assert load(path) == splits
    assert load(path, seed=1).fingerprint != splits.fingerprint


def test_phrases_of_one_file_leak_nowhere(tmp_path: Path) -> None:
    rows = frame(60)
    phrases = pd.DataFrame({"text": [text.split()[0] for text in rows["text"]], "label": rows["label"]})
    pd.concat([rows, phrases]).to_csv(tmp_path / "rows.csv", index=False)
    splits = load(tmp_path / "rows.csv")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (96, 12, 12)
    for held, known in (("validation", "train"), ("test", "train"), ("test", "validation")):
        assert find_leaks(getattr(splits, known), getattr(splits, held)) == []


def test_three_files_are_taken_as_they_are_and_their_leaks_counted(tmp_path: Path) -> None:
    for name, rows in (("train", frame(40)), ("val", frame(10, start=38)), ("test", frame(6, start=60))):
        rows.to_json(tmp_path / f"{name}.jsonl", orient="records", lines=True)
    splits = load(tmp_path)
    assert splits.train.texts == tuple(frame(40)["text"])
    assert splits.validation.texts == tuple(frame(10, start=38)["text"])
    assert splits.test.labels == (0, 1, 0, 1, 0, 1)
    assert splits.test_is_held_out
    assert splits.notes[-2:] == (
        "validation: 2 of 10 rows are contained in a training row; all are kept, as provided.",
        "test: 0 of 6 rows are contained in a training row; all are kept, as provided.",
    )


def test_train_and_test_without_validation(tmp_path: Path) -> None:
    frame(50).to_csv(tmp_path / "train.csv", index=False)
    frame(8, start=50).to_csv(tmp_path / "test.csv", index=False)
    splits = load(tmp_path, validation_rows=7)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (43, 7, 8)
    assert splits.test_is_held_out


@pytest.mark.parametrize(
    "test",
    [
        pd.DataFrame({"text": ["a", "b"], "label": [-1, -1]}),
        pd.DataFrame({"index": [0, 1], "sentence": ["a", "b"]}),
    ],
    ids=["all -1", "no label column"],
)
def test_a_test_split_without_labels_is_ignored(tmp_path: Path, test: pd.DataFrame) -> None:
    frame(50, labels=(0, 1)).to_parquet(tmp_path / "train.parquet")
    frame(10, start=50, labels=(0, 1)).to_parquet(tmp_path / "dev.parquet")
    test.to_parquet(tmp_path / "test.parquet")
    splits = load(tmp_path)
    assert splits.test.texts == tuple(frame(10, start=50)["text"])
    assert f"{tmp_path / 'test.parquet'} has no labels and is ignored." in splits.notes


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (("b", "a"), ("a", "b")),
        ((10, 9), ("9", "10")),
        ((True, False), ("False", "True")),
        ((-1, 0, 1), ("-1", "0", "1")),
        ((1.0, 0.0), ("0", "1")),
    ],
)
def test_labels_of_any_type_become_class_indices(
    tmp_path: Path, labels: tuple[Any, ...], names: tuple[str, ...]
) -> None:
    frame(60, labels=labels).to_parquet(tmp_path / "rows.parquet")
    splits = load(tmp_path / "rows.parquet")
    assert splits.label_names == names
    by_text = dict(zip(splits.train.texts, splits.train.labels, strict=True))
    for text, label in zip(*frame(60, labels=labels).to_dict("list").values(), strict=True):
        if text in by_text:
            assert names[by_text[text]] == str(int(label) if isinstance(label, float) else label)


def test_rows_without_text_or_label_are_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    frame(40).to_csv(path, index=False)
    path.write_text(path.read_text() + " ,pos\nno label,\nnull,pos\nnan,neg\n")
    splits = load(path)
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 42
    assert f"{path}: 2 rows without text or label dropped (first: line 42)." in splits.notes
    pd.concat([frame(40, labels=(0, 1)), pd.DataFrame({"text": ["x"], "label": [None]})]).to_parquet(
        tmp_path / "rows.parquet"
    )
    splits = load(tmp_path / "rows.parquet")
    assert splits.label_names == ("0", "1")
    assert (
        f"{tmp_path / 'rows.parquet'}: 1 rows without text or label dropped (first: row 41)." in splits.notes
    )


def test_training_rows_are_sampled_with_every_class(tmp_path: Path) -> None:
    labels = ["rare" if n in (3, 70, 140) else "often" for n in range(200)]
    frame(200).assign(label=labels).to_csv(tmp_path / "train.csv", index=False)
    frame(9, start=300, labels=("rare", "often")).to_csv(tmp_path / "val.csv", index=False)
    frame(9, start=400, labels=("rare", "often")).to_csv(tmp_path / "test.csv", index=False)
    whole, sample = load(tmp_path), load(tmp_path, max_rows=16)
    assert len(sample.train) == 16
    assert set(sample.train.labels) == {0, 1}
    kept = set(sample.train.texts)
    assert sample.train == whole.train.take(i for i, text in enumerate(whole.train.texts) if text in kept)
    assert (sample.validation, sample.test) == (whole.validation, whole.test)
    assert "train: 16 of 200 rows sampled." in sample.notes
    assert load(tmp_path, max_rows=16, seed=1).train != sample.train
    assert load(tmp_path, max_rows=200) == whole


def test_few_rows_of_many_are_drawn_before_carving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10 rows are drawn for each of the 16 training, 20 validation and 20 test rows that are used."""
    monkeypatch.setattr("edgesmith.data.load._MOST_CARVED", 20)
    rows = pd.DataFrame({"text": [f"row {number}" for number in range(2000)], "label": [0, 1] * 1000})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    splits = load_splits(DataConfig(path=str(tmp_path / "rows.csv"), max_rows=16), seed=0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (16, 20, 20)
    assert f"train: {10 * (16 + 20 + 20)} of 2,000 rows sampled." in splits.notes
    assert any(note.startswith("test: 20 of 560 training rows were carved") for note in splits.notes)


def test_fewer_sampled_rows_than_classes_are_refused(tmp_path: Path) -> None:
    frame(400, labels=tuple("abcdefghijklmnopqrst")).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(DataError, match=r"data\.max_rows is 16; allowed: the 20 classes or more"):
        load(tmp_path / "rows.csv", max_rows=16, validation_rows=100)


def test_pairs_stay_together(tmp_path: Path) -> None:
    rows = [{"premise": f"p{n}", "hypothesis": f"h{n}", "label": n % 2} for n in range(40)]
    splits = load(write_lines(tmp_path / "rows.jsonl", *rows))
    assert splits.columns == {"text": "premise", "pair": "hypothesis", "label": "label"}
    for part in (splits.train, splits.validation, splits.test):
        assert part.pairs == tuple(text.replace("p", "h") for text in part.texts)
        assert part.labels == tuple(int(text[1:]) % 2 for text in part.texts)


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(path, **options)
    return str(caught.value)


def test_labels_that_training_lacks_are_named(tmp_path: Path) -> None:
    frame(20).to_csv(tmp_path / "train.csv", index=False)
    frame(6, labels=("pos", "neutral", "mixed")).to_csv(tmp_path / "dev.csv", index=False)
    assert refusal(tmp_path) == (
        f"{tmp_path / 'dev.csv'}, column 'label': labels that no training row has: 'mixed', 'neutral'. "
        "Allowed: 'neg', 'pos'."
    )


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    frame(20, labels=("pos",)).to_csv(tmp_path / "rows.csv", index=False)
    assert "column 'label': every row has the label 'pos'; two or more classes" in refusal(
        tmp_path / "rows.csv"
    )


def test_a_split_without_the_text_column_is_named(tmp_path: Path) -> None:
    frame(20).to_csv(tmp_path / "train.csv", index=False)
    frame(6).rename(columns={"text": "txt"}).to_csv(tmp_path / "dev.csv", index=False)
    message = refusal(tmp_path)
    assert message == (
        f"{tmp_path / 'dev.csv'}: unknown column 'text'. Did you mean 'txt'? Allowed: label, txt."
    )


def test_training_rows_without_labels_are_refused(tmp_path: Path) -> None:
    write_lines(tmp_path / "train.jsonl", *({"text": f"t{n}", "label": None} for n in range(4)))
    assert "train.jsonl: no row has a cell in each of 'text', 'label'." in refusal(tmp_path)


def test_a_named_column_must_exist(tmp_path: Path) -> None:
    frame(20).to_csv(tmp_path / "rows.csv", index=False)
    assert "--text-column: unknown column 'txt'. Did you mean 'text'?" in refusal(
        tmp_path / "rows.csv", text="txt"
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": 5, "label": "a"}, "line 3, column 'text': expected a text, got int 5."),
        ({"text": "x \ud800", "label": "a"}, "line 3, column 'text': character 2 is half a surrogate pair."),
        (
            {"text": "x", "label": ["a"]},
            "line 3, column 'label': expected a label (a string, an integer or a boolean)",
        ),
    ],
)
def test_a_cell_that_cannot_be_used_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    good = [{"text": "one", "label": "a"}, {"text": "two", "label": "b"}]
    assert message in refusal(write_lines(tmp_path / "rows.jsonl", *good, row))


def test_too_few_rows_name_the_data(tmp_path: Path) -> None:
    frame(2).to_csv(tmp_path / "rows.csv", index=False)
    message = refusal(tmp_path / "rows.csv")
    assert message.startswith(
        f"{tmp_path / 'rows.csv'}: no 1 test rows of 2 can be carved so that every class"
    )


def test_classes_keep_their_share_when_many_rows_are_carved(tmp_path: Path) -> None:
    frame(1000).to_csv(tmp_path / "rows.csv", index=False)
    counts = Counter(load(tmp_path / "rows.csv").validation.labels)
    assert abs(counts[0] - 50) < 4 * 5  # binomial: standard deviation sqrt(100 / 4) = 5


def labelled(path: Path, *names: str) -> TextExamples:
    return load_labelled(DataConfig(path=str(path)), names)[0]


def test_every_labelled_row_of_a_file_is_taken_whatever_its_class(tmp_path: Path) -> None:
    frame(3, labels=("pos",)).to_csv(tmp_path / "rows.csv", index=False)
    assert labelled(tmp_path / "rows.csv", "neg", "pos") == TextExamples(
        ("text0 of0", "text1 of1", "text2 of2"), None, (1, 1, 1)
    )


@pytest.mark.parametrize(
    ("splits", "taken"),
    [
        ({"train": 9, "validation": 8, "test": 7}, 7),
        ({"train": 9, "validation": 8}, 8),
        ({"train": 9}, 9),
    ],
)
def test_of_a_folder_the_labelled_split_that_is_held_out_most_is_taken(
    tmp_path: Path, splits: dict[str, int], taken: int
) -> None:
    for name, rows in splits.items():
        frame(rows).to_csv(tmp_path / f"{name}.csv", index=False)
    assert len(labelled(tmp_path, "neg", "pos")) == taken


def test_a_test_split_without_labels_is_not_taken(tmp_path: Path) -> None:
    frame(9).to_csv(tmp_path / "train.csv", index=False)
    frame(8).to_csv(tmp_path / "validation.csv", index=False)
    frame(7, labels=(-1,)).to_csv(tmp_path / "test.csv", index=False)
    assert len(labelled(tmp_path, "neg", "pos")) == 8


def test_a_label_that_the_model_does_not_know_is_named(tmp_path: Path) -> None:
    frame(6, labels=("neg", "so-so", "pos")).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(
        DataError,
        match=r"column 'label': labels that the model does not know: 'so-so'\. Allowed: 'neg', 'pos'",
    ):
        labelled(tmp_path / "rows.csv", "neg", "pos")


def scored(rows: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "text": [f"word{row} film" for row in range(rows)],
            "score": [f"{row % 7 / 2:.3f}" for row in range(rows)],
        }
    )


def test_scores_are_numbers_and_carved_and_sampled_like_classes(tmp_path: Path) -> None:
    scored(200).to_csv(tmp_path / "rows.csv", index=False)
    splits = load(tmp_path / "rows.csv", scores=True, max_rows=50)
    assert splits.label_names == ("score",)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (50, 20, 20)
    assert set(splits.train.labels) <= {0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0}
    rows, _ = load_labelled(DataConfig(path=str(tmp_path / "rows.csv")), ("score",), scores=True)
    assert rows.labels[:3] == (0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("high", r"line 5, column 'score': expected a number, got 'high'"),
        ("inf", r"line 5, column 'score': expected a number, got 'inf'"),
    ],
)
def test_a_cell_that_is_no_score_is_named(tmp_path: Path, cell: str, message: str) -> None:
    rows = scored(40)
    rows.loc[3, "score"] = cell
    rows.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "rows.csv", scores=True, label="score")


def test_equal_scores_teach_nothing(tmp_path: Path) -> None:
    scored(40).assign(score="2.5").to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(DataError, match=r"every row has the score 2\.5; nothing can be learnt"):
        load(tmp_path / "rows.csv", scores=True)
