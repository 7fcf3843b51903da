"""What a model's outputs mean, and how its answers are judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesmith.records.task import METRICS_OF, SCORED_TASK, TOKEN_TASKS, Task
from edgesmith.runtime.metrics import METRICS, ROW_METRICS, accuracy, pearson

Answers = npt.NDArray[Any]
"""(N,) class indices, int64; scores, float64; or objects, tuples of texts: the tags of a row's words, or an answer
(as the truth, all that are right)."""


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
        kind = TokenJudge if task in TOKEN_TASKS else Judge
        return kind(metric or METRICS_OF[task][0], has_scores=task == SCORED_TASK)

    @property
    def has_classes(self) -> bool:
        """Whether an answer is one class, right or wrong."""
        return not self.has_scores

    def answers(self, logits: npt.NDArray[np.floating[Any]]) -> Answers:
        """The answer to each row of logits (N, labels): the most probable class, or the only output."""
        return logits[:, 0].astype(np.float64) if self.has_scores else logits.argmax(axis=1)

    def tally(self, answers: Answers, truth: Answers) -> npt.NDArray[Any]:
        """What `value` needs to know of each row, (N, K); rows may be drawn from it again and again."""
        return np.stack([answers, truth], axis=1)

    def value(self, tally: npt.NDArray[Any]) -> float:
        """The metric's value, 1 at best, over the rows of a tally."""
        return METRICS[self.metric](tally[:, 0], tally[:, 1])

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

    def units(self, answers: Answers) -> npt.NDArray[Any]:
        """The single values that answers are made of, (M,): one a row."""
        return answers


class TokenJudge(Judge):
    """The same where each token has logits, and an answer is made of those of a row's windows (`runtime.tokens`)."""

    @property
    def has_classes(self) -> bool:
        return False

    def tally(self, answers: Answers, truth: Answers) -> npt.NDArray[np.float64]:
        return ROW_METRICS[self.metric].counts(answers, truth)

    def value(self, tally: npt.NDArray[Any]) -> float:
        return ROW_METRICS[self.metric].value(*tally.sum(axis=0))

    def quality(self, answers: Answers, truth: Answers) -> float:
        return self.value(self.tally(answers, truth))

    def agreement(self, answers: Answers, others: Answers) -> float:
        """The metric, with the other answers as the truth."""
        return self.quality(answers, others)

    def credits(self, answers: Answers, truth: Answers) -> npt.NDArray[np.float64]:
        """The metric of each row by itself, (N,); 1 where there is nothing to find and nothing was found."""
        tally, metric = self.tally(answers, truth), ROW_METRICS[self.metric]
        return np.array([metric.value(*row) if row.any() else 1.0 for row in tally], np.float64)

    def units(self, answers: Answers) -> npt.NDArray[Any]:
        return np.array([part for answer in answers for part in answer])


ACCURACY = Judge("accuracy", has_scores=False)
"""Of most tasks."""
