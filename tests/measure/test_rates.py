"""A call's median and a copy's rate, against calls and copies whose time is known."""

from __future__ import annotations

import time

import pytest

from edgesmith.measure.rates import MIN_RUNS, WARMUP, copy_bytes_s, median_s


def test_the_median_of_a_call_is_what_it_takes() -> None:
    calls: list[float] = []

    def run() -> None:
        calls.append(0.0)
        time.sleep(0.01)

    assert 0.01 <= median_s(run, budget_s=0.0) < 1
    assert len(calls) == WARMUP + MIN_RUNS


def test_one_slow_call_does_not_move_it() -> None:
    calls: list[int] = []

    def run() -> None:
        calls.append(1)
        time.sleep(1 if len(calls) == WARMUP + 2 else 0.001)

    assert median_s(run, budget_s=0.0) < 0.5


@pytest.mark.parametrize("threads", [1, 2])
def test_a_copy_has_a_rate_that_memory_can_have(threads: int) -> None:
    assert 1e7 < copy_bytes_s(threads, size_bytes=1_000_001) < 1e12
