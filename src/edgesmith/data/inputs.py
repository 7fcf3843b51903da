"""The inputs of rows whose labels, if they have any, do not matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.data.columns import choose_input_columns
from edgesmith.data.image_folders import SUFFIXES, find_image_tables
from edgesmith.data.labels import is_missing, text_of
from edgesmith.data.load import read_image
from edgesmith.data.readers import Table, read_lines
from edgesmith.data.sources import find_tables
from edgesmith.errors import DataError
from edgesmith.recipe import DataConfig


@dataclass(frozen=True)
class Inputs:
    """What a model is asked.

    Attributes:
        rows: inputs, texts or images, each with its second text where there is one.
        notes: what was guessed.
    """

    rows: tuple[tuple[Any, str | None], ...]
    notes: tuple[str, ...]


def load_inputs(config: DataConfig, *, images: bool) -> Inputs:
    """Every input of a file, or of a folder's test split (else its validation split, else its training split).

    Args:
        config: names the file, a ``.txt`` with a text a line included, or the folder, a flat one of images included; and
            perhaps the columns. Where no text is named, a second text is guessed by name.
        images: whether inputs are images.

    Raises:
        DataError: with the file and the row or column, and what to do.
        MissingExtraError: a hub dataset, and `datasets` is not installed.
    """
    path = Path(config.path).expanduser()
    if images and path.is_dir() and (files := _image_files(path)):
        return Inputs(tuple((file, None) for file in files), ())
    if path.suffix.lower() == ".txt" and not images:
        return _texts(read_lines(path), ("text",), ())
    tables = find_image_tables(config.path) if images else find_tables(config.path)
    table = next(tables[split] for split in ("test", "validation", "train") if split in tables)
    columns, notes = choose_input_columns(
        table, first=config.image if images else config.text, pair=config.pair, images=images
    )
    return (_images if images else _texts)(table, columns, (*table.notes, *notes))


def _image_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)


def _texts(table: Table, columns: tuple[str, ...], notes: tuple[str, ...]) -> Inputs:
    return _read(table, columns, notes, lambda cell, where: text_of(_joined(cell), where, "--text-column"))


def _images(table: Table, columns: tuple[str, ...], notes: tuple[str, ...]) -> Inputs:
    return _read(table, columns, notes, lambda cell, where: read_image(cell, table, where))


def _read(
    table: Table, columns: tuple[str, ...], notes: tuple[str, ...], read: Callable[[Any, str], Any]
) -> Inputs:
    """The rows that have a cell in each column."""
    rows = []
    for position, *cells in zip(table.frame.index, *(table.frame[name] for name in columns), strict=True):
        if not any(map(is_missing, cells)):
            places = [f"{table.at(position)}, column {name!r}" for name in columns]
            first, *second = (read(cell, place) for cell, place in zip(cells, places, strict=True))
            rows.append((first, next(iter(second), None)))
    if not rows:
        raise DataError(f"{table.source}: no row has a cell in each of {', '.join(map(repr, columns))}.")
    if dropped := len(table.frame) - len(rows):
        notes += (f"{table.source}: {dropped:,} rows without an input dropped.",)
    return Inputs(tuple(rows), notes)


def _joined(cell: Any) -> Any:
    """A list of words as a text with one space between them; anything else as it is."""
    return " ".join(map(str, cell)) if isinstance(cell, list | tuple | np.ndarray) else cell
