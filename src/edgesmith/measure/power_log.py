"""What a power meter wrote down: a CSV with the time and either the power, or voltage and current."""

from __future__ import annotations

import csv
import datetime
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgesmith.errors import DataError

UNITS = {
    "power": {"": 1.0, "w": 1.0, "mw": 1e-3, "uw": 1e-6},
    "voltage": {"": 1.0, "v": 1.0, "mv": 1e-3, "uv": 1e-6},
    "current": {"": 1.0, "a": 1.0, "ma": 1e-3, "ua": 1e-6},
}
"""Quantity -> its units, in watts, volts and amperes; a column that names none is taken to be in these."""

_UNNAMED = {"time": "", "power": " (taken as W)", "voltage": " (taken as V)", "current": " (taken as A)"}

_NAMES = {
    "time": r"(?:date\s*)?time(?:\s*stamp)?|date",
    "power": r"power|watts?|p",
    "voltage": r"voltage|volts?|vbus|v|u",
    "current": r"current|amp(?:ere)?s?|ibus|i",
}
_COLUMN = r"(?:{names})(?:[\s_]*[\[(/_ ]\s*(?P<unit>[\w]+?)\s*[\])]?)?"

_PER_SECOND = (1, 10**3, 10**6, 10**9)
_YEAR_2000, _YEAR_2100 = 946_684_800, 4_102_444_800


@dataclass(frozen=True)
class PowerLog:
    """Samples of power.

    Attributes:
        moments: (N,) nanoseconds since 1970, increasing.
        watts: (N,)
        columns: which ones were taken for what, in words.
    """

    moments: NDArray[np.int64]
    watts: NDArray[np.float64]
    columns: str


def read_power_log(path: Path) -> PowerLog:
    """Reads what is there so far; a last line that is not finished is left out.

    Separators are commas, semicolons or tabs; numbers may have a decimal comma where it is not the separator. Times are
    seconds since 1970, or thousandths and less of them, or dates as ISO 8601 has them, of this machine's zone where they
    name none.

    Raises:
        DataError: it cannot be read, a column is lacking or is there twice, or a line holds no finite number.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "it is no UTF-8 text"
        raise DataError(f"{path}: cannot be read ({why}). Start the meter's log first.") from None
    lines = text[: text.rfind("\n") + 1].splitlines()
    if not lines:
        raise DataError(f"{path}: no header. Expected columns: time and power, or time, voltage and current.")
    separator = max(",;\t", key=lines[0].count)
    header = [name.strip() for name in next(csv.reader(lines[:1], delimiter=separator))]
    columns = _find_columns(path, header)
    moments, values = [], []
    for number, row in enumerate(csv.reader(lines[1:], delimiter=separator), 2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            if len(row) < len(header):
                raise ValueError(f"it has {len(row)} of {len(header)} columns")
            moments.append(_moment(row[columns["time"][0]].strip()))
            values.append(
                math.prod(
                    _number(row[place]) * UNITS[name][unit]
                    for name, (place, unit) in columns.items()
                    if name != "time"
                )
            )
        except ValueError as problem:
            raise DataError(f"{path}, line {number}: {problem}. Remove the line, or log again.") from None
        if len(moments) > 1 and moments[-1] <= moments[-2]:
            raise DataError(
                f"{path}, line {number}: its time is not after that of the line before. Sort the lines."
            )
    told = ", ".join(
        f"{name} from {header[place]!r}{'' if unit else _UNNAMED[name]}"
        for name, (place, unit) in columns.items()
    )
    return PowerLog(np.array(moments, np.int64), np.array(values, np.float64), told)


def _find_columns(path: Path, header: list[str]) -> dict[str, tuple[int, str]]:
    """Quantity -> place of its column, and its unit, which time tells by its values."""
    found: dict[str, tuple[int, str]] = {}
    for place, name in enumerate(header):
        for quantity, names in _NAMES.items():
            match = re.fullmatch(_COLUMN.format(names=names), name.lower())
            unit = (match["unit"] or "").replace("µ", "u").replace("μ", "u") if match else ""
            if match is None or (quantity != "time" and unit not in UNITS[quantity]):
                continue
            if quantity in found:
                taken = header[found[quantity][0]]
                raise DataError(
                    f"{path}: {taken!r} and {name!r} are both {quantity}. Leave one column of them."
                )
            found[quantity] = (place, unit)
    if "time" in found and "power" in found:
        return {name: found[name] for name in ("time", "power")}
    if {"time", "voltage", "current"} <= found.keys():
        return {name: found[name] for name in ("time", "voltage", "current")}
    raise DataError(
        f"{path}: the columns are {', '.join(map(repr, header))}; expected time and power, or time, voltage and current. "
        "Name them so, with their units, such as: time,power_w"
    )


def _moment(text: str) -> int:
    """Nanoseconds since 1970."""
    value = _as_float(text)
    if math.isnan(value):
        try:
            return round(datetime.datetime.fromisoformat(text).timestamp() * 1e9)
        except ValueError:
            pass  # told below, as any other text
    for per_second in _PER_SECOND:
        if _YEAR_2000 <= value / per_second < _YEAR_2100:
            return (
                int(text) * (10**9 // per_second) if text.isdecimal() else round(value * (1e9 / per_second))
            )
    raise ValueError(f"the time {text!r} is no date and no time since 1970, which the timed part is found by")


def _number(text: str) -> float:
    value = _as_float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is no finite number")
    return value


def _as_float(text: str) -> float:
    """NaN for what is no number."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return math.nan
