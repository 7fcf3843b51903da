"""A bundle against labelled rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.data import (
    ImageExamples,
    TextExamples,
    load_labelled,
    load_labelled_images,
    load_questions,
    load_tagged,
    right_answers,
)
from edgesmith.errors import RecipeError
from edgesmith.recipe import DataConfig
from edgesmith.records import (
    GLUE_METRICS,
    QUESTION_TASK,
    SCORED_TASK,
    TAGGED_TASK,
    Manifest,
    Progress,
    metrics_of,
)
from edgesmith.runtime import Judge, Predictor, load_bundle
from edgesmith.runtime.judge import Answers
from edgesmith.runtime.predictor import BundleSession
from edgesmith.runtime.questions import QuestionPredictor
from edgesmith.runtime.tokens import TagPredictor, as_answers, given_words


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Values of the task's metrics over `n` rows."""

    metrics: dict[str, float]
    n: int

    def line(self) -> str:
        """Every metric as it is, 1 at best."""
        told = "  ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        return f"{told}  n {self.n}"

    def glue_line(self, task: str) -> str:
        """As GLUE reports a task: its metrics times 100, with one decimal.

        Raises:
            RecipeError: the bundle's task has other metrics.
        """
        names = GLUE_METRICS[task]
        if lacking := [name for name in names if name not in self.metrics]:
            raise RecipeError(
                f"--glue {task}: the task is judged by {' and '.join(names)}, and this bundle has no {lacking[0]}; its "
                f"metrics: {', '.join(self.metrics)}. Give a bundle for {task}, or leave --glue out."
            )
        values = "/".join(f"{100 * self.metrics[name]:.1f}" for name in names)
        return f"{task}  {'/'.join(names)}  {values}  n {self.n}"


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
        answers, truth = _answer(predictor, rows, progress)
    judges = [Judge.of(manifest.task, name) for name in metrics_of(manifest.task, len(manifest.labels))]
    return Evaluation(metrics={judge.metric: judge.quality(answers, truth) for judge in judges}, n=len(rows))


def _load(data: DataConfig, manifest: Manifest) -> tuple[TextExamples | ImageExamples, tuple[str, ...]]:
    if manifest.preprocessing is not None:
        return load_labelled_images(data, manifest.labels)
    if manifest.task == TAGGED_TASK:
        return load_tagged(data, manifest.labels)
    if manifest.task == QUESTION_TASK:
        return load_questions(data)
    return load_labelled(data, manifest.labels, scores=manifest.task == SCORED_TASK)


def _answer(
    bundle: BundleSession, rows: TextExamples | ImageExamples, progress: Progress
) -> tuple[Answers, Answers]:
    """The answers and the truth, (N,) each."""
    inputs, pairs = (rows.images, None) if isinstance(rows, ImageExamples) else (rows.texts, rows.pairs)
    found: list[Any] = []
    progress.start("evaluate", len(rows))
    for row, value in enumerate(inputs):
        if isinstance(bundle, TagPredictor):
            found.append(bundle.tag(str(value), given_words(str(value)))[0])
        elif isinstance(bundle, QuestionPredictor) and pairs:
            found.append((bundle.find(str(value), pairs[row])[0].answer,))
        elif isinstance(bundle, Predictor):
            found.append(bundle.logits(value, pairs[row] if pairs else None))
        progress.advance(row + 1)
    progress.finish()
    if isinstance(bundle, TagPredictor):
        return as_answers(found), as_answers(rows.labels)
    if isinstance(bundle, QuestionPredictor) and isinstance(rows, TextExamples):
        return as_answers(found), right_answers(rows)
    return Judge.of(bundle.bundle.manifest.task).answers(np.concatenate(found)), np.array(rows.labels)
