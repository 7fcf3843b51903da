"""Accuracy of teacher and artifact on the same rows: the paired drop, its interval, and McNemar's test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from edgesmith.errors import MeasureError


@dataclass(frozen=True, kw_only=True)
class PairedQuality:
    """Accuracies of teacher and artifact on the same rows, as fractions.

    Attributes:
        n: rows.
        drop: teacher minus artifact; positive is a loss.
        drop_ci95: percentile interval of the paired bootstrap.
        mcnemar_p: exact two-sided p that the two are right equally often.
        agreement: fraction of rows with the same prediction, right or wrong.
    """

    n: int
    teacher: float
    artifact: float
    drop: float
    drop_ci95: tuple[float, float]
    mcnemar_p: float
    agreement: float


def compare(
    teacher_predictions: ArrayLike,
    artifact_predictions: ArrayLike,
    labels: ArrayLike,
    *,
    resamples: int,
    seed: int,
) -> PairedQuality:
    """Paired comparison of two classifiers.

    Args:
        teacher_predictions, artifact_predictions, labels: class indices, each of shape (n,), n >= 1.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        MeasureError: the three do not have one and the same length, or there is no row.
    """
    teacher, artifact, truth = _rows(teacher_predictions, artifact_predictions, labels)
    teacher_right, artifact_right = teacher == truth, artifact == truth
    n = len(truth)
    lost = int(np.sum(teacher_right & ~artifact_right))
    gained = int(np.sum(artifact_right & ~teacher_right))
    return PairedQuality(
        n=n,
        teacher=float(teacher_right.mean()),
        artifact=float(artifact_right.mean()),
        drop=(lost - gained) / n,
        drop_ci95=_bootstrap_ci95(lost, gained, n, resamples, seed),
        mcnemar_p=float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0,
        agreement=float((teacher == artifact).mean()),
    )


def _rows(*columns: ArrayLike) -> list[NDArray[np.generic]]:
    arrays = [np.asarray(column) for column in columns]
    shapes = [array.shape for array in arrays]
    if arrays[0].ndim != 1 or len(set(shapes)) != 1 or not arrays[0].size:
        raise MeasureError(
            f"teacher predictions, artifact predictions and labels have the shapes {shapes}; "
            "expected one and the same (n,) with n >= 1. Predict every row of the split with both."
        )
    return arrays


def _bootstrap_ci95(lost: int, gained: int, n: int, resamples: int, seed: int) -> tuple[float, float]:
    """Percentile interval of the drop over resampled rows (Efron and Tibshirani 1993, chapter 13).

    A row contributes +1 (lost), -1 (gained) or 0 to the drop, so resampling n rows is one multinomial draw of
    the three counts: the same distribution as drawing row by row, without an array of resamples x n.
    """
    shares = np.array([lost, gained, n - lost - gained]) / n
    counts = np.random.default_rng(seed).multinomial(n, shares, size=resamples)  # (resamples, 3)
    low, high = np.quantile((counts[:, 0] - counts[:, 1]) / n, [0.025, 0.975])
    return float(low), float(high)
