from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score

from edgesmith.runtime.judge import ACCURACY, Judge

SCORES = Judge.of("text-regression")


def test_the_first_metric_of_a_task_judges_unless_another_is_named():
    assert Judge.of("text-classification") == ACCURACY == Judge("accuracy", has_scores=False)
    assert Judge.of("text-classification", "f1") == Judge("f1", has_scores=False)
    assert Judge("pearson_spearman", has_scores=True) == SCORES


def test_answers_are_classes_or_scores():
    logits = np.array([[0.5, 2.0], [1.0, -1.0]], np.float32)
    assert ACCURACY.answers(logits).tolist() == [1, 0]
    assert SCORES.answers(logits[:, :1]).tolist() == [0.5, 1.0]


def test_the_mean_credit_is_the_accuracy_or_r_squared():
    answers, truth = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    assert ACCURACY.credits(answers, truth).tolist() == [1, 1, 0, 1]
    scores, wanted = np.array([0.1, 2.0, 2.5]), np.array([0.0, 1.0, 4.0])
    assert SCORES.credits(scores, wanted).mean() == pytest.approx(r2_score(wanted, scores))


def test_agreement_is_equality_or_correlation():
    assert ACCURACY.agreement(np.array([0, 1, 1]), np.array([0, 1, 0])) == pytest.approx(2 / 3)
    scores = np.array([0.0, 1.0, 4.0])
    assert SCORES.agreement(scores, 2 * scores + 1) == pytest.approx(1.0)
    assert SCORES.agreement(scores, -scores) == pytest.approx(-1.0)
