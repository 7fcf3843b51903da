"""Quality of teacher and artifact on the same rows: the paired drop, its interval, and McNemar's test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from edgesmith.errors import MeasureError
from edgesmith.runtime.judge import ACCURACY, Judge


@dataclass(frozen=True, kw_only=True)
class PairedQuality:
    """Qualities of teacher and artifact on the same rows, as the judge's metric gives them, 1 at best.

    Attributes:
        n: rows.
        drop: teacher minus artifact; positive is a loss.
        drop_ci95: percentile interval of the paired bootstrap.
        mcnemar_p: exact two-sided p that the two are right equally often; None for answers that are not one class, right or wrong.
        agreement: fraction of rows with the same class, right or wrong; of scores Pearson's correlation; of
            tags the metric, with the teacher's as the truth.
    """

    n: int
    teacher: float
    artifact: float
    drop: float
    drop_ci95: tuple[float, float]
    mcnemar_p: float | None
    agreement: float


def compare(
    teacher_predictions: ArrayLike,
    artifact_predictions: ArrayLike,
    labels: ArrayLike,
    *,
    judge: Judge = ACCURACY,
    resamples: int,
    seed: int,
    clusters: ArrayLike | None = None,
) -> PairedQuality:
    """Paired comparison of two models.

    Args:
        teacher_predictions, artifact_predictions, labels: answers as the judge takes them, each of shape (n,), n >= 1.
        judge: of the task.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        clusters: (n,) a number for each row; rows of one number are resampled together, since they are no independent
            evidence. None: every row by itself.

    Raises:
        MeasureError: the three do not have one and the same length, or there is no row.
    """
    teacher, artifact, truth = _rows(teacher_predictions, artifact_predictions, labels)
    n, lost, gained = len(truth), 0, 0
    if judge.has_classes:
        teacher_right, artifact_right = teacher == truth, artifact == truth
        lost = int(np.sum(teacher_right & ~artifact_right))
        gained = int(np.sum(artifact_right & ~teacher_right))
    if judge.metric == "accuracy" and clusters is None:
        drop = (lost - gained) / n  # no rounding of two means
        interval = _accuracy_ci95(lost, gained, n, resamples, seed)
    else:
        drop = judge.quality(teacher, truth) - judge.quality(artifact, truth)
        draws = _draws(n, clusters, resamples, seed)
        interval = _bootstrap_ci95(teacher, artifact, truth, judge, draws)
    return PairedQuality(
        n=n,
        teacher=judge.quality(teacher, truth),
        artifact=judge.quality(artifact, truth),
        drop=drop,
        drop_ci95=interval,
        mcnemar_p=_mcnemar_p(lost, gained) if judge.has_classes else None,
        agreement=judge.agreement(teacher, artifact),
    )


def _mcnemar_p(lost: int, gained: int) -> float:
    return float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0


def _rows(*columns: ArrayLike) -> list[NDArray[np.generic]]:
    arrays = [np.asarray(column) for column in columns]
    shapes = [array.shape for array in arrays]
    if arrays[0].ndim != 1 or len(set(shapes)) != 1 or not arrays[0].size:
        raise MeasureError(
            f"teacher predictions, artifact predictions and labels have the shapes {shapes}; "
            "expected one and the same (n,) with n >= 1. Predict every row of the split with both."
        )
    return arrays


def _bootstrap_ci95(
    teacher: NDArray[np.generic],
    artifact: NDArray[np.generic],
    truth: NDArray[np.generic],
    judge: Judge,
    draws: Iterable[NDArray[np.int64]],
) -> tuple[float, float]:
    """Percentile interval of the drop over resampled rows (Efron and Tibshirani 1993, chapter 13); all (n,)."""
    ours, theirs = judge.tally(teacher, truth), judge.tally(artifact, truth)
    drops = [judge.value(ours[rows]) - judge.value(theirs[rows]) for rows in draws]
    low, high = np.quantile(drops, [0.025, 0.975])
    return float(low), float(high)


def _draws(n: int, clusters: ArrayLike | None, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """The rows of each resample: as many as there are, or as many clusters, each with all of its rows."""
    generator = np.random.default_rng(seed)
    if clusters is None:
        yield from (generator.integers(n, size=n) for _ in range(resamples))
        return
    _, of_row, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(of_row, kind="stable"), np.cumsum(sizes)[:-1])
    for _ in range(resamples):
        yield np.concatenate([members[one] for one in generator.integers(len(members), size=len(members))])


def _accuracy_ci95(lost: int, gained: int, n: int, resamples: int, seed: int) -> tuple[float, float]:
    """The same for accuracy.

    A row contributes +1 (lost), -1 (gained) or 0 to the drop, so resampling n rows is one multinomial draw of
    the three counts: the same distribution as drawing row by row, without an array of resamples x n.
    """
    shares = np.array([lost, gained, n - lost - gained]) / n
    counts = np.random.default_rng(seed).multinomial(n, shares, size=resamples)  # (resamples, 3)
    low, high = np.quantile((counts[:, 0] - counts[:, 1]) / n, [0.025, 0.975])
    return float(low), float(high)
