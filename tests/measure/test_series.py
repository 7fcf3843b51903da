"""Intervals of latencies whose neighbours are alike, on series whose true values are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import t

from edgesmith.measure import series
from edgesmith.measure.series import (
    MOST_OPENINGS,
    STUDENT,
    Estimate,
    block_length,
    drift,
    jitter,
    percentiles,
    ratio_of_medians,
)

DRAW = {"resamples": 120, "seed": 0}


def autoregressive(n: int, rho: float, generator: np.random.Generator) -> np.ndarray:
    """A series of variance 1 whose neighbours have the correlation `rho`."""
    noise = generator.normal(size=n + 200)
    return lfilter([np.sqrt(1 - rho**2)], [1, -rho], noise)[200:]


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.8])
def test_the_block_length_of_an_autoregressive_series_is_near_the_best(rho: float) -> None:
    """Politis and White: (3/2)^(1/3) |2 rho / (1 - rho^2)|^(2/3) N^(1/3) for the circular bootstrap of a mean."""
    n, generator = 20_000, np.random.default_rng(0)
    best = (1.5 * (2 * rho / (1 - rho**2)) ** 2 * n) ** (1 / 3)
    found = [block_length(autoregressive(n, rho, generator)) for _ in range(5)]
    assert np.mean(found) == pytest.approx(best, rel=0.2)


def test_without_likeness_blocks_are_short() -> None:
    generator = np.random.default_rng(0)
    assert np.median([block_length(generator.normal(size=1000)) for _ in range(20)]) <= 3
    assert block_length(np.ones(100)) == 1


def test_a_long_trend_takes_long_blocks() -> None:
    assert 30 < block_length(np.arange(900.0)) <= 3 * 30


OPENING = np.repeat(np.arange(10), 30)


def ratio_sample(ratio: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two bundles on a machine that slows down and recovers: what they share, what each has of its own, and what the
    memory of each opening adds."""
    shared, *own = (autoregressive(300, rho, generator) for rho in (0.95, 0.7, 0.7))
    memory = generator.normal(size=(2, 10))[:, OPENING]
    reference, candidate = (
        5 * np.exp(0.3 * shared + 0.05 * each + 0.02 * place) for each, place in zip(own, memory, strict=True)
    )
    return ratio * candidate, reference


def test_the_interval_of_a_known_ratio_covers_it_as_often_as_it_says() -> None:
    generator, ratio = np.random.default_rng(0), 1.25
    found = [ratio_of_medians(*ratio_sample(ratio, generator), OPENING) for _ in range(200)]
    assert 183 <= sum(one.low <= ratio <= one.high for one in found) <= 198
    assert np.mean([one.value for one in found]) == pytest.approx(ratio, rel=0.01)
    assert all(one.low <= one.value <= one.high for one in found)


def test_the_quantiles_of_students_distribution() -> None:
    np.testing.assert_allclose(STUDENT, t.ppf(0.975, np.arange(1, MOST_OPENINGS)), atol=5e-4)


def test_single_observations_would_cover_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """The median of a series of rho 0.9, with blocks and as if neighbours were not alike."""

    def covered() -> int:
        generator = np.random.default_rng(0)
        samples = (np.exp(autoregressive(600, 0.9, generator)) for _ in range(40))
        found = [percentiles(sample, [50], **DRAW)[50] for sample in samples]
        return sum(one.low <= 1 <= one.high for one in found)

    with_blocks = covered()
    monkeypatch.setattr(series, "_length", lambda _: 1)
    assert with_blocks >= 33
    assert covered() < 25


def test_what_slows_both_down_does_not_widen_the_ratio() -> None:
    generator = np.random.default_rng(0)
    quiet = 5 * np.exp(0.05 * generator.normal(size=(2, 400)))
    slow = np.where(np.arange(400) % 40 < 12, 4.0, 1.0)

    def width(pair: np.ndarray) -> float:
        found = ratio_of_medians(*pair, np.arange(400) // 40)
        return found.high - found.low

    assert width(quiet * slow) < 1.5 * width(quiet)


def test_equal_series_have_a_ratio_of_exactly_1() -> None:
    values = np.random.default_rng(0).exponential(size=100)
    assert ratio_of_medians(values, values, np.arange(100) // 10) == (1, 1, 1)
    assert ratio_of_medians(values, values, np.zeros(100, int)) == (1, None, None)


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_the_interval_of_a_percentile_covers_it(percent: float) -> None:
    """Of a log-normal series the percentile is exp of the normal one."""
    generator = np.random.default_rng(int(percent))
    truth = np.exp({50: 0.0, 90: 1.2815516, 99: 2.3263479}[percent])
    samples = [np.exp(autoregressive(1200, 0.5, generator)) for _ in range(40)]
    found = [percentiles(sample, [percent], **DRAW)[percent] for sample in samples]
    assert sum(one.low <= truth <= one.high for one in found) >= 32  # nearer to 90 % at the tail
    assert [one.value for one in found] == [np.percentile(sample, percent) for sample in samples]


def test_few_observations_have_no_tail() -> None:
    values = np.random.default_rng(0).exponential(size=1000)
    assert list(percentiles(values, [50, 99.9], **DRAW)) == [50, 99.9]
    found = percentiles(values[:999], [50, 99, 99.9], **DRAW)
    assert list(found) == [50, 99]
    assert found[99] == Estimate(np.percentile(values[:999], 99))  # 9.99 beyond it
    assert percentiles(values[:49], [50], **DRAW) == {50: Estimate(np.median(values[:49]))}
    assert percentiles(values[:1], [50, 90], **DRAW) == {50: Estimate(values[0])}
    assert ratio_of_medians(values[:49], values[1:50], np.arange(49) // 5).low is None


def test_percentiles_together_are_those_alone() -> None:
    values = np.random.default_rng(0).exponential(size=2000)
    together = percentiles(values, [50, 90, 99], **DRAW)
    assert together == {percent: percentiles(values, [percent], **DRAW)[percent] for percent in together}


def test_a_drift_is_the_change_of_the_median_and_is_seen() -> None:
    generator = np.random.default_rng(0)
    noise = np.exp(0.02 * autoregressive(600, 0.5, generator))
    slower = 5 * noise * np.linspace(1, 1.3, 600)
    found = drift(slower, **DRAW)
    assert found.value == np.median(slower[400:]) / np.median(slower[:200]) - 1
    assert found.value == pytest.approx(1.25 / 1.05 - 1, abs=0.01)  # middles of the thirds
    assert 0 < found.low < found.value < found.high


def test_a_steady_machine_seldom_drifts() -> None:
    generator = np.random.default_rng(0)
    found = [drift(np.exp(0.1 * autoregressive(300, 0.5, generator)), **DRAW) for _ in range(60)]
    assert sum(one.low <= 0 <= one.high for one in found) >= 50


def test_a_short_run_has_a_drift_without_an_interval() -> None:
    assert drift(np.array([1.0, 1, 1, 5, 2, 2]), **DRAW) == Estimate(1.0)
    assert drift(np.array([1.0, 9.0]), **DRAW) is None


def test_jitter_is_the_mean_difference_of_neighbours() -> None:
    assert jitter(np.array([1.0, 4.0, 2.0])) == (3 + 2) / 2
    assert jitter(np.array([7.0])) == 0


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).exponential(size=200)

    def found(seed: int) -> dict[float, Estimate]:
        return percentiles(values, [50], resamples=100, seed=seed)

    assert found(1) == found(1) != found(2)


def test_long_series_are_drawn_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(list(series._resample(5, 1000, resamples=700, seed=0))) == 700
    monkeypatch.setattr(series, "MOST_DRAWN", 300_000)
    assert len(list(series._resample(5, 1000, resamples=700, seed=0))) == 300
    assert len(list(series._resample(5, 10_000, resamples=700, seed=0))) == 100
