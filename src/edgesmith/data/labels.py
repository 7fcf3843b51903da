"""What a cell says: missing or not, its text, and which class a label names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from edgesmith.errors import DataError, UnsupportedError

MAX_GUESSED_CLASSES = 50  # more distinct values in a column that nobody named are scores, ids or free text

_INTEGER = re.compile(r"[+-]?\d+")


def is_missing(cell: Any) -> bool:
    """None, NaN, a string of whitespace only, or a list of nothing."""
    if isinstance(cell, list | np.ndarray):
        return len(cell) == 0
    if isinstance(cell, str):
        return not cell.strip()
    return bool(np.ndim(cell) == 0 and pd.isna(cell))


def text_of(cell: Any, where: str, option: str) -> str:
    """The text in a cell.

    Args:
        where: the cell's place in words.
        option: what names another column.

    Raises:
        DataError: it is no string, or one that cannot be written as UTF-8.
    """
    if not isinstance(cell, str):
        kind = type(cell).__name__
        raise DataError(f"{where}: expected a text, got {kind} {cell!r}. {option} names another.")
    try:
        cell.encode()
    except UnicodeEncodeError as problem:
        raise DataError(f"{where}: character {problem.start} is half a surrogate pair. Remove it.") from None
    return cell


def class_name(cell: Any) -> str | None:
    """Name of the class a label cell stands for; None where the label is missing.

    A whole float is an integer (1.0 -> ``1``): columns of integers become floats where a cell is missing.
    """
    if is_missing(cell):
        return None
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def sort_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names in the order of their class index: integers by value, other names by code point."""
    distinct = sorted(set(names))
    if all(_INTEGER.fullmatch(name) for name in distinct):
        distinct.sort(key=int)
    return tuple(distinct)


def score(cell: Any) -> float | None:
    """The number that a label cell holds; None where it is missing, no number, or not finite."""
    return None if is_missing(cell) or isinstance(cell, bool) else _number(cell)


def check_are_classes(names: tuple[str, ...], column: str, source: str, *, is_named: bool) -> None:
    """Refuses labels that are scores.

    Args:
        names: the distinct labels of the training rows.
        is_named: whether the user named the column; then any number of classes is taken at their word.

    Raises:
        UnsupportedError: the labels are fractional numbers, or too many to be classes.
    """
    place = f"{source}, column {column!r}"
    way_out = "Classification needs classes. Name a column of classes with --label-column."
    numbers = {name: number for name in names if (number := _number(name)) is not None}
    fraction = next((name for name, number in numbers.items() if not number.is_integer()), None)
    if fraction is not None and len(numbers) == len(names):
        raise UnsupportedError(
            f"{place}: {fraction} is a score. Predict it with --task text-regression. {way_out}"
        )
    if len(names) > MAX_GUESSED_CLASSES and not is_named:
        raise UnsupportedError(
            f"{place}: {len(names):,} distinct labels; more than {MAX_GUESSED_CLASSES} look like scores or ids. "
            f"{way_out} If these are classes, name this one."
        )


def _number(cell: Any) -> float | None:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
