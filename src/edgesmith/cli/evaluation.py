"""A bundle against labelled rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesmith.data import Splits, TextExamples, load_splits
from edgesmith.errors import DataError
from edgesmith.recipe import DataConfig
from edgesmith.records import Progress
from edgesmith.runtime import METRICS, Predictor, load_bundle, metric_of


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Value of the task's metric over `n` rows."""

    metric: str
    value: float
    n: int


def evaluate_bundle(bundle: Path, data: DataConfig, progress: Progress) -> Evaluation:
    """Answers every row of the data's test split, or every row of data that has none, one at a time.

    Raises:
        BundleError: the bundle is damaged.
        DataError: the data cannot be read, or has labels that the bundle does not know.
    """
    with load_bundle(bundle) as predictor:
        manifest = predictor.bundle.manifest
        splits = load_splits(data, seed=0)
        rows, indices = _rows(splits), _class_indices(splits, manifest.labels)
        predicted = _predict(predictor, rows, progress)
    metric = metric_of(manifest.task)
    labels = np.array([indices[label] for label in rows.labels])
    return Evaluation(metric=metric, value=METRICS[metric](predicted, labels), n=len(rows))


def _predict(predictor: Predictor, rows: TextExamples, progress: Progress) -> npt.NDArray[np.int64]:
    """Class index of each row, (N,)."""
    predicted = np.zeros(len(rows), np.int64)
    progress.start("evaluate", len(rows))
    for row, text in enumerate(rows.texts):
        predicted[row] = predictor.predict(text, rows.pairs[row] if rows.pairs else None)[0].index
        progress.advance(row + 1)
    progress.finish()
    return predicted


def _rows(splits: Splits) -> TextExamples:
    """The test split the data came with; else all rows, whatever split they were carved into."""
    if splits.test_is_held_out:
        return splits.test
    parts = (splits.train, splits.validation, splits.test)
    pairs = [part.pairs for part in parts if part.pairs is not None]
    return TextExamples(
        texts=tuple(text for part in parts for text in part.texts),
        pairs=tuple(text for side in pairs for text in side) if pairs else None,
        labels=tuple(label for part in parts for label in part.labels),
    )


def _class_indices(splits: Splits, labels: tuple[str, ...]) -> list[int]:
    """The bundle's class index of each of the data's classes."""
    unknown = [name for name in splits.label_names if name not in labels]
    if unknown:
        raise DataError(
            f"labels that the bundle does not know: {', '.join(unknown)}. Allowed: {', '.join(labels)}. "
            "--label-column names another column."
        )
    return [labels.index(name) for name in splits.label_names]
