"""One file -> one table. A text stays what stands in the file: ``null``, ``NA`` and ``nan`` are words."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from edgesmith.data.squad import SQUAD_COLUMNS, is_squad, squad_rows
from edgesmith.errors import DataError

Row = tuple[int, list[str]]  # line the record starts on, its cells

CONLL_COLUMNS = ("tokens", "tags")
"""Of the table that a .conll file becomes."""

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


@dataclass(frozen=True)
class Table:
    """A file that was read.

    Attributes:
        frame: cells as they are in the file, dtype object; an empty cell of a CSV or TSV is None. Its index
            is the 1-based line or row of each record, or the id of a question.
        source: the file, for messages.
        unit: what the index says, ``line``, ``row`` or ``question``.
        notes: what was guessed while reading.
        class_names: column -> names of the classes that its integers stand for, where the data set says so.
    """

    frame: pd.DataFrame
    source: str
    unit: str
    notes: tuple[str, ...] = ()
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        return list(self.frame.columns)

    def at(self, position: int | str) -> str:
        """The place of a record in words; `position` is a value of the frame's index."""
        return f"{self.source}, {self.unit} {position}"


def read_table(path: str | Path) -> Table:
    """Reads a .csv, .tsv, .jsonl, .json (one object a line, or SQuAD's), .parquet or .conll file.

    CSV honours double quotes. TSV is GLUE's: a quote character is a character like any other. A CSV or TSV
    whose first row holds a number, an empty cell or a frequent value of its own column has no header: its
    columns are called ``col0``, ``col1``, and so on.

    Raises:
        DataError: the file is missing, empty, not UTF-8, damaged, or has two columns of one name.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: unknown kind of file {path.suffix!r}. Allowed: {', '.join(READERS)}.")
    table = reader(path)
    if table.frame.empty:
        raise DataError(f"{path}: the file has no rows.")
    return table


def read_lines(path: str | Path) -> Table:
    """Reads a text file: a table with the one column ``text`` and a row for each line that is not blank.

    Raises:
        DataError: the file is missing, or not UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    with _opened(path, "\n") as file:
        lines = {number: line.strip() for number, line in enumerate(file, start=1)}
    texts = {number: text for number, text in lines.items() if text}
    frame = pd.DataFrame({"text": list(texts.values())}, index=list(texts), dtype=object)
    return Table(frame, str(path), "line")


@contextmanager
def _opened(path: Path, newline: str = "") -> Iterator[TextIO]:
    """The file as UTF-8 text, line ends as they are: any, or only `newline`; what is not UTF-8 is named with its line."""
    with open(path, "rb") as binary:
        start = binary.read(4096)
    if (
        start[:2] in _UTF16_MARKS or start.count(0) > len(start) // 4
    ):  # of plain UTF-16, every other byte is 0
        raise DataError(
            f"{path}: the file is UTF-16. Type: iconv -f UTF-16 -t UTF-8 {path} > utf8-{path.name}"
        )
    try:
        with open(path, encoding="utf-8-sig", newline=newline) as file:
            yield file
    except UnicodeDecodeError:
        raise DataError(_not_utf8(path)) from None


def _not_utf8(path: Path) -> str:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as problem:
                return f"{path}, line {number}: byte 0x{line[problem.start]:02x} is not UTF-8. Save the file as UTF-8."
    return f"{path}: the file is not UTF-8. Save it as UTF-8."


def _read_csv(path: Path) -> Table:
    with _opened(path) as file:
        return _delimited(path, csv.reader(file, strict=True))


def _read_tsv(path: Path) -> Table:
    with _opened(path) as file:
        return _delimited(path, csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _delimited(path: Path, reader: Any) -> Table:
    rows = _records(path, reader)
    if not rows:
        raise DataError(f"{path}: the file is empty.")
    width = len(rows[0][1])
    for line, cells in rows:
        if len(cells) != width:
            raise DataError(f"{path}, line {line}: {len(cells)} cells; the first row has {width}.")
    if _is_data(rows[0][1], [cells for _, cells in rows[1:]]):
        names = [f"col{i}" for i in range(width)]
        notes: tuple[str, ...] = (f"{path} has no header: its columns are called {names[0]} to {names[-1]}.",)
    else:
        names, rows, notes = rows[0][1], rows[1:], ()
        names[0] = names[0] or "Unnamed: 0"  # pandas writes its index without a name, and calls it so
    _check_unique(str(path), names)
    columns = {name: [cells[column] or None for _, cells in rows] for column, name in enumerate(names)}
    frame = pd.DataFrame(columns, index=[line for line, _ in rows], dtype=object)
    return Table(frame, str(path), "line", notes)


def _records(path: Path, reader: Any) -> list[Row]:
    """Records with the line they start on; blank lines are passed over."""
    rows: list[Row] = []
    start = 1
    try:
        for cells in reader:
            if cells:
                rows.append((start, cells))
            start = reader.line_num + 1
    except csv.Error as problem:
        raise DataError(f"{path}, line {start}: broken record ({problem}). Check its quotes.") from None
    return rows


def _is_data(first: list[str], rows: list[list[str]]) -> bool:
    """Whether the first row is a record and no header."""
    if any(_NUMBER.fullmatch(cell) for cell in first) or "" in first[1:] or first == [""]:
        return True
    often = max(2, len(rows) // 100)
    counts = (sum(row[i] == cell for row in rows) for i, cell in enumerate(first) if cell)
    return any(count >= often for count in counts)


def _check_unique(place: str, names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"{place}: more than one column is called {', '.join(map(repr, twice))}. Rename them."
        )


def _read_json(path: Path) -> Table:
    """SQuAD's questions, or one object a line."""
    with _opened(path, "\n") as file:
        content = _parsed(file.readline())
        if content is None:  # no object a line, but one over several
            file.seek(0)
            content = _parsed(file.read())
    if not is_squad(content):
        return _read_jsonl(path)
    frame = pd.DataFrame(squad_rows(content, str(path)), columns=list(SQUAD_COLUMNS), dtype=object)
    return Table(frame.set_index("id", drop=False), str(path), "question")


def _parsed(text: str) -> Any:
    """None for what is no JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _read_jsonl(path: Path) -> Table:
    records: list[dict[str, Any]] = []
    positions: list[int] = []
    with _opened(path, "\n") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                records.append(_json_object(path, number, line.removesuffix("\n")))
                positions.append(number)
    return Table(pd.DataFrame(records, index=positions, dtype=object), str(path), "line")


def _json_object(path: Path, number: int, line: str) -> dict[str, Any]:
    def unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
        _check_unique(f"{path}, line {number}", (key for key, _ in items))
        return dict(items)

    try:
        record = json.loads(line, object_pairs_hook=unique)
    except json.JSONDecodeError as problem:
        raise DataError(
            f"{path}, line {number}: not valid JSON ({problem.msg}, column {problem.colno}); "
            "expected one JSON object a line."
        ) from None
    if not isinstance(record, dict):
        kind = type(record).__name__
        raise DataError(f"{path}, line {number}: expected one JSON object a line, got a {kind}.")
    return record


def _read_parquet(path: Path) -> Table:
    try:
        content = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as problem:
        raise DataError(f"{path}: not a readable Parquet file ({_one_line(problem)}).") from None
    _check_unique(str(path), content.column_names)
    frame = content.to_pandas(ignore_metadata=True).astype(object)
    names = class_names(content.schema)
    return Table(frame.set_axis(range(1, len(frame) + 1)), str(path), "row", class_names=names)


def class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Column -> names of its classes by their integers, of a column of ``ClassLabel`` or of lists of it.

    The library `datasets` writes its features as JSON into the schema's metadata (``Features.arrow_schema``): a list is
    ``{"feature": ...}`` there, in old files a list of one.
    """
    content = _parsed((schema.metadata or {}).get(b"huggingface", b"").decode(errors="replace"))
    features = content.get("info", {}).get("features", {}) if isinstance(content, dict) else {}
    found = {}
    for column, feature in features.items():
        item = feature[0] if isinstance(feature, list) and feature else feature
        item = item.get("feature", item) if isinstance(item, dict) else {}
        if isinstance(item, dict) and item.get("_type") == "ClassLabel" and item.get("names"):
            found[column] = tuple(map(str, item["names"]))
    return found


def _read_conll(path: Path) -> Table:
    """A row for each sentence, with its `CONLL_COLUMNS`: lists of words and of tags.

    A line is a word and its tag, the first and the last of its fields; a blank line ends a sentence. Lines that begin
    with ``-DOCSTART-`` part documents and are passed over (CoNLL-2003 shared task).
    """
    sentences: dict[int, list[tuple[str, str]]] = {}
    start = None
    with _opened(path, "\n") as file:
        for number, line in enumerate(file, start=1):
            fields = line.split()
            if not fields or fields[0] == "-DOCSTART-":
                start = None
                continue
            if len(fields) == 1:
                raise DataError(
                    f"{path}, line {number}: {fields[0]!r} stands alone; expected a word and its tag, with white space "
                    "between them, and a blank line after each sentence."
                )
            start = number if start is None else start
            sentences.setdefault(start, []).append((fields[0], fields[-1]))
    columns = {
        name: [[pair[side] for pair in sentence] for sentence in sentences.values()]
        for side, name in enumerate(CONLL_COLUMNS)
    }
    return Table(pd.DataFrame(columns, index=list(sentences), dtype=object), str(path), "line")


def _one_line(problem: Exception) -> str:
    return " ".join(str(problem).split())


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".conll": _read_conll,
}
