"""What a fresh process does until its first answer, and when: `measure.cold_start` runs it."""

from __future__ import annotations

import json
import pickle
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edgesmith.runtime.load import load_bundle


def main(arguments: Sequence[str]) -> None:
    """Opens a bundle, answers one input, and writes the moments of it.

    Args:
        arguments: folder of the bundle, threads, file of the pickled input and its second text, file for the moments,
            which are nanoseconds of the system's monotonic clock.
    """
    bundle, threads, row, report = arguments
    moments = {"imported": time.monotonic_ns()}
    with load_bundle(bundle, threads=int(threads)) as predictor:
        moments["loaded"] = time.monotonic_ns()
        predictor.predict(*pickle.loads(Path(row).read_bytes()))
        moments["answered"] = time.monotonic_ns()
    Path(report).write_text(json.dumps(moments), encoding="ascii")


if __name__ == "__main__":
    main(sys.argv[1:])
