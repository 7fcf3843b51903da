"""Statistics of latencies in the order they were taken, neighbours of which are alike: the machine warms up, slows down,
is disturbed for a while. Intervals come from a bootstrap that draws whole blocks of neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]

LEAST = 20
"""Observations below which no interval is given."""

BEYOND = 10
"""Observations that must lie beyond a percentile for its interval."""

CONFIDENCE = (0.025, 0.975)


class Estimate(NamedTuple):
    """A value and its 95 % interval, None where there are too few observations for one."""

    value: float
    low: float | None = None
    high: float | None = None


def block_length(series: Series) -> int:
    """Length of the blocks of a circular block bootstrap, 1 for a series whose neighbours are not alike.

    Source: Politis and White, "Automatic Block-Length Selection for the Dependent Bootstrap", Econometric Reviews 23, 2004,
    section 3, with the correction of Patton, Politis and White, 2009. The constants are theirs: c = 2, K_N = 5 lags in a
    row, at most min(3 sqrt(N), N / 3).

    Args:
        series: (N,), N > 1.
    """
    n, patience = len(series), 5
    longest = math.ceil(min(3 * math.sqrt(n), n / 3))
    lags = min(n - 1, math.ceil(math.sqrt(n)) + patience)
    covariance = _autocovariance(series, lags)  # (lags + 1,)
    if covariance[0] == 0:
        return 1
    is_small = np.abs(covariance[1:] / covariance[0]) < 2 * math.sqrt(math.log10(n) / n)
    runs = (lag for lag in range(lags - patience + 1) if is_small[lag : lag + patience].all())
    last = next(runs, lags - patience)  # the largest lag at which neighbours are alike
    window = np.arange(1, min(2 * max(last, 1), lags) + 1)  # lags 1 to M
    weight = np.minimum(1, 2 * (1 - window / len(window)))  # flat top
    long_run = covariance[0] + 2 * float(weight @ covariance[window])
    slope = 2 * float(weight @ (window * covariance[window]))
    if long_run <= 0:
        return longest
    best = (2 * slope**2 / (4 / 3 * long_run**2)) ** (1 / 3) * n ** (1 / 3)
    return min(longest, max(1, math.ceil(best)))


def percentile(series: Series, percent: float, *, resamples: int, seed: int) -> Estimate | None:
    """A percentile; None where no observation lies beyond it.

    Args:
        series: (N,) in the order taken.
    """
    beyond = len(series) * (1 - percent / 100)
    if beyond < 1:
        return None
    value = float(np.percentile(series, percent))
    if beyond < BEYOND or len(series) < LEAST:
        return Estimate(value)
    return _interval(
        value, lambda index: np.percentile(series[index], percent), series, resamples=resamples, seed=seed
    )


def ratio_of_medians(candidate: Series, reference: Series, *, resamples: int, seed: int) -> Estimate:
    """Median of the candidate over that of the reference.

    Both are drawn together, so that what slowed both down at a time does not widen the interval.

    Args:
        candidate, reference: (T,) each; index t was taken at the same time, for the same input.
    """

    def ratio(index: NDArray[np.intp] | slice) -> float:
        return float(np.median(candidate[index]) / np.median(reference[index]))

    return _interval(ratio(slice(None)), ratio, np.log(candidate / reference), resamples=resamples, seed=seed)


def drift(series: Series, *, resamples: int, seed: int) -> Estimate:
    """Median of the last third over that of the first, minus 1; each third is drawn by itself."""
    third = len(series) // 3
    if third == 0:
        return Estimate(0.0)
    parts = np.stack([series[:third], series[-third:]], axis=1)  # (third, 2)

    def change(early: Series, late: Series) -> float:
        return float(np.median(late) / np.median(early)) - 1

    value = change(*parts.T)
    if len(series) < 3 * LEAST:
        return Estimate(value)
    length = max(block_length(_ranks(part)) for part in parts.T)
    generator = np.random.default_rng(seed)
    found = [change(*(part[_draw(third, length, generator)] for part in parts.T)) for _ in range(resamples)]
    return Estimate(value, *_ends(found))


def jitter(series: Series) -> float:
    """Mean absolute difference of consecutive values, as the interarrival jitter of RFC 3550 before its smoothing."""
    return float(np.abs(np.diff(series)).mean()) if len(series) > 1 else 0.0


def _interval(
    value: float,
    statistic: Callable[[NDArray[np.intp]], float | np.floating],
    series: Series,
    *,
    resamples: int,
    seed: int,
) -> Estimate:
    """The percentile interval of a statistic of drawn indices.

    Args:
        series: (T,) whose ranks say how far neighbours are alike; ranks, because a latency has no finite tail.
    """
    if len(series) < LEAST:
        return Estimate(value)
    length, generator = block_length(_ranks(series)), np.random.default_rng(seed)
    found = [float(statistic(_draw(len(series), length, generator))) for _ in range(resamples)]
    return Estimate(value, *_ends(found))


def _draw(n: int, length: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """(n,) indices in blocks of neighbours, the first of all following the last (circular)."""
    starts = generator.integers(n, size=math.ceil(n / length))
    return ((starts[:, None] + np.arange(length)) % n).ravel()[:n]


def _ends(found: list[float]) -> tuple[float, float]:
    low, high = np.quantile(found, CONFIDENCE)
    return float(low), float(high)


def _ranks(series: Series) -> Series:
    return np.argsort(np.argsort(series, kind="stable"), kind="stable").astype(np.float64)


def _autocovariance(series: Series, lags: int) -> Series:
    """(lags + 1,) from lag 0."""
    centred = series - series.mean()
    n = len(centred)
    return np.array([float(centred[: n - lag] @ centred[lag:]) / n for lag in range(lags + 1)])
