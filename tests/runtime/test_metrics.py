from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn_metrics

from edgesmith.errors import MeasureError
from edgesmith.records import METRICS_OF, metrics_of
from edgesmith.runtime import METRICS
from edgesmith.runtime.metrics import ROW_METRICS

REFERENCE = {
    "accuracy": sklearn_metrics.accuracy_score,
    "f1": lambda labels, predicted: sklearn_metrics.f1_score(labels, predicted, zero_division=0.0),
    "matthews_corrcoef": sklearn_metrics.matthews_corrcoef,
}


def label_lists(classes: int):
    pair = st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1))
    return st.lists(pair, min_size=2, max_size=40).map(lambda pairs: np.array(pairs).T)


@pytest.mark.parametrize("name", sorted(REFERENCE))
@settings(max_examples=40, deadline=None)
@given(rows=label_lists(classes=2))
def test_equals_scikit_learn_on_two_classes(name, rows):
    predicted, labels = rows
    if len(np.unique(rows)) > 1:  # scikit-learn warns where a single class is all there is
        assert METRICS[name](predicted, labels) == pytest.approx(
            REFERENCE[name](labels, predicted), abs=1e-12
        )


@pytest.mark.parametrize("name", ["accuracy", "matthews_corrcoef"])
@settings(max_examples=40, deadline=None)
@given(rows=label_lists(classes=5))
def test_equals_scikit_learn_on_five_classes(name, rows):
    predicted, labels = rows
    if len(np.unique(rows)) > 1:
        assert METRICS[name](predicted, labels) == pytest.approx(
            REFERENCE[name](labels, predicted), abs=1e-12
        )


def test_a_single_class():
    zeros, ones = np.zeros(4, np.int64), np.ones(4, np.int64)
    assert [METRICS[name](zeros, zeros) for name in ("accuracy", "f1", "matthews_corrcoef")] == [
        1.0,
        0.0,
        0.0,
    ]
    assert [METRICS[name](ones, ones) for name in ("accuracy", "f1", "matthews_corrcoef")] == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("name", sorted(METRICS))
@pytest.mark.parametrize("shapes", [(0, 0), (2, 3)])
def test_lengths_must_match_and_not_be_zero(name, shapes):
    with pytest.raises(MeasureError, match="expected the same number of both, at least one"):
        METRICS[name](*(np.zeros(n, np.int64) for n in shapes))


scores = st.lists(
    st.tuples(st.floats(-5, 5, width=32), st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0])), min_size=3, max_size=40
).map(lambda pairs: np.array(pairs).T)


@settings(max_examples=80, deadline=None)
@given(rows=scores)
def test_correlations_equal_scipy_ties_included(rows):
    ours, theirs = rows
    if np.std(ours) < 1e-3 or np.std(theirs) < 1e-3:  # scipy warns where a side is constant
        return
    pearson, spearman = stats.pearsonr(ours, theirs)[0], stats.spearmanr(ours, theirs)[0]
    assert METRICS["pearson"](ours, theirs) == pytest.approx(pearson, abs=1e-9)
    assert METRICS["spearman"](ours, theirs) == pytest.approx(spearman, abs=1e-9)
    assert METRICS["pearson_spearman"](ours, theirs) == pytest.approx((pearson + spearman) / 2, abs=1e-9)


@pytest.mark.parametrize("name", ["pearson", "spearman", "pearson_spearman"])
def test_a_constant_correlates_with_nothing(name):
    assert METRICS[name](np.ones(4), np.arange(4.0)) == 0.0


def test_every_metric_of_a_task_is_known_and_f1_needs_two_classes():
    assert {name for names in METRICS_OF.values() for name in names} == set(METRICS) | set(ROW_METRICS)
    assert "f1" in metrics_of("text-classification", 2)
    assert metrics_of("text-classification", 3) == ("accuracy", "matthews_corrcoef")
    assert metrics_of("text-regression", 1) == ("pearson_spearman", "pearson", "spearman")
