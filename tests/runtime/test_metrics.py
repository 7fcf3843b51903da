from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from edgesmith.errors import MeasureError, UnsupportedError
from edgesmith.runtime import METRICS, metric_of

REFERENCE = {
    "accuracy": sklearn_metrics.accuracy_score,
    "f1": lambda labels, predicted: sklearn_metrics.f1_score(labels, predicted, zero_division=0.0),
    "matthews_corrcoef": sklearn_metrics.matthews_corrcoef,
}


def label_lists(classes: int):
    pair = st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1))
    return st.lists(pair, min_size=2, max_size=40).map(lambda pairs: np.array(pairs).T)


@pytest.mark.parametrize("name", sorted(METRICS))
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


def test_metric_of_a_task():
    assert metric_of("text-classification") == "accuracy"
    assert metric_of("text-classification") in METRICS
    with pytest.raises(UnsupportedError, match="Did you mean 'text-classification'"):
        metric_of("text-clasification")
