import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, pearsonr

from edgesmith.errors import MeasureError
from edgesmith.measure.quality import compare
from edgesmith.runtime import Judge
from edgesmith.runtime.tokens import as_answers


def columns(lost, gained, both_right, both_wrong):
    """Predictions of teacher and artifact, and labels (all 1), with the given counts of rows."""
    teacher = np.repeat([1, 0, 1, 0], [lost, gained, both_right, both_wrong])
    artifact = np.repeat([0, 1, 1, 0], [lost, gained, both_right, both_wrong])
    return teacher, artifact, np.ones_like(teacher)


def test_counts_by_hand():
    result = compare(*columns(30, 10, 150, 10), resamples=100, seed=0)
    assert result.n == 200
    assert result.teacher == 180 / 200
    assert result.artifact == 160 / 200
    assert result.drop == 20 / 200
    assert result.agreement == 160 / 200


def test_agreement_counts_equal_answers_and_not_equal_correctness():
    result = compare([1, 2, 0], [2, 2, 0], [0, 2, 0], resamples=10, seed=0)
    assert (result.teacher, result.artifact, result.agreement) == (2 / 3, 2 / 3, 2 / 3)


@pytest.mark.parametrize(("lost", "gained"), [(7, 2), (2, 7), (4, 4), (1, 0)])
def test_mcnemar_is_the_two_sided_binomial_by_hand(lost, gained):
    n, tail = lost + gained, min(lost, gained)
    expected = min(1.0, 2 * sum(math.comb(n, k) for k in range(tail + 1)) / 2**n)
    result = compare(*columns(lost, gained, 50, 0), resamples=10, seed=0)
    assert result.mcnemar_p == pytest.approx(expected)


def test_interval_is_that_of_scipys_row_by_row_paired_bootstrap():
    teacher, artifact, labels = columns(25, 12, 440, 23)
    ours = compare(teacher, artifact, labels, resamples=20_000, seed=1)
    theirs = bootstrap(
        (teacher == labels, artifact == labels),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=5_000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    one_row = 1 / len(labels)
    assert ours.drop_ci95 == pytest.approx((theirs.low, theirs.high), abs=one_row)


def test_interval_is_near_the_normal_one():
    lost, gained, n = 300, 200, 10_000
    result = compare(*columns(lost, gained, 9_000, 500), resamples=20_000, seed=0)
    standard_error = math.sqrt(lost + gained - (lost - gained) ** 2 / n) / n
    expected = (result.drop - 1.96 * standard_error, result.drop + 1.96 * standard_error)
    assert result.drop_ci95 == pytest.approx(expected, rel=0.03)


def test_interval_covers_the_true_drop_about_95_times_of_100():
    rng, true_drop, covered, trials = np.random.default_rng(0), 0.08 - 0.05, 0, 400
    for trial in range(trials):
        counts = rng.multinomial(500, [0.08, 0.05, 0.80, 0.07])
        low, high = compare(*columns(*counts), resamples=400, seed=trial).drop_ci95
        covered += low <= true_drop <= high
    assert 0.91 <= covered / trials <= 0.98


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=50), st.integers(0, 9))
def test_identical_predictions_lose_nothing(rows, seed):
    predictions, labels = zip(*rows, strict=True)
    result = compare(predictions, predictions, labels, resamples=50, seed=seed)
    assert (result.drop, result.drop_ci95, result.mcnemar_p, result.agreement) == (0.0, (0.0, 0.0), 1.0, 1.0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=50))
def test_swapping_the_two_turns_the_drop_around(rows):
    teacher, artifact, labels = zip(*rows, strict=True)
    there = compare(teacher, artifact, labels, resamples=50, seed=0)
    back = compare(artifact, teacher, labels, resamples=50, seed=0)
    assert back.drop == -there.drop
    assert back.mcnemar_p == there.mcnemar_p
    assert there.drop == pytest.approx(there.teacher - there.artifact)


def test_same_seed_same_interval():
    rows = columns(20, 10, 60, 10)
    assert compare(*rows, resamples=99, seed=5) == compare(*rows, resamples=99, seed=5)
    assert compare(*rows, resamples=99, seed=5).drop_ci95 != compare(*rows, resamples=99, seed=6).drop_ci95


@pytest.mark.parametrize("rows", [([1], [1, 0], [1]), ([], [], []), ([[1]], [[1]], [[1]]), (1, 1, 1)])
def test_refuses_rows_that_do_not_pair(rows):
    with pytest.raises(MeasureError, match=r"shapes .* expected one and the same \(n,\)"):
        compare(*rows, resamples=10, seed=0)


def test_scores_are_compared_by_correlation_and_have_no_mcnemar():
    rng = np.random.default_rng(0)
    labels = rng.uniform(0, 5, 300)
    teacher, artifact = labels + rng.normal(0, 1, 300), labels + rng.normal(0, 2, 300)
    result = compare(
        teacher, artifact, labels, judge=Judge.of("text-regression", "pearson"), resamples=2_000, seed=1
    )
    assert result.teacher == pytest.approx(pearsonr(teacher, labels)[0])
    assert result.artifact == pytest.approx(pearsonr(artifact, labels)[0])
    assert result.drop == pytest.approx(result.teacher - result.artifact)
    assert result.agreement == pytest.approx(pearsonr(teacher, artifact)[0])
    assert result.mcnemar_p is None
    theirs = bootstrap(
        (teacher, artifact, labels),
        lambda a, b, c: pearsonr(a, c)[0] - pearsonr(b, c)[0],
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=2_000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert result.drop_ci95 == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_f1_of_equal_answers_drops_by_nothing():
    answers, labels = np.array([1, 0, 1, 1]), np.array([1, 1, 0, 1])
    judge = Judge.of("text-classification", "f1")
    result = compare(answers, answers, labels, judge=judge, resamples=50, seed=0)
    assert (result.teacher, result.drop, result.drop_ci95) == (pytest.approx(2 / 3), 0.0, (0.0, 0.0))
    assert result.mcnemar_p == 1.0


def test_rows_of_one_cluster_are_drawn_together():
    judge = Judge.of("question-answering")
    clusters = np.repeat(np.arange(40), 5)
    is_lost = np.repeat(np.arange(40) < 10, 5)  # all five questions on a context go wrong, or none
    truth, teacher, artifact = (
        as_answers([(text,) for text in texts])
        for texts in (["yes"] * 200, ["yes"] * 200, np.where(is_lost, "no", "yes"))
    )
    settings = {"judge": judge, "resamples": 4_000, "seed": 0}
    together = compare(teacher, artifact, truth, clusters=clusters, **settings)
    apart = compare(teacher, artifact, truth, **settings)
    assert together.drop == apart.drop == 0.25
    for found, n in ((together, 40), (apart, 200)):
        half_width = 1.96 * np.sqrt(0.25 * 0.75 / n)
        assert found.drop_ci95 == pytest.approx((0.25 - half_width, 0.25 + half_width), abs=0.02)


def test_a_cluster_for_each_row_is_no_cluster():
    rows = columns(20, 10, 60, 10)
    judge = Judge("f1", has_scores=False)
    plain = compare(*rows, judge=judge, resamples=99, seed=5)
    assert compare(*rows, judge=judge, resamples=99, seed=5, clusters=range(100)) == plain
