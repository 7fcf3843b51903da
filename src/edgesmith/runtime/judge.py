"""What a model's outputs mean, and how its answers are judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesmith.records.task import METRICS_OF, SCORED_TASK, Task
from edgesmith.runtime.metrics import METRICS, accuracy, pearson

Answers = npt.NDArray[Any]
"""(N,) class indices, int64, or scores, float64."""


@dataclass(frozen=True)
class Judge:
    """How the answers of one task are read off logits and compared.

    Attributes:
        metric: name in `METRICS`.
        has_scores: answers are numbers, not classes.
    """

    metric: str
    has_scores: bool

    @staticmethod
    def of(task: Task, metric: str | None = None) -> Judge:
        """Of a task, by the metric named or its first."""
        return Judge(metric or METRICS_OF[task][0], has_scores=task == SCORED_TASK)

    def answers(self, logits: npt.NDArray[np.floating[Any]]) -> Answers:
        """The answer to each row of logits (N, labels): the most probable class, or the only output."""
        return logits[:, 0].astype(np.float64) if self.has_scores else logits.argmax(axis=1)

    def quality(self, answers: Answers, truth: Answers) -> float:
        """The metric's value, 1 at best."""
        return METRICS[self.metric](answers, truth)

    def error(self, quality: float, rows: int) -> float:
        """Standard error of a quality reached on some rows: that of a fraction, or of a correlation (first order)."""
        if self.has_scores:
            return float((1 - quality**2) / np.sqrt(rows))
        return float(np.sqrt(max(0.0, quality * (1 - quality)) / rows))

    def agreement(self, answers: Answers, others: Answers) -> float:
        """Fraction of equal classes, or Pearson's correlation of scores."""
        return pearson(answers, others) if self.has_scores else accuracy(answers, others)

    def credits(self, answers: Answers, truth: Answers) -> npt.NDArray[np.float64]:
        """What each row adds to the mean quality, (N,): 1 for the right class; of scores its part of R squared."""
        if not self.has_scores:
            return np.asarray(answers == truth, np.float64)
        return np.asarray(1 - (answers - truth) ** 2 / np.var(truth), np.float64)


ACCURACY = Judge("accuracy", has_scores=False)
"""Of most tasks."""
