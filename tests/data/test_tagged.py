from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures_tags import SENTENCES, conll, sentences

from edgesmith.data import load_tagged, load_tagged_splits
from edgesmith.data.phrases import tokenize
from edgesmith.errors import DataError
from edgesmith.recipe import DataConfig

NAMES = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def write(path: Path, content: str) -> DataConfig:
    path.write_text(content, encoding="utf-8")
    return DataConfig(path=str(path))


def as_jsonl(rows: list[list[tuple[str, str]]]) -> str:
    records = ({"tokens": [w for w, _ in row], "ner_tags": [t for _, t in row]} for row in rows)
    return "".join(f"{json.dumps(record)}\n" for record in records)


def test_every_format_says_the_same(tmp_path: Path) -> None:
    rows = sentences(120, seed=0)
    (tmp_path / "conll").mkdir()
    plain = [(" ".join(w for w, _ in row), " ".join(t for _, t in row)) for row in rows]
    table = pa.table(
        {"words": [[w for w, _ in row] for row in rows], "tags": [[t for _, t in row] for row in rows]}
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    files = {
        "rows.conll": conll(rows),
        "rows.jsonl": as_jsonl(rows),
        "rows.tsv": "words\ttags\n" + "".join(f"{text}\t{tags}\n" for text, tags in plain),
    }
    configs = [write(tmp_path / name, content) for name, content in files.items()]
    found = [
        load_tagged_splits(config, seed=0)
        for config in (*configs, DataConfig(path=str(tmp_path / "rows.parquet")))
    ]
    for splits in found:
        assert splits.label_names == NAMES
        assert splits.fingerprint == found[0].fingerprint
    assert {text for part in (found[0].train, found[0].validation, found[0].test) for text in part.texts} == {
        text for text, _ in plain
    }
    assert (
        dict(zip(found[0].train.texts, found[0].train.labels, strict=True)).items()
        <= {text: tuple(tags.split()) for text, tags in plain}.items()
    )


def write_numbered(path: Path, rows: list[list[tuple[str, str]]], feature: object) -> DataConfig:
    """A Parquet file with integers for tags and, as `datasets` writes them, features in its metadata."""
    table = pa.table(
        {
            "tokens": [[w for w, _ in row] for row in rows],
            "tags": [[SHUFFLED.index(t) for _, t in row] for row in rows],
        }
    )
    features = {
        "tokens": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
        "tags": feature,
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata if feature else None), path)
    return DataConfig(path=str(path))


SHUFFLED = ("I-PER", "O", "B-LOC", "B-PER", "I-LOC")
CLASSES = {"names": SHUFFLED, "_type": "ClassLabel"}


@pytest.mark.parametrize(
    "feature",
    [
        {"feature": CLASSES, "_type": "List"},
        {"feature": CLASSES, "length": -1, "id": None, "_type": "Sequence"},
        [CLASSES],
    ],
    ids=["list", "sequence", "old"],
)
def test_integers_are_tags_by_the_names_of_the_features(tmp_path: Path, feature: object) -> None:
    rows = sentences(120, seed=0)
    found = load_tagged_splits(write_numbered(tmp_path / "rows.parquet", rows, feature), seed=0)
    expected = load_tagged_splits(write(tmp_path / "rows.jsonl", as_jsonl(rows)), seed=0)
    assert found.label_names == expected.label_names == NAMES
    assert found.train.texts == expected.train.texts
    assert found.train.labels == expected.train.labels


@pytest.mark.parametrize("has_entities", [True, False])
def test_integers_without_names_are_refused(tmp_path: Path, has_entities: bool) -> None:
    rows = sentences(120, seed=0)
    record = json.dumps({"tokens": ["Ada", "slept"], "tags": [3, 0]})
    for config, place in (
        (write_numbered(tmp_path / "rows.parquet", rows, None), "row 1"),
        (
            write_numbered(
                tmp_path / "more.parquet", rows, {"feature": {"dtype": "int64", "_type": "Value"}}
            ),
            "row 1",
        ),
        (write(tmp_path / "rows.jsonl", record), r"line 1, column 'tags': tag 1 is the number 3,"),
    ):
        with pytest.raises(DataError, match=rf"{place}.*nothing names it; expected a text, .*\(ClassLabel\)"):
            load_tagged_splits(config, seed=0, has_entities=has_entities)


def test_an_integer_beyond_the_names_is_refused(tmp_path: Path) -> None:
    feature = {"feature": {"names": SHUFFLED[:3], "_type": "ClassLabel"}, "_type": "List"}
    config = write_numbered(tmp_path / "rows.parquet", [[("Ada", "I-PER"), ("slept", "B-PER")]], feature)
    with pytest.raises(
        DataError, match=r"row 1, column 'tags': tag 2 is 3; allowed: 0 to 2, .* I-PER, O, B-LOC\."
    ):
        load_tagged_splits(config, seed=0)


def test_a_test_split_whose_tags_are_all_unknown_is_left_out(tmp_path: Path) -> None:
    """-1, as the hub marks them."""
    rows = sentences(120, seed=0)
    feature = {"feature": CLASSES, "_type": "List"}
    write_numbered(tmp_path / "train.parquet", rows, feature)
    unknown = pq.read_table(tmp_path / "train.parquet").slice(0, 10)
    tags = pa.array([[-1] * len(one) for one in unknown["tags"].to_pylist()])
    pq.write_table(unknown.set_column(1, "tags", tags), tmp_path / "test.parquet")
    splits = load_tagged_splits(DataConfig(path=str(tmp_path)), seed=0)
    assert not splits.test_is_held_out
    assert any("test.parquet has no labels and is ignored" in note for note in splits.notes)


def test_carved_sentences_stand_in_no_training_sentence(tmp_path: Path) -> None:
    splits = load_tagged_splits(write(tmp_path / "rows.conll", conll(sentences(200, seed=1))), seed=0)
    train = [" ".join(tokenize(text)) for text in splits.train.texts]
    for text in (*splits.validation.texts, *splits.test.texts):
        assert not any(f" {' '.join(tokenize(text))} " in f" {other} " for other in train)


def test_a_folder_of_splits_is_taken_as_it_is(tagged: Path) -> None:
    splits = load_tagged_splits(DataConfig(path=str(tagged)), seed=0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == tuple(SENTENCES.values())
    assert splits.test_is_held_out
    rows, _ = load_tagged(DataConfig(path=str(tagged)), NAMES)
    assert rows.labels == splits.test.labels


def test_conll_files_of_four_columns_with_document_lines(tmp_path: Path) -> None:
    content = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\t\nPeter NNP B-NP B-PER\n"
    rows, _ = load_tagged(write(tmp_path / "rows.conll", content), ("O", "B-ORG", "B-PER"))
    assert rows.texts == ("EU rejects", "Peter")
    assert rows.labels == (("B-ORG", "O"), ("B-PER",))


def test_a_type_has_its_tags_for_begin_and_inside_in_any_case(tmp_path: Path) -> None:
    rows = "".join(f"Ada{number} B-PER\n{'up' * number} O\n\n" for number in range(1, 40))
    splits = load_tagged_splits(write(tmp_path / "rows.conll", rows), seed=0)
    assert splits.label_names == ("O", "B-PER", "I-PER")


def test_other_tags_go_with_another_metric(tmp_path: Path) -> None:
    rows = "".join(f"Ada{number} NOUN\n{'up' * number} ADV\n\n" for number in range(1, 40))
    config = write(tmp_path / "rows.conll", rows)
    assert load_tagged_splits(config, seed=0, has_entities=False).label_names == ("ADV", "NOUN")
    with pytest.raises(
        DataError, match=r"line 1, column 'tags': tag 1 is 'NOUN'; allowed: O, or one of B, .*tag_accuracy"
    ):
        load_tagged_splits(config, seed=0)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, r"line 1: 2 words and 1 tags \(a \.\.\. b; O \.\.\. O\); each word needs exactly one"),
        ({"tokens": ["New York"], "tags": ["B-LOC"]}, r"column 'tokens': 'New York' is no word: .*holds white space"),
        ({"tokens": [""], "tags": ["O"]}, r"'' is no word: it is empty"),
        ({"tokens": [3], "tags": ["O"]}, r"column 'tokens': expected a text, got int 3"),
        ({"tokens": 3, "tags": ["O"]}, r"expected words \(a list, or a text with spaces between them\), got int 3"),
        ({"tokens": ["a"], "tags": ["PER"]}, r"tag 1 is 'PER'; allowed: O, or one of B, I, E, S, a hyphen and a type, such as B-PER"),
        ({"tokens": ["a"], "tags": [None]}, r"tag 1 is missing; expected one for each word"),
        ({"tokens": ["a"], "tags": ["O"]}, r"every word has the tag 'O'; nothing can be learnt"),
        ({"tokens": ["a"], "quality": ["O"]}, r"the label column cannot be guessed .*--label-column"),
    ],
)  # fmt: skip
def test_bad_rows_are_refused(tmp_path: Path, record: dict[str, object], problem: str) -> None:
    config = write(tmp_path / "rows.jsonl", json.dumps(record) + "\n")
    with pytest.raises(DataError, match=problem) as caught:
        load_tagged_splits(config, seed=0)
    assert "rows.jsonl" in str(caught.value)


def test_a_word_without_a_tag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"rows.conll, line 2: 'alone' stands alone; expected a word and its tag"
    ):
        load_tagged_splits(write(tmp_path / "rows.conll", "Ada B-PER\nalone\n"), seed=0)


def test_a_type_that_no_training_row_has_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.conll", conll(sentences(60, seed=0)))
    write(tmp_path / "test.conll", "Ada B-PER\n\nACME B-ORG\n")
    with pytest.raises(
        DataError,
        match=r"test.conll, column 'tags': labels that no training row has: 'B-ORG'\. Allowed: 'O',",
    ):
        load_tagged_splits(DataConfig(path=str(tmp_path)), seed=0)
    with pytest.raises(DataError, match=r"labels that the model does not know: 'B-ORG'"):
        load_tagged(DataConfig(path=str(tmp_path)), NAMES)
