"""The bench as a board runs it: the code of a local one, started over a connection that tells what it says.

It needs numpy, what reads the inputs, and the runtime. Where the connection ends before it does, so does the bench.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from edgesmith.errors import EdgesmithError
from edgesmith.measure.bench import bench_opened, open_bundles
from edgesmith.records import SilentProgress, to_dict

JOB = "job.pickle"
"""File in the folder: names of the bundles' folders, what each is asked, and the `BenchConfig`."""

MARK = "edgesmith:"
"""Opens a line that is meant for us; a login may print lines of its own."""


class _Listener(SilentProgress):
    def say(self, text: str) -> None:
        _tell(say=text)


def main(arguments: Sequence[str]) -> None:
    """Benches what lies in a folder.

    Args:
        arguments: the folder.
    """
    folder = Path(arguments[0])
    threading.Thread(target=_end_with_connection, args=(folder,), daemon=True).start()
    names, asked, config = pickle.loads((folder / JOB).read_bytes())
    try:
        found = bench_opened(open_bundles([folder / name for name in names]), asked, config, _Listener())
    except EdgesmithError as error:
        _tell(error=type(error).__name__, text=str(error))
    else:
        _tell(bench=to_dict(found))


def _tell(**told: object) -> None:
    print(MARK + json.dumps(told), flush=True)


def _end_with_connection(folder: Path) -> None:
    """Waits for the end of standard input, which nothing is written to, and takes process and folder away."""
    while os.read(0, 1024):  # not sys.stdin, whose lock would be held when Python ends
        pass
    os.execvp(
        "rm", ["rm", "-rf", str(folder)]
    )  # in the place of this process, which writes nothing more then


if __name__ == "__main__":
    main(sys.argv[1:])
