import sys

import numpy as np
import pytest

from edgesmith.errors import MeasureError
from edgesmith.measure.memory import peak_rss_of

MB = 10**6


def python(code):
    return [sys.executable, "-I", "-S", "-c", code]


def test_an_allocation_of_200_mb_is_seen():
    idle = peak_rss_of(python("pass"))
    busy = peak_rss_of(python("data = bytearray(b'x') * 200_000_000"))
    assert busy - idle == pytest.approx(200 * MB, rel=0.05)


def test_the_peak_counts_and_not_the_end():
    peak = peak_rss_of(python("data = bytearray(b'x') * 150_000_000; del data"))
    assert peak > 150 * MB


def test_memory_of_the_caller_does_not_count():
    held = np.ones(50 * MB)  # 400 MB
    assert peak_rss_of(python("pass")) < held.nbytes / 4


def test_output_of_the_command_is_not_taken_for_the_answer():
    assert peak_rss_of(python("print('12 0')")) > 1 * MB


def test_a_command_that_fails_says_how():
    with pytest.raises(MeasureError, match=r"(?s)exited with 3; .*no such model"):
        peak_rss_of(python("import sys; print('no such model', file=sys.stderr); sys.exit(3)"))


def test_a_killed_command_fails():
    with pytest.raises(MeasureError, match="exited with -9"):
        peak_rss_of(python("import os; os.kill(os.getpid(), 9)"))


def test_a_command_that_does_not_exist():
    with pytest.raises(MeasureError, match=r"(?s)'no-such-command' could not be started.*FileNotFoundError"):
        peak_rss_of(["no-such-command"])
