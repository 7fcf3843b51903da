from __future__ import annotations

import io

import pandas as pd
import pytest

from edgesmith.errors import DataError
from edgesmith.runtime.rows import read_file, read_lines

TEXTS = ["plain", 'a "quoted", word', "日本語 \u2028 sep", " spaces ", "NA"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_what_pandas_writes_is_read(tmp_path, encoding):
    table = pd.DataFrame({"text": TEXTS, "other": TEXTS[::-1], "label": range(5)})
    table.to_csv(tmp_path / "d.csv", index=False, encoding=encoding)
    table.to_csv(tmp_path / "d.tsv", index=False, encoding=encoding, sep="\t", quoting=3, quotechar=None)
    table.to_json(tmp_path / "d.jsonl", orient="records", lines=True, force_ascii=False)
    for name in ("d.csv", "d.tsv", "d.jsonl"):
        assert read_file(tmp_path / name, "text", None) == [(text, None) for text in TEXTS]
        assert read_file(tmp_path / name, "text", "other") == list(zip(TEXTS, TEXTS[::-1], strict=True))


def test_csv_fields_may_hold_line_feeds(tmp_path):
    (tmp_path / "d.csv").write_text('text,label\n"two\nlines",1\n', encoding="utf-8")
    assert read_file(tmp_path / "d.csv", "text", None) == [("two\nlines", None)]


def test_tsv_has_no_quoting(tmp_path):
    (tmp_path / "d.TSV").write_text('text\tlabel\n"open quote\t1\nnext\t0\n', encoding="utf-8")
    assert read_file(tmp_path / "d.TSV", "text", None) == [('"open quote', None), ("next", None)]


def test_txt_is_a_text_a_line_in_step_with_the_file(tmp_path):
    (tmp_path / "d.txt").write_bytes("\ufeffone\r\n\r\nthree \u2028 a\n".encode())
    assert read_file(tmp_path / "d.txt", None, None) == [("one", None), ("", None), ("three \u2028 a", None)]
    (tmp_path / "p.txt").write_text("one\ttwo\n")
    assert read_file(tmp_path / "p.txt", None, None, has_pairs=True) == [("one", "two")]


def test_a_single_column_needs_no_name(tmp_path):
    (tmp_path / "d.csv").write_text("sentence\nfine\n")
    assert read_file(tmp_path / "d.csv", None, None) == [("fine", None)]


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("d.csv", b"text,label\na,1\n", "txt", "row 1: unknown column 'txt'. Did you mean 'text'"),
        (
            "d.csv",
            b"text,label\na,1\n",
            None,
            "row 1: name the column with --text-column; there are: text, label",
        ),
        ("d.csv", b"text,label\na,1\nb, c,0\n", "text", "row 2 has more fields than the header: ['0']"),
        ("d.csv", b"label,text\n1,a\n0\n", "text", "row 2, column 'text': expected a text, got None"),
        ("d.csv", b'text,label\n"a,1\n', "text", "is not valid CSV in UTF-8: unexpected end of data"),
        ("d.csv", b"text,label\n\xff,1\n", "text", "is not valid CSV in UTF-8: 'utf-8' codec can't decode"),
        ("d.jsonl", b'{"text": "a"}\n{"text": 3}\n', "text", "row 2, column 'text': expected a text, got 3"),
        ("d.jsonl", b'{"text": "a"}\n["b"]\n', "text", "row 2: expected an object, got ['b']"),
        ("d.jsonl", b'{"text": "a"\n', "text", "is not valid JSONL in UTF-8"),
        ("d.xlsx", b"", "text", "unknown file type '.xlsx'. Allowed: .csv, .jsonl, .tsv, .txt"),
        ("d.txt", b"\xff\n", None, "is not UTF-8"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path, name, content, column, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_file(path, column, None)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.csv cannot be read: No such file"):
        read_file(tmp_path / "absent.csv", "text", None)


@pytest.mark.parametrize(("line", "fields"), [("alone", 1), ("a\tb\tc", 3)])
def test_a_line_of_pairs_has_one_tab(line, fields):
    with pytest.raises(
        DataError, match=f"input, line 2 has {fields} fields; expected a text, a tab and its pair"
    ):
        list(read_lines(io.StringIO(f"a\tb\n{line}\n"), "input", has_pairs=True))
