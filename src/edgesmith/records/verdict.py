"""The verdict: PASS or FAIL against the budget, with the numbers that prove it."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgesmith.records.coverage import VocabularyCoverage

VERDICT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class FailedBudget:
    """A limit that was not met, in the limit's own unit."""

    budget: str
    limit: float
    value: float
    unit: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Percentiles:
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What ``verdict.json`` holds.

    Attributes:
        passed: every budget and every guard is met.
        failed_budgets: the limits that were not, with value and limit.
        failed_guards: what makes the artifact unusable whatever its budgets (`measure.guards`).
        metric: name of the task's metric.
        teacher, artifact: its value on the test split, 1 at best.
        n_test: rows of the test split.
        drop: teacher minus artifact on the same rows; positive is a loss.
        drop_ci95: paired bootstrap interval of the drop.
        mcnemar_p: exact McNemar p of the two accuracies; None for scores.
        agreement: fraction of test rows with the same label from teacher and artifact; of scores Pearson's correlation.
        test_is_held_out: False where the data had no test split and one was carved.
        validation_drop: the drop on validation rows, which the decisions were made on.
        bundle: folder of the artifact, relative to the run.
        size_bytes: all that the device loads: weights, graph, tokenizer, labels, manifest.
        model_size_bytes: weights and graph.
        baseline_size_bytes: FP32 safetensors of the handed-in model with the task's head.
        size_ratio: baseline_size_bytes / model_size_bytes.
        latency_ms: of the artifact; measured on this host at batch 1, real inputs.
        baseline_latency_ms: the handed-in model in FP32 on the same runtime, in the same interleaved run.
        latency_ratio: p50 of the FP32 baseline / p50 of the artifact.
        int8_latency_ratio: p50 of the uncompressed INT8 model / p50 of the artifact.
        eager_latency_ratio: p50 of FP32 PyTorch eager / p50 of the artifact.
        int8_baseline: metric of the uncompressed INT8 model on the test split.
        bow_baseline: metric of a linear model on the test split: of TF-IDF of words, or of small pixels.
        load_ms: median time to open the artifact.
        peak_rss_bytes: peak resident memory of a fresh process that loads the artifact and answers every timed input.
        wall_s: seconds by step.
        quick: True where the run worked on a subset; such a result is not to be quoted.
        other_metrics: name -> its value for teacher and artifact, of the task's metrics that do not judge.
        coverage: what vocabulary trimming does to validation and test rows.
        warnings: what a careful reader should know.
        alternatives: verdicts of the same candidate on the run's other runtimes, timed in the same interleaved run.
    """

    passed: bool
    failed_budgets: tuple[FailedBudget, ...]
    failed_guards: tuple[str, ...]
    task: str
    metric: str
    teacher: float
    artifact: float
    n_test: int
    drop: float
    drop_ci95: tuple[float, float]
    mcnemar_p: float | None
    agreement: float
    test_is_held_out: bool
    validation_drop: float
    runtime: str
    target: str
    bundle: str
    size_bytes: int
    model_size_bytes: int
    baseline_size_bytes: int
    size_ratio: float
    latency_ms: Percentiles
    baseline_latency_ms: Percentiles
    latency_ratio: float
    int8_latency_ratio: float
    eager_latency_ratio: float
    int8_baseline: float
    bow_baseline: float
    threads: int
    rounds: int
    load_ms: float
    peak_rss_bytes: int
    wall_s: dict[str, float]
    seed: int = 0
    quick: bool = False
    other_metrics: dict[str, tuple[float, float]] = field(default_factory=dict)
    coverage: VocabularyCoverage | None = None
    warnings: tuple[str, ...] = ()
    alternatives: tuple[Verdict, ...] = ()
    schema_version: int = field(default=VERDICT_VERSION)
