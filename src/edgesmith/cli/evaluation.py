"""A bundle against labelled rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesmith.data import ImageExamples, TextExamples, load_labelled, load_labelled_images
from edgesmith.recipe import DataConfig
from edgesmith.records import SCORED_TASK, Manifest, Progress, metrics_of
from edgesmith.runtime import METRICS, Judge, Predictor, load_bundle
from edgesmith.runtime.judge import Answers


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Values of the task's metrics over `n` rows."""

    metrics: dict[str, float]
    n: int


def evaluate_bundle(bundle: Path, data: DataConfig, progress: Progress) -> Evaluation:
    """Answers every row of a file, or of a folder's test split, one at a time.

    Raises:
        BundleError: the bundle is damaged.
        DataError: the data cannot be read, or has labels that the bundle does not know.
    """
    with load_bundle(bundle) as predictor:
        manifest = predictor.bundle.manifest
        rows, notes = _load(data, manifest)
        for note in notes:
            progress.say(note)
        answers, truth = _answer(predictor, rows, progress), np.array(rows.labels)
    names = metrics_of(manifest.task, len(manifest.labels))
    return Evaluation(metrics={name: METRICS[name](answers, truth) for name in names}, n=len(rows))


def _load(data: DataConfig, manifest: Manifest) -> tuple[TextExamples | ImageExamples, tuple[str, ...]]:
    if manifest.preprocessing is not None:
        return load_labelled_images(data, manifest.labels)
    return load_labelled(data, manifest.labels, scores=manifest.task == SCORED_TASK)


def _answer(predictor: Predictor, rows: TextExamples | ImageExamples, progress: Progress) -> Answers:
    """(N,)."""
    inputs, pairs = (rows.images, None) if isinstance(rows, ImageExamples) else (rows.texts, rows.pairs)
    judge, logits = Judge.of(predictor.bundle.manifest.task), []
    progress.start("evaluate", len(rows))
    for row, value in enumerate(inputs):
        logits.append(predictor.logits(value, pairs[row] if pairs else None))
        progress.advance(row + 1)
    progress.finish()
    return judge.answers(np.concatenate(logits))
