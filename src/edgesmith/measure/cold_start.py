"""How long a device waits for the first answer after it starts a process, and the memory that this takes."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import edgesmith
from edgesmith.errors import MeasureError
from edgesmith.measure.inputs import Row
from edgesmith.measure.memory import peak_rss_of
from edgesmith.records import Measurement
from edgesmith.runtime.bundle import Bundle

NS_PER_MS = 1e6
_CHILD = "import sys; sys.path.insert(0, sys.argv.pop(1)); from edgesmith.runtime.first_answer import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class Start:
    """One fresh process, in milliseconds from when it was started; each includes the one before.

    Attributes:
        imported: Python and the code that opens bundles are loaded.
        loaded: the bundle is verified and open, its runtime loaded.
        answered: the first answer is there.
    """

    imported: float
    loaded: float
    answered: float


def measure_starts(bundle: Bundle, row: Row, *, threads: int, times: int) -> dict[str, Measurement]:
    """``cold_start``, ``load`` and ``first_answer``, medians over fresh processes, and ``peak_rss`` of one more.

    The bundle's files leave the system's file cache before each start where the system allows that; Python and the
    libraries stay in it.

    Raises:
        MeasureError: the process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, report = Path(folder, "row"), Path(folder, "report")
        asked.write_bytes(pickle.dumps(row))
        root = str(Path(edgesmith.__file__).parents[1])
        command = [
            sys.executable,
            "-c",
            _CHILD,
            root,
            str(bundle.path),
            str(threads),
            str(asked),
            str(report),
        ]
        starts = [_start(command, bundle, report) for _ in range(times)]
        rss_bytes = peak_rss_of(command)
    cache = (
        "the system was asked to drop its files from the cache" if _can_forget() else "its files in the cache"
    )
    method = f"median over fresh processes, {cache}"
    parts = {
        "cold_start": [start.answered for start in starts],
        "load": [start.loaded - start.imported for start in starts],
        "first_answer": [start.answered - start.loaded for start in starts],
    }
    found = {
        name: Measurement(name=name, value=median(values), unit="ms", n=times, method=method)
        for name, values in parts.items()
    }
    found["peak_rss"] = Measurement(
        name="peak_rss", value=rss_bytes, unit="bytes", n=1, method="a fresh process up to its first answer"
    )
    return found


def _start(command: list[str], bundle: Bundle, report: Path) -> Start:
    _forget(bundle)
    begin = time.monotonic_ns()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        tail = done.stderr.strip().splitlines()[-1:]
        raise MeasureError(
            f"a fresh process that opens {bundle.path} exited with {done.returncode}: {' '.join(tail)}"
        )
    moments = json.loads(report.read_text(encoding="ascii"))
    return Start(**{name: (moment - begin) / NS_PER_MS for name, moment in moments.items()})


def _can_forget() -> bool:
    return hasattr(os, "posix_fadvise")


def _forget(bundle: Bundle) -> None:
    """Asks the system to drop the bundle's files from its file cache; files that others use stay."""
    if not _can_forget():
        return
    for entry in bundle.manifest.files:
        with (bundle.path / entry.path).open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
