"""Peak resident memory of a command in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from edgesmith.errors import MeasureError

# A small process between us and the command. At exec the kernel carries the caller's own peak over to the child,
# so a command started from a process that holds 1 GB would be reported with 1 GB.
_WEIGHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(usage.ru_maxrss, process.returncode)
"""

_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, kilobytes on Linux
_TAIL_LINES = 5


def peak_rss_of(argv: Sequence[str]) -> int:
    """Runs a command to its end and returns its peak resident memory in bytes.

    Whatever the command loads counts, its interpreter included. The floor is about 10 MB, the size of the small
    process that starts it.

    Raises:
        MeasureError: the command cannot be started or does not exit with 0; or the system has no `os.wait4`.
    """
    if not hasattr(os, "wait4"):
        raise MeasureError(f"peak memory is measured on Linux and macOS; this system is {sys.platform!r}.")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _WEIGHER, *argv], capture_output=True, text=True, errors="replace"
    )
    report = done.stdout.split()
    if done.returncode != 0 or report[1] != "0":
        code = f"exited with {report[1]}" if done.returncode == 0 else "could not be started"
        tail = "\n".join(done.stderr.strip().splitlines()[-_TAIL_LINES:])
        raise MeasureError(
            f"peak memory: the command {' '.join(argv)!r} {code}; run it by hand. It said:\n{tail}"
        )
    return int(report[0]) * _UNIT_BYTES
