"""Statistics of latencies in the order they were taken, neighbours of which are alike: the machine warms up, slows down,
is disturbed for a while. Intervals of one session come from a bootstrap that draws whole blocks of neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]

LEAST = 50
"""Observations below which no interval is given: of fewer, the likeness of neighbours cannot be told."""

BEYOND = 10
"""Observations that must lie beyond a percentile for its interval."""

FEWEST, MOST_DRAWN = 100, 50_000_000
"""Resamples at least, and values that all of them draw together: of a series of 100,000 there are 500."""

CONFIDENCE = (0.025, 0.975)

STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's distribution, of 1 degree of freedom on: a board has no scipy."""

MOST_OPENINGS = len(STUDENT) + 1


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
    best: float = (2 * slope**2 / (4 / 3 * long_run**2)) ** (1 / 3) * n ** (1 / 3)
    return min(longest, max(1, math.ceil(best)))


def percentiles(
    series: Series, percents: Sequence[float], *, resamples: int, seed: int
) -> dict[float, Estimate]:
    """The median and those percentiles that an observation lies beyond, with an interval where `BEYOND` of them do.

    Args:
        series: (N,) in the order taken.
        percents: 0 to 100.
    """
    beyond = {percent: round(len(series) * (1 - percent / 100), 6) for percent in percents}
    told = [percent for percent in percents if percent <= 50 or beyond[percent] >= 1]
    values = np.percentile(series, told)
    if len(series) < LEAST:
        return {percent: Estimate(float(value)) for percent, value in zip(told, values, strict=True)}
    length = _length(series)
    drawn = _resample(length, len(series), resamples, seed)
    ends = _ends([np.percentile(series[index], told) for index in drawn])
    return {
        percent: Estimate(float(value), *(pair if beyond[percent] >= BEYOND else ()))
        for percent, value, pair in zip(told, values, ends, strict=True)
    }


def ratio_of_medians(candidate: Series, reference: Series, opening: NDArray[np.int64]) -> Estimate:
    """Median of the candidate over that of the reference: the geometric mean over openings, and Student's interval.

    Where the memory of a session comes to lie makes it some percent slower or faster for as long as it is open (LOG.md), so
    that more answers of one opening do not make the ratio surer; more openings do (Kalibera and Jones, "Rigorous
    Benchmarking in Reasonable Time", ISMM 2013, section 5).

    Args:
        candidate, reference: (T,) each; index t was taken at about the same time, for the same input.
        opening: (T,) of both, from 0; at most `MOST_OPENINGS`.
    """
    parts = [opening == number for number in np.unique(opening)]
    logs = [np.log(np.median(candidate[part]) / np.median(reference[part])) for part in parts]
    mean = float(np.mean(logs))
    if len(candidate) < LEAST or len(logs) < 2:
        return Estimate(math.exp(mean))
    half = STUDENT[len(logs) - 2] * float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
    return Estimate(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def drift(series: Series, *, resamples: int, seed: int) -> Estimate | None:
    """Median of the last third over that of the first, minus 1, each drawn by itself; None of less than three values."""
    third = len(series) // 3
    if third == 0:
        return None
    parts = np.stack([series[:third], series[-third:]], axis=1)  # (third, 2)

    def change(early: Series, late: Series) -> float:
        return float(np.median(late) / np.median(early)) - 1

    value = change(*parts.T)
    if third < LEAST:
        return Estimate(value)
    length = max(_length(part) for part in parts.T)
    drawn = (_resample(length, third, resamples, seed + place) for place in range(2))
    found = [change(parts[early, 0], parts[late, 1]) for early, late in zip(*drawn, strict=True)]
    return Estimate(value, *_ends(found)[0])


def jitter(series: Series) -> float:
    """Mean absolute difference of consecutive values, as the interarrival jitter of RFC 3550 before its smoothing."""
    return float(np.abs(np.diff(series)).mean()) if len(series) > 1 else 0.0


def _resample(length: int, n: int, resamples: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Indices of each resample, (n,), in blocks of neighbours; the first of all follows the last (circular)."""
    generator = np.random.default_rng(seed)
    for _ in range(max(FEWEST, min(resamples, MOST_DRAWN // n))):
        starts = generator.integers(n, size=math.ceil(n / length))
        yield ((starts[:, None] + np.arange(length)) % n).ravel()[:n]


def _ends(found: Sequence[Any]) -> list[tuple[float, float]]:
    """Both ends of the 95 % interval of each statistic, from its value in every resample."""
    low, high = np.quantile(np.array(found), CONFIDENCE, axis=0)
    return list(zip(np.atleast_1d(low).tolist(), np.atleast_1d(high).tolist(), strict=True))


def _length(series: Series) -> int:
    """Length of blocks by the ranks of a series, since a latency may have a tail without end.

    At least the cube root of N: swings that are slower than a short series can show are then not cut up.
    """
    ranks = np.argsort(np.argsort(series, kind="stable"), kind="stable").astype(np.float64)
    return max(block_length(ranks), math.ceil(math.cbrt(len(series))))


def _autocovariance(series: Series, lags: int) -> Series:
    """(lags + 1,) from lag 0."""
    centred = series - series.mean()
    n = len(centred)
    return np.array([float(centred[: n - lag] @ centred[lag:]) / n for lag in range(lags + 1)])
