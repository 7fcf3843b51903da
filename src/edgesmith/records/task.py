"""The tasks, and the metrics that each can be judged by."""

from __future__ import annotations

from typing import Literal

Task = Literal[
    "text-classification",
    "text-regression",
    "token-classification",
    "question-answering",
    "image-classification",
]

MetricName = Literal[
    "accuracy",
    "f1",
    "matthews_corrcoef",
    "pearson_spearman",
    "pearson",
    "spearman",
    "entity_f1",
    "tag_accuracy",
    "squad_f1",
    "exact_match",
]

_OF_CLASSES: tuple[MetricName, ...] = ("accuracy", "f1", "matthews_corrcoef")

METRICS_OF: dict[Task, tuple[MetricName, ...]] = {
    "text-classification": _OF_CLASSES,
    "text-regression": ("pearson_spearman", "pearson", "spearman"),
    "token-classification": ("entity_f1", "tag_accuracy"),
    "question-answering": ("squad_f1", "exact_match"),
    "image-classification": _OF_CLASSES,
}
"""The first judges unless another is named."""

CORRELATIONS: frozenset[str] = frozenset({"matthews_corrcoef", *METRICS_OF["text-regression"]})
"""The metrics that are no fraction of anything: from -1 to 1."""

SCORED_TASK: Task = "text-regression"
"""The one whose answers are numbers."""

TAGGED_TASK: Task = "token-classification"
"""The one whose answers are a tag for each word."""

QUESTION_TASK: Task = "question-answering"
"""The one whose answers are parts of a text that comes with each question."""

TOKEN_TASKS: tuple[Task, ...] = (TAGGED_TASK, QUESTION_TASK)
"""Those whose models have logits for each token: one input may take several windows, and its answer is no number."""


GLUE_METRICS: dict[str, tuple[MetricName, ...]] = {
    "CoLA": ("matthews_corrcoef",),
    "SST-2": ("accuracy",),
    "MRPC": ("f1", "accuracy"),
    "STS-B": ("pearson", "spearman"),
    "QQP": ("f1", "accuracy"),
    "MNLI": ("accuracy",),
    "QNLI": ("accuracy",),
    "RTE": ("accuracy",),
    "WNLI": ("accuracy",),
}
"""The tasks of GLUE and what each reports (Wang et al. 2018, arXiv:1804.07461, table 1); of two, the mean counts."""


def metrics_of(task: Task, labels: int) -> tuple[MetricName, ...]:
    """Those that fit a number of classes: F1 is that of the second of two."""
    return tuple(name for name in METRICS_OF[task] if name != "f1" or labels == 2)
