"""Metrics of predicted classes, scores, tags and parts of texts, in numpy alone, so that a board can compute them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesmith.errors import MeasureError
from edgesmith.runtime.entities import count_entities, f1_of_counts
from edgesmith.runtime.squad import count_exact, count_shared

Labels = npt.NDArray[np.integer[Any]]
Scores = npt.NDArray[np.floating[Any]]


def accuracy(predicted: Labels, labels: Labels) -> float:
    """Fraction of equal labels; both of shape (N,)."""
    _check(predicted, labels)
    return float(np.mean(predicted == labels))


def f1_binary(predicted: Labels, labels: Labels) -> float:
    """F1 of class 1: 2 TP / (2 TP + FP + FN), and 0 where class 1 is neither predicted nor present."""
    _check(predicted, labels)
    true_positives = np.sum((predicted == 1) & (labels == 1))
    mentions = np.sum(predicted == 1) + np.sum(labels == 1)  # 2 TP + FP + FN
    return float(2 * true_positives / mentions) if mentions else 0.0


def matthews_corrcoef(predicted: Labels, labels: Labels) -> float:
    """Matthews correlation of any number of classes, and 0 where either side has only one class.

    Source: Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation coefficient", eq. 8.
    """
    _check(predicted, labels)
    classes = np.union1d(predicted, labels)
    guessed = (predicted[:, None] == classes).astype(np.float64)  # (N, K), one-hot
    actual = (labels[:, None] == classes).astype(np.float64)  # (N, K)
    guessed -= guessed.mean(axis=0)
    actual -= actual.mean(axis=0)
    norm = np.sqrt(np.sum(guessed**2) * np.sum(actual**2))
    return float(np.sum(guessed * actual) / norm) if norm else 0.0


def pearson(predicted: Scores, scores: Scores) -> float:
    """Pearson's correlation of (N,) scores, and 0 where either side is constant."""
    _check(predicted, scores)
    ours, theirs = (side.astype(np.float64) - side.mean(dtype=np.float64) for side in (predicted, scores))
    norm = np.sqrt(np.sum(ours**2) * np.sum(theirs**2))
    return float(np.sum(ours * theirs) / norm) if norm else 0.0


def spearman(predicted: Scores, scores: Scores) -> float:
    """Spearman's correlation of (N,) scores: Pearson's of their ranks, equal scores sharing the mean of theirs."""
    _check(predicted, scores)
    return pearson(_ranks(predicted), _ranks(scores))


def pearson_spearman(predicted: Scores, scores: Scores) -> float:
    """Mean of both correlations, by which GLUE ranks STS-B (Wang et al. 2018, arXiv:1804.07461, section 3.2)."""
    return (pearson(predicted, scores) + spearman(predicted, scores)) / 2


def _ranks(scores: Scores) -> Scores:
    """(N,) from 0."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)  # of each distinct score, one past its last rank
    return (last - (counts + 1) / 2)[place]


def _check(predicted: Labels | Scores, labels: Labels | Scores) -> None:
    if predicted.ndim != 1 or predicted.shape != labels.shape or not labels.size:
        raise MeasureError(
            f"predictions of shape {predicted.shape} and true labels of shape {labels.shape}; "
            "expected the same number of both, at least one."
        )


Metric = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float]

METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "f1": f1_binary,
    "matthews_corrcoef": matthews_corrcoef,
    "pearson": pearson,
    "spearman": spearman,
    "pearson_spearman": pearson_spearman,
}
"""Name -> value for (N,) predictions and (N,) truths."""


@dataclass(frozen=True)
class RowMetric:
    """A metric of answers that are no numbers: counts of each row, and what their sums are worth.

    Attributes:
        count: of a row's answer and its truth.
        value: of the sums over rows; 1 at best.
    """

    count: Callable[[Any, Any], tuple[float, ...]]
    value: Callable[..., float]

    def counts(self, answers: npt.NDArray[Any], truths: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Those of each row, (N, K), for (N,) answers and truths."""
        if answers.shape != truths.shape or not truths.size:
            _check(answers, truths)
        pairs = zip(answers, truths, strict=True)
        return np.array([self.count(answer, truth) for answer, truth in pairs], np.float64)


def _right_tags(tags: tuple[str, ...], truth: tuple[str, ...]) -> tuple[int, int]:
    return sum(map(str.__eq__, tags, truth)), len(truth)


def _fraction(part: float, whole: float) -> float:
    return float(part / whole)


ROW_METRICS: dict[str, RowMetric] = {
    "entity_f1": RowMetric(count_entities, f1_of_counts),
    "tag_accuracy": RowMetric(_right_tags, _fraction),
    "squad_f1": RowMetric(count_shared, _fraction),
    "exact_match": RowMetric(count_exact, _fraction),
}
"""Name -> metric of answers that are tuples of texts: tags, one a word, or an answer, and all right ones as its truth."""
