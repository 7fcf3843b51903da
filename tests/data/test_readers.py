from __future__ import annotations

import csv
import json
import re
import sys
import tempfile
import tracemalloc
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesmith.data.readers import read_table
from edgesmith.errors import DataError

PROPERTY = settings(max_examples=50, deadline=None)  # no deadline: the machine may be busy
CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# A first row that names columns; the cells below must not repeat it often enough to look like its kin.
HEADER = ["column of texts", "column of labels"]
ROWS = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8).filter(
    lambda rows: not {cell for row in rows for cell in row} & set(HEADER)
)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@PROPERTY
@given(ROWS)
def test_csv_gives_back_what_the_csv_module_wrote(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([HEADER, *rows])
        table = read_table(path)
    assert table.columns == HEADER
    assert table.frame.to_numpy().tolist() == [[cell or None for cell in row] for row in rows]


@PROPERTY
@given(ROWS)
def test_jsonl_gives_back_what_json_wrote(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = [json.dumps(dict(zip(HEADER, row, strict=True)), ensure_ascii=False) for row in rows]
        table = read_table(write(Path(folder), "rows.jsonl", "\n".join(lines)))
    assert table.columns == HEADER
    assert table.frame.to_numpy().tolist() == [list(row) for row in rows]


@PROPERTY
@given(ROWS)
def test_parquet_gives_back_what_pandas_wrote(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        pd.DataFrame(rows, columns=HEADER).to_parquet(path)
        table = read_table(path)
    assert table.columns == HEADER
    assert table.frame.to_numpy().tolist() == [list(row) for row in rows]


@pytest.mark.parametrize("word", ["null", "NA", "None", "nan", "NaN", "N/A", "n/a", "-inf", "true"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
def test_words_for_nothing_stay_words(tmp_path: Path, name: str, word: str) -> None:
    separator = "," if name.endswith("csv") else "\t"
    path = write(tmp_path, name, f"text{separator}label\n{word}{separator}\n")
    assert read_table(path).frame.to_numpy().tolist() == [[word, None]]


def test_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    assert read_table(write(tmp_path, "rows.csv", "\ufefftext,label\na,b\n")).columns == ["text", "label"]


def test_tsv_takes_quotes_as_characters(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.tsv", 'text\tlabel\n"open quote\tyes\nhe said "no"\tno\n')
    assert read_table(path).frame["text"].tolist() == ['"open quote', 'he said "no"']


def test_csv_counts_lines_through_line_breaks_in_quotes(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "rows.csv", 'text,label\r\n"two\r\nlines",a\r\n\r\nlast,b\r\n'))
    assert table.frame["text"].tolist() == ["two\r\nlines", "last"]
    assert table.frame.index.tolist() == [2, 5]
    assert table.at(5) == f"{tmp_path / 'rows.csv'}, line 5"


def test_jsonl_keeps_types_and_fills_absent_keys(tmp_path: Path) -> None:
    table = read_table(
        write(tmp_path, "rows.json", '{"text": "a", "label": 1}\n\n{"text": "b\u2028", "x": true}\r\n')
    )
    assert table.frame.index.tolist() == [1, 3]
    assert table.frame.loc[1, "label"] == 1
    assert table.frame.loc[3, ["text", "x"]].tolist() == ["b\u2028", True]
    assert pd.isna(table.frame.loc[3, "label"])


def test_parquet_counts_rows_from_one_and_passes_over_a_pandas_index(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"text": ["a", "b"]}, index=[7, 8]).to_parquet(path)
    table = read_table(path)
    assert table.frame["text"].tolist() == ["a", "b"]
    assert table.at(table.frame.index[1]) == f"{path}, row 2"


@pytest.mark.parametrize(
    "content",
    [
        "gj04\t1\t\tOur friends left.\ngj04\t0\t*\tFriends our.\n",
        "fine\tpositive\nbad\tnegative\ngood\tpositive\nnice\tpositive\n",
        "1.5\ttext\n2\tmore\n",
    ],
    ids=["number and empty cell", "value of its own column", "decimal"],
)
def test_a_first_row_of_data_is_no_header(tmp_path: Path, content: str) -> None:
    table = read_table(write(tmp_path, "rows.tsv", content))
    rows = [line.split("\t") for line in content.splitlines()]
    assert table.columns == [f"col{i}" for i in range(len(rows[0]))]
    assert len(table.frame) == len(rows)
    assert table.notes == (
        f"{table.source} has no header: its columns are called col0 to {table.columns[-1]}.",
    )


def test_the_unnamed_index_of_pandas_is_a_header(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    pd.DataFrame({"text": ["a", "b"], "label": [0, 1]}).to_csv(path)
    assert read_table(path).columns == list(pd.read_csv(path).columns) == ["Unnamed: 0", "text", "label"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "text,label\na,b\nc\n", "line 3: 1 cells; the first row has 2."),
        ("rows.tsv", "text\tlabel\na\tb\tc\n", "line 2: 3 cells; the first row has 2."),
        ("rows.csv", 'text,label\na,b\n"open,b\nc,d\n', "line 3: broken record (unexpected end of data)"),
        ("rows.csv", 'text,label\n"a"b,c\n', "line 2: broken record (',' expected after '\"')"),
        ("rows.csv", "text,label,text\na,b,c\n", "more than one column is called 'text'. Rename them."),
        ("rows.csv", "", "the file is empty."),
        ("rows.csv", "text,label\n", "the file has no rows."),
        (
            "rows.csv",
            b"text,label\ngood,a\ncaf\xe9,b\n",
            "line 3: byte 0xe9 is not UTF-8. Save the file as UTF-8.",
        ),
        (
            "rows.csv",
            "text,label\nma\xf1ana,a\nno,b\n".encode("utf-16"),
            "the file is UTF-16. Type: iconv -f UTF-16 -t UTF-8 ",
        ),
        ("rows.csv", "text,label\nyes,a\nno,b\n".encode("utf-16-le"), "the file is UTF-16."),
        ("rows.jsonl", b'{"text": "a"}\n{"text": "caf\xe9"}\n', "line 2: byte 0xe9 is not UTF-8."),
        (
            "rows.csv",
            b"text,label\n" + b"a,b\n" * 50_000 + b"caf\xe9,b\n",
            "line 50002: byte 0xe9 is not UTF-8. Save the file as UTF-8.",
        ),
        ("rows.jsonl", "", "the file has no rows."),
        ("rows.jsonl", '{"text": "a"}\n{"text": \n', "line 2: not valid JSON (Expecting value, column 10)"),
        ("rows.jsonl", '["a"]\n', "line 1: expected one JSON object a line, got a list."),
        ("rows.jsonl", '{"a": 1, "a": 2}\n', "line 1: more than one column is called 'a'."),
        ("rows.parquet", "no parquet at all", "not a readable Parquet file (Parquet magic bytes not found"),
        (
            "rows.xlsx",
            "x",
            "unknown kind of file '.xlsx'. Allowed: .csv, .tsv, .jsonl, .json, .parquet, .conll.",
        ),
    ],
)
def test_a_broken_file_is_named_with_its_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    assert message in refusal(write(tmp_path, name, content))


def test_a_parquet_file_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), path)
    assert "more than one column is called 'text'" in refusal(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("task", "train", "dev", "columns"),
    [
        ("SST-2", 67349, 872, 2),
        ("MRPC", 3667, 408, 5),
        ("RTE", 2490, 277, 4),
        ("CoLA", 8551, 1043, 4),
        ("STS-B", 5749, 1500, 10),
    ],
)
def test_glue_files_have_their_published_rows(
    glue: Path, task: str, train: int, dev: int, columns: int
) -> None:
    for split, rows in (("train", train), ("dev", dev)):
        path = glue / task / f"{split}.tsv"
        table = read_table(path)
        assert table.frame.shape == (rows, columns)
        lines = [line for line in re.split("\r?\n", path.read_text(encoding="utf-8-sig")) if line]
        assert [cell or "" for cell in table.frame.iloc[-1]] == lines[-1].split("\t")


def test_a_file_is_read_without_a_copy_of_its_text(tmp_path: Path) -> None:
    """4 MB of 10,000 rows: their cells, and little more; a decoded copy alone would be another 4 MB."""
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{row:0400d}x,{row % 2}\n" for row in range(10_000)))
    tracemalloc.start()
    try:
        table = read_table(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    cells = sum(sys.getsizeof(text) for text in table.frame["text"])
    records = 10_000 * (sys.getsizeof([0, 0]) + sys.getsizeof((0, 0)) + sys.getsizeof(10_000))
    assert peak < cells + 2 * records + 1_000_000


def test_names_of_classes_come_with_the_features_that_datasets_writes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")
    tags = datasets.ClassLabel(names=["O", "B-PER"])
    features = {
        "words": [datasets.Value("string")],
        "tags": [tags],
        "label": tags,
        "id": datasets.Value("int64"),
    }
    rows = datasets.Dataset.from_dict(
        {"words": [["Ada"]], "tags": [[1]], "label": [0], "id": [7]}, features=datasets.Features(features)
    )
    rows.to_parquet(tmp_path / "rows.parquet")
    assert read_table(tmp_path / "rows.parquet").class_names == {
        "tags": ("O", "B-PER"),
        "label": ("O", "B-PER"),
    }
