from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from edgesmith.data.inputs import load_inputs
from edgesmith.errors import DataError
from edgesmith.recipe import DataConfig


def read(path: Path, *, images: bool = False, **columns: str):
    return load_inputs(DataConfig(path=str(path), **columns), images=images)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_of_a_text_file(tmp_path: Path) -> None:
    found = read(write(tmp_path / "a.txt", "one, two\n\nthree\n"))
    assert found.rows == (("one, two", None), ("three", None))
    assert found.notes == ()


def test_labels_are_not_needed(tmp_path: Path) -> None:
    found = read(write(tmp_path / "a.csv", "text\ngood film\nbad film\n"))
    assert found.rows == (("good film", None), ("bad film", None))
    assert found.notes == ("text is column 'text' (guessed; --text-column names another).",)


def test_a_pair_is_guessed_by_name(tmp_path: Path) -> None:
    found = read(write(tmp_path / "a.csv", "premise,hypothesis,label\na b,c d,1\ne f,g h,0\n"))
    assert found.rows == (("a b", "c d"), ("e f", "g h"))
    assert len(found.notes) == 2


def test_named_columns_win(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "text,other,third\nx,y,z\nu,v,w\n")
    assert read(file, text="other").rows == (("y", None), ("v", None))
    found = read(file, text="other", pair="third")
    assert (found.rows, found.notes) == ((("y", "z"), ("v", "w")), ())
    with pytest.raises(DataError, match=r"--text-column: unknown column 'othr'\. Did you mean 'other'"):
        read(file, text="othr")


def test_of_a_folder_the_test_split_is_read(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        write(tmp_path / "data" / f"{split}.csv", f"text,label\n{split} one,0\n{split} two,1\n")
    assert read(tmp_path / "data").rows == (("test one", None), ("test two", None))
    (tmp_path / "data" / "test.csv").unlink()
    assert read(tmp_path / "data").rows[0] == ("validation one", None)


def test_words_with_tags_become_texts(tmp_path: Path) -> None:
    found = read(write(tmp_path / "a.conll", "Ada B-PER\nlives O\n\nHere O\n"))
    assert found.rows == (("Ada lives", None), ("Here", None))
    lines = [{"tokens": ["New", "York"], "ner_tags": ["B", "I"]}, {"tokens": ["So"], "ner_tags": ["O"]}]
    found = read(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines))))
    assert found.rows == (("New York", None), ("So", None))


def test_rows_without_an_input_are_counted(tmp_path: Path) -> None:
    found = read(write(tmp_path / "a.csv", 'text,label\ngood,1\n" ",0\nbad,1\n'))
    assert [text for text, _ in found.rows] == ["good", "bad"]
    assert found.notes[-1].endswith("a.csv: 1 rows without an input dropped.")
    with pytest.raises(DataError, match="no row has a cell in each of 'text'"):
        read(write(tmp_path / "b.csv", 'text,label\n" ",1\n" ",0\n'))


def test_a_number_is_no_text(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", '{"text": "one"}\n{"text": 2}\n')
    with pytest.raises(DataError, match=r"a\.jsonl, line 2, column 'text': expected a text, got int 2"):
        read(file)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("b.png", "a.jpg", "notes.txt"):
        write(tmp_path / "pictures" / name, name)
    return tmp_path / "pictures"


def test_a_flat_folder_of_images(pictures: Path) -> None:
    found = read(pictures, images=True)
    assert [image.name for image, _ in found.rows] == ["a.jpg", "b.png"]


def test_a_folder_a_class(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    pictures.rename(tmp_path / "root" / "cats")
    found = read(tmp_path / "root", images=True)
    assert [image.name for image, _ in found.rows] == ["a.jpg", "b.png"]


def test_images_of_a_table(tmp_path: Path) -> None:
    pd.DataFrame({"picture_bytes": [b"one", b"two"]}).to_parquet(tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet", images=True)
    assert found.rows == ((b"one", None), (b"two", None))
    assert found.notes == ("image is column 'picture_bytes' (guessed; --image-column names another).",)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("absent.txt", "absent.csv"):
        with pytest.raises(DataError, match=f"{name}: no such file"):
            read(tmp_path / name)
