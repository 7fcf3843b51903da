"""Files as power meters write them."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest

from edgesmith.errors import DataError
from edgesmith.measure.power_log import read_power_log

T0 = 1_790_000_000
"""Seconds since 1970: September 2026."""


def log(folder: Path, text: str) -> Path:
    path = folder / "meter.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        (f"time,power\n{T0}.0,2.5\n{T0}.5,3\n", "time from 'time', power from 'power' (taken as W)"),
        (
            f"\ufeffTimestamp(ms),Power(mW),Energy(mWh)\n{T0}000,2500,1\n{T0}500,3000,1\n",
            "time from 'Timestamp(ms)', power from 'Power(mW)'",
        ),
        (
            f"time;voltage_v;current_ma\n{T0},0;5,0;500\n{T0},5;5,0;600,0\n",
            "time from 'time', voltage from 'voltage_v', current from 'current_ma'",
        ),
        (
            f"Time [us]\tVBUS [V]\tIBUS [A]\n{T0}000000\t5\t0.5\n{T0}500000\t5\t0.6\n",
            "time from 'Time [us]', voltage from 'VBUS [V]', current from 'IBUS [A]'",
        ),
        (
            f"time,U (V),I (A),P (W)\n{T0}000000000,9,9,2.5\n{T0}500000000,9,9,3\n",
            "time from 'time', power from 'P (W)'",
        ),
    ],
)
def test_layouts_of_the_same_samples(text: str, columns: str, tmp_path: Path) -> None:
    found = read_power_log(log(tmp_path, text))
    assert found.moments.tolist() == [T0 * 10**9, T0 * 10**9 + 5 * 10**8]
    np.testing.assert_allclose(found.watts, [2.5, 3.0])
    assert found.columns == columns


def test_dates_are_of_their_zone_or_of_this_machines(tmp_path: Path) -> None:
    text = "Date Time,Power/W\n2026-09-21T14:13:20Z,1\n2026-09-21 16:13:21+02:00,1\n"
    assert read_power_log(log(tmp_path, text)).moments.tolist() == [T0 * 10**9, (T0 + 1) * 10**9]
    here = datetime.datetime.fromtimestamp(T0).isoformat(sep=" ")
    assert read_power_log(log(tmp_path, f"time,power_w\n{here},1\n")).moments.tolist() == [T0 * 10**9]


def test_a_line_that_is_still_written_is_left_out(tmp_path: Path) -> None:
    assert read_power_log(log(tmp_path, f"time,power\n{T0},2\n\n{T0 + 1},1")).watts.tolist() == [2.0]
    assert read_power_log(log(tmp_path, "time,power\n")).watts.tolist() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no header. Expected columns: time and power, or time, voltage and current."),
        (
            f"time,voltage_v\n{T0},5\n",
            "the columns are 'time', 'voltage_v'; expected time and power, or time, voltage and current. Name them so",
        ),
        (f"elapsed,power\n{T0},5\n", "the columns are 'elapsed', 'power'; expected"),
        (f"time,power (dbm)\n{T0},5\n", "the columns are 'time', 'power .dbm.'; expected"),
        (f"time,power,p\n{T0},5,5\n", "'power' and 'p' are both power. Leave one column of them."),
        (f"time,power\n{T0},1\n{T0 + 1},nan\n", "line 3: 'nan' is no finite number. Remove the line"),
        (f"time,power\n{T0},\n", "line 2: '' is no finite number"),
        (f"time,power\n{T0}\n", "line 2: it has 1 of 2 columns"),
        ("time,power\n0.5,1\n", "line 2: the time '0.5' is no date and no time since 1970"),
        ("time,power\nnan,1\n", "line 2: the time 'nan' is no date"),
        (f"time,power\n{T0},1\n{T0},1\n", "line 3: its time is not after that of the line before."),
    ],
)
def test_what_cannot_be_used_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = log(tmp_path, text)
    with pytest.raises(DataError, match=f"^{path}(:|, ).*{message}"):
        read_power_log(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.csv: cannot be read \(No such file or directory\). Start the"):
        read_power_log(tmp_path / "none.csv")
