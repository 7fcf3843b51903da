"""PASS or FAIL: everything that was measured, held against the budget."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from edgesmith.errors import MeasureError
from edgesmith.measure.quality import PairedQuality
from edgesmith.measure.size import Sizes
from edgesmith.recipe import Budget, Recipe
from edgesmith.records import (
    FailedBudget,
    Latencies,
    LatencySample,
    Percentiles,
    Task,
    Verdict,
    VocabularyCoverage,
)
from edgesmith.runtime import Judge

SAMPLES = ("artifact", "fp32", "int8", "eager")
_HELD_IN_PIECES = (
    100  # English BERT has 8 pieces of Cyrillic, 4 of Greek, 2 of Arabic: it spelled them before, too
)
_QUIET = 0.95  # of a core; an idle machine gives 0.99 and more
_BASELINES: dict[Task, str] = {
    "image-classification": "a linear model of pixels",
    "token-classification": "a list of words and their tags",
    "question-answering": "the sentence most like the question",
}
_CLEAR_LEAD = 0.01  # a teacher that leads a linear model by less than a point proves little


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was measured about one finished artifact.

    Attributes:
        runtime: what ran it.
        quality: teacher against artifact on the test split.
        latencies: with the samples ``artifact``, ``fp32`` (the handed-in model on the same runtime), ``int8``
            (the same, quantized only) and ``eager`` (FP32 PyTorch).
        guards: sentences of `measure.guards`.
        int8_baseline, bow_baseline: their metric on the test split.
        validation_drop: the drop on the rows that decisions were made on.
        test_is_held_out: False where the test split was carved from the training data.
        bundle: folder of the artifact, relative to the run.
        wall_s: seconds by step.
        other_metrics: name -> teacher's and artifact's value on the test split.
        coverage: what vocabulary trimming does; None where nothing was trimmed.
    """

    runtime: str
    quality: PairedQuality
    sizes: Sizes
    latencies: Latencies
    guards: tuple[str, ...]
    int8_baseline: float
    bow_baseline: float
    validation_drop: float
    test_is_held_out: bool
    load_ms: float
    peak_rss_bytes: int
    bundle: str
    wall_s: dict[str, float]
    other_metrics: dict[str, tuple[float, float]] = field(default_factory=dict)
    coverage: VocabularyCoverage | None = None


def judge(recipe: Recipe, evidence: Evidence) -> Verdict:
    """The verdict of a run.

    Raises:
        MeasureError: a latency sample is missing.
    """
    artifact, fp32, int8, eager = _samples(evidence.latencies)
    quality, sizes = evidence.quality, evidence.sizes
    failed = tuple(_failures(recipe.budget, evidence))
    return Verdict(
        passed=not failed and not evidence.guards,
        failed_budgets=failed,
        failed_guards=evidence.guards,
        task=recipe.task,
        metric=Judge.of(recipe.task, recipe.metric).metric,
        teacher=quality.teacher,
        artifact=quality.artifact,
        n_test=quality.n,
        drop=quality.drop,
        drop_ci95=quality.drop_ci95,
        mcnemar_p=quality.mcnemar_p,
        agreement=quality.agreement,
        test_is_held_out=evidence.test_is_held_out,
        validation_drop=evidence.validation_drop,
        runtime=evidence.runtime,
        target=recipe.target,
        bundle=evidence.bundle,
        size_bytes=sizes.device,
        model_size_bytes=sizes.model,
        baseline_size_bytes=sizes.baseline,
        size_ratio=sizes.baseline / sizes.model,
        latency_ms=_percentiles(artifact),
        baseline_latency_ms=_percentiles(fp32),
        latency_ratio=fp32.p50 / artifact.p50,
        int8_latency_ratio=int8.p50 / artifact.p50,
        eager_latency_ratio=eager.p50 / artifact.p50,
        int8_baseline=evidence.int8_baseline,
        bow_baseline=evidence.bow_baseline,
        threads=evidence.latencies.threads,
        rounds=evidence.latencies.rounds,
        load_ms=evidence.load_ms,
        peak_rss_bytes=evidence.peak_rss_bytes,
        wall_s=evidence.wall_s,
        seed=recipe.seed,
        quick=recipe.quick,
        other_metrics=evidence.other_metrics,
        coverage=evidence.coverage,
        warnings=tuple(_warnings(recipe, evidence)),
    )


def fastest_that_passes(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict of a run for several runtimes: the passing one with the lowest p50, the others beside it.

    Where none passes, the one with the fewest failures, then the least drop.
    """
    best = min(
        verdicts,
        key=lambda verdict: (
            (0, verdict.latency_ms.p50)
            if verdict.passed
            else (len(verdict.failed_guards) + len(verdict.failed_budgets), verdict.drop)
        ),
    )
    return replace(best, alternatives=tuple(verdict for verdict in verdicts if verdict is not best))


def _samples(latencies: Latencies) -> list[LatencySample]:
    missing = [name for name in SAMPLES if name not in latencies.samples]
    if missing:
        raise MeasureError(
            f"verdict: latency of {', '.join(missing)} is missing, got {', '.join(latencies.samples) or 'none'}; "
            f"expected {', '.join(SAMPLES)}. Time them together with `time_interleaved`."
        )
    return [latencies.samples[name] for name in SAMPLES]


def _percentiles(sample: LatencySample) -> Percentiles:
    return Percentiles(p50=sample.p50, p90=sample.p90, p99=sample.p99)


def _failures(budget: Budget, evidence: Evidence) -> Iterator[FailedBudget]:
    """Limits that are not met, in the recipe's order."""
    quality = evidence.quality
    worse_end = quality.drop_ci95[1] if budget.confident else None
    p50 = evidence.latencies.samples["artifact"].p50
    checks = (
        ("max_drop", "drop", quality.drop, budget.max_drop, "fraction"),
        ("max_size_bytes", "size", evidence.sizes.device, budget.max_size_bytes, "bytes"),
        ("max_latency_ms", "latency p50", p50, budget.max_latency_ms, "ms"),
        ("confident", "upper end of the drop's 95 % interval", worse_end, budget.max_drop, "fraction"),
    )
    for key, what, value, limit, unit in checks:
        if value is not None and limit is not None and _exceeds(value, limit):
            message = _exceeds_message(what, value, limit, unit)
            yield FailedBudget(budget=key, limit=limit, value=value, unit=unit, message=message)


def _exceeds(value: float, limit: float) -> bool:
    """Above the limit by more than rounding: 0.7 % parses to a little less than 7 rows of 1,000."""
    return value > limit and not math.isclose(value, limit, rel_tol=1e-9)


def _exceeds_message(what: str, value: float, limit: float, unit: str) -> str:
    ratio = f" ({value / limit:.1f}x)" if limit else ""
    return f"{what} {_amount(value, unit)} exceeds {_amount(limit, unit)} by {_amount(value - limit, unit)}{ratio}"


def _amount(value: float, unit: str) -> str:
    scale, name = {"bytes": (1e-6, "MB"), "fraction": (100.0, "points"), "ms": (1.0, "ms")}[unit]
    number = value * scale
    return f"{number:.2f} {name}" if number >= 0.095 else f"{number:.2g} {name}"


def _warnings(recipe: Recipe, evidence: Evidence) -> Iterator[str]:
    """What a careful reader should know."""
    quality, max_drop = evidence.quality, recipe.budget.max_drop
    if recipe.quick:
        yield "quick run on a subset of the data: its numbers are not to be quoted"
    if recipe.tokenizer is not None:
        yield f"the teacher was trained from random weights: {recipe.model} is of the zoo, and nothing pretrained it"
    if not evidence.test_is_held_out:
        yield "the data has no test split of its own: the test rows were carved from the rest"
    half_width = (quality.drop_ci95[1] - quality.drop_ci95[0]) / 2
    if half_width > max_drop:
        yield _too_small(quality.n, half_width, max_drop)
    lead = quality.teacher - evidence.bow_baseline
    if lead < _CLEAR_LEAD:
        linear = _BASELINES.get(recipe.task, "a bag of words")
        yield (
            f"the teacher ({100 * quality.teacher:.2f}) leads {linear} ({100 * evidence.bow_baseline:.2f}) by "
            f"{100 * lead:.2f} points: a small drop against a weak teacher proves little"
        )
    if evidence.coverage:
        yield from _vocabulary_warnings(evidence.coverage, max_drop)
    if evidence.latencies.cpu_share < _QUIET:
        yield (
            f"the machine was busy: the timed run had {evidence.latencies.cpu_share:.0%} of a core, so latencies and their "
            "ratios are not to be trusted. Remove 06-validate and run again when it is idle"
        )
    if recipe.target != "host":
        yield f"latency and memory were measured on the machine that ran edgesmith, not on {recipe.target}"


def _vocabulary_warnings(coverage: VocabularyCoverage, max_drop: float) -> Iterator[str]:
    """Where trimming costs accuracy, and what it was not measured on."""
    unseen = coverage.with_unseen
    if unseen and _exceeds(unseen.drop, max_drop) and unseen.drop_ci95[0] > 0:
        yield (
            f"on the {unseen.n:,} test rows with a token that no training text holds, the artifact loses "
            f"{100 * unseen.drop:.2f} points (95 % interval from {100 * unseen.drop_ci95[0]:.2f}): rows unlike the "
            "training texts lose more"
        )
    if lost := [script for script in coverage.lost_scripts if script.before >= _HELD_IN_PIECES]:
        names = ", ".join(f"{script.script} ({script.before:,} pieces before)" for script in lost)
        yield (
            f"the training texts do not use these scripts, so only their single characters are left in the vocabulary: "
            f"{names}; such text becomes longer, and the accuracy on it is not known"
        )


def _too_small(n: int, half_width: float, max_drop: float) -> str:
    """The interval shrinks with the square root of the rows."""
    sentence = (
        f"the test split is too small for this budget: with {n} rows the drop is known to "
        f"+-{100 * half_width:.2f} points, the budget is {100 * max_drop:.2f} points"
    )
    if max_drop == 0:
        return sentence
    return f"{sentence}; about {math.ceil(n * (half_width / max_drop) ** 2):,} rows would be needed, or several seeds"
