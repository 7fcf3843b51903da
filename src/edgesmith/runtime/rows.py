"""Reads texts, or pairs of texts, from lines and from data files, with the standard library alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from edgesmith.errors import DataError, choose_from

# A text and, where the task has one, its second text.
Row = tuple[str, str | None]

# Key of the fields beyond the header's; no header has a line feed in a name of its own.
EXTRA_FIELDS = "\n"


def read_file(
    path: Path, column: str | None, pair_column: str | None, *, has_pairs: bool = False
) -> list[Row]:
    """Rows of a data file, all of them before the first answer, so that a bad row is found early.

    Args:
        path: ``.csv``, ``.tsv`` (no quoting), ``.jsonl`` (an object a line) or ``.txt`` (a text a line); UTF-8.
        column: of the text; needed where the file has more than one.
        pair_column: of the second text.
        has_pairs: a ``.txt`` line holds a text, a tab and a second text.

    Raises:
        DataError: the file cannot be read, or a row lacks a text; file, row and column are named.
    """
    kind = path.suffix.lower()
    if kind != ".txt" and kind not in RECORD_READERS:
        raise DataError(f"{path}: " + choose_from("file type", kind, [".txt", *RECORD_READERS]))
    try:
        with path.open(encoding="utf-8-sig", newline=None if kind == ".txt" else "") as file:
            if kind == ".txt":
                return list(read_lines(file, str(path), has_pairs=has_pairs))
            records = enumerate(RECORD_READERS[kind](file), start=1)
            return [_row(record, column, pair_column, f"{path}, row {number}") for number, record in records]
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror}.") from None
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as problem:
        raise DataError(f"{path} is not valid {kind[1:].upper()} in UTF-8: {problem}.") from None


def read_lines(lines: Iterable[str], source: str, *, has_pairs: bool = False) -> Iterator[Row]:
    """A row for each line, in step with the input; an empty line is an empty text.

    Raises:
        DataError: a line is not UTF-8, or with `has_pairs` has not exactly one tab.
    """
    try:
        for number, line in enumerate(lines, start=1):
            parts = line.rstrip("\r\n").split("\t") if has_pairs else [line.rstrip("\r\n")]
            if len(parts) != 1 + has_pairs:
                raise DataError(
                    f"{source}, line {number} has {len(parts)} fields; expected a text, a tab and its pair."
                )
            yield parts[0], parts[1] if has_pairs else None
    except UnicodeDecodeError as problem:
        raise DataError(f"{source} is not UTF-8: {problem}.") from None


def _read_csv(file: TextIO) -> Iterator[dict[str, Any]]:
    return csv.DictReader(file, restkey=EXTRA_FIELDS, strict=True)


def _read_tsv(file: TextIO) -> Iterator[dict[str, Any]]:
    return csv.DictReader(file, restkey=EXTRA_FIELDS, delimiter="\t", quoting=csv.QUOTE_NONE)


def _read_jsonl(file: TextIO) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in file if line.strip())


RECORD_READERS = {".csv": _read_csv, ".tsv": _read_tsv, ".jsonl": _read_jsonl}


def _row(record: dict[str, Any], column: str | None, pair_column: str | None, where: str) -> Row:
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected an object, got {record!r:.200}.")
    if EXTRA_FIELDS in record:
        raise DataError(
            f"{where} has more fields than the header: {record[EXTRA_FIELDS]!r:.200}. Is a quote missing?"
        )
    if column is None and len(record) != 1:
        raise DataError(f"{where}: name the column with --text-column; there are: {', '.join(record)}.")
    text = _text(record, column if column is not None else next(iter(record)), where)
    return text, None if pair_column is None else _text(record, pair_column, where)


def _text(record: dict[str, Any], column: str, where: str) -> str:
    if column not in record:
        raise DataError(f"{where}: " + choose_from("column", column, record))
    text = record[column]
    if not isinstance(text, str):
        raise DataError(f"{where}, column {column!r}: expected a text, got {text!r:.200}.")
    return text
