"""How long one call takes, and how fast memory is copied: what `edgesmith targets calibrate` weighs a machine by."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from edgesmith.measure.latency import gc_paused

WARMUP = 3
MIN_RUNS, MAX_RUNS = 5, 200

COPY_BYTES = 256_000_000
"""Of each of the two arrays: more than the caches of the devices meant here hold."""


def median_s(run: Callable[[], object], *, budget_s: float = 0.15) -> float:
    """Median seconds of a call.

    Args:
        budget_s: that its timed runs take together, of which there are at least 5 and at most 200.
    """
    with gc_paused():
        for _ in range(WARMUP):
            run()
        taken: list[float] = []
        while len(taken) < MIN_RUNS or (sum(taken) < budget_s and len(taken) < MAX_RUNS):
            begin = time.perf_counter()
            run()
            taken.append(time.perf_counter() - begin)
    return float(np.median(taken))


def copy_bytes_s(threads: int, *, size_bytes: int = COPY_BYTES) -> float:
    """Bytes a second that `threads` threads read and write together as they copy one array to another."""
    source = np.ones(size_bytes, np.uint8)
    copy = np.zeros_like(source)
    parts = list(zip(np.array_split(copy, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        taken = median_s(lambda: list(pool.map(lambda pair: np.copyto(*pair), parts)))
    return 2 * size_bytes / taken
