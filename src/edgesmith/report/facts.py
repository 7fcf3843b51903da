"""The sentences and tables of a report. Terminal, Markdown and HTML print these, so they cannot disagree."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from edgesmith.records import DISTRIBUTION_OF, NEEDED_BESIDE, QUESTION_TASK, Verdict
from edgesmith.report.load import HTML_NAME, RECIPE_NAME, Run
from edgesmith.report.units import agreement, counted, megabytes, milliseconds, points, score, times

NONE = "-"

IMAGES = "image-classification"
LINEAR_BASELINES = {
    "text-classification": ("bag of words", "a bag of words (TF-IDF and logistic regression)"),
    "text-regression": ("bag of words", "a bag of words (TF-IDF and ridge regression)"),
    "token-classification": ("word list", "the most frequent tag of each word"),
    QUESTION_TASK: ("nearest sentence", "the sentence of the context with the most words of the question"),
    IMAGES: ("8 x 8 pixels", "logistic regression on 8 x 8 pixels"),
}
"""Task -> what `Verdict.bow_baseline` is, in few words and in more."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text.

    Attributes:
        align: a letter a column: ``l`` for words, ``r`` for numbers.
        notes: lines that belong under the table.
    """

    title: str
    columns: tuple[str, ...]
    align: str
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def headline(verdict: Verdict) -> str:
    quick = " (QUICK: on a subset, not to be quoted)" if verdict.quick else ""
    return ("PASS" if verdict.passed else "FAIL") + quick


def sentence(verdict: Verdict) -> str:
    """The result in one plain sentence."""
    return (
        f"The artifact is {_ratio(verdict.size_ratio, 'smaller', 'larger')} and "
        f"{_ratio(verdict.latency_ratio, 'faster', 'slower')} than its teacher, and {_change(verdict)}."
    )


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A number of the sentence, and what stands behind it."""

    name: str
    value: str
    basis: str

    def __str__(self) -> str:
        return f"{self.name}: {self.value}, {self.basis}."


def claims(verdict: Verdict) -> tuple[Claim, ...]:
    p50, teacher_p50 = verdict.latency_ms.p50, verdict.baseline_latency_ms.p50
    return (
        Claim(
            name="Size",
            value=_ratio(verdict.size_ratio, "smaller", "larger"),
            basis=f"weights and graph: {megabytes(verdict.model_size_bytes)} against "
            f"{megabytes(verdict.baseline_size_bytes)} of the teacher's FP32 weights",
        ),
        Claim(
            name="Speed",
            value=_ratio(verdict.latency_ratio, "faster", "slower"),
            basis=f"p50: {milliseconds(p50)} against {milliseconds(teacher_p50)} of the teacher in FP32 on "
            f"{verdict.runtime}, measured on the machine named below",
        ),
        Claim(
            name=verdict.metric.capitalize(),
            value=_score(verdict, verdict.artifact),
            basis=f"against the teacher's {_score(verdict, verdict.teacher)} on {counted(verdict.n_test, 'test row')}; "
            f"{interval(verdict)}",
        ),
    )


def _score(verdict: Verdict, value: float) -> str:
    return score(value, verdict.metric)


def interval(verdict: Verdict) -> str:
    low, high = verdict.drop_ci95
    return f"95 % interval of the drop {points(low)} to {points(high)}"


def _change(verdict: Verdict) -> str:
    drop = round(100 * verdict.drop, 2)
    if drop == 0:
        return f"loses no {verdict.metric} (0.00 points)"
    return f"{'loses' if drop > 0 else 'gains'} {points(abs(verdict.drop))} of {verdict.metric}"


def _ratio(value: float, more: str, less: str) -> str:
    return f"{times(value)} {more}" if value >= 1 else f"{times(1 / value)} {less}"


def failures(verdict: Verdict) -> tuple[str, ...]:
    return (*(failed.message for failed in verdict.failed_budgets), *verdict.failed_guards)


def budgets(run: Run) -> Table:
    """What was asked and what was measured."""
    verdict, budget = run.verdict, run.recipe.budget
    asked = [("max_drop", "drop", points(budget.max_drop), points(verdict.drop))]
    if budget.confident:
        worse_end = points(verdict.drop_ci95[1])
        asked.append(("confident", "drop, worse end of the interval", points(budget.max_drop), worse_end))
    if budget.max_size_bytes is not None:
        limit, size = megabytes(budget.max_size_bytes), megabytes(verdict.size_bytes)
        asked.append(("max_size_bytes", "size of everything the device loads", limit, size))
    if budget.max_latency_ms is not None:
        limit, p50 = milliseconds(budget.max_latency_ms), milliseconds(verdict.latency_ms.p50)
        asked.append(("max_latency_ms", "latency p50", limit, p50))
    failed = {entry.budget for entry in verdict.failed_budgets}
    rows = tuple((what, limit, value, "no" if key in failed else "yes") for key, what, limit, value in asked)
    return Table(title="Budget", columns=("budget", "limit", "measured", "met"), align="lrrl", rows=rows)


def comparison(run: Run) -> Table:
    """The artifact beside what it has to beat."""
    verdict = run.verdict
    size, teacher_size = megabytes(verdict.model_size_bytes), megabytes(verdict.baseline_size_bytes)
    int8_size, int8_quality = megabytes(run.int8_model_size_bytes), _score(verdict, verdict.int8_baseline)
    head = (
        ("artifact", "artifact", _score(verdict, verdict.artifact), size, NONE),
        (
            "fp32",
            "teacher FP32",
            _score(verdict, verdict.teacher),
            teacher_size,
            times(verdict.latency_ratio),
        ),
        ("int8", "teacher INT8", int8_quality, int8_size, times(verdict.int8_latency_ratio)),
        ("eager", "teacher PyTorch", "same", teacher_size, times(verdict.eager_latency_ratio)),
    )
    rows = [(*cells, *_latency(run, name), ratio) for name, *cells, ratio in head]
    linear, what_it_is = LINEAR_BASELINES[verdict.task]
    rows.append((linear, _score(verdict, verdict.bow_baseline), *(NONE,) * 5))
    return Table(
        title="Measured",
        columns=("model", verdict.metric, "size", "p50", "p90", "p99", "faster by"),
        align="lrrrrrr",
        rows=tuple(rows),
        notes=(
            f"size: weights and graph. faster by: p50 of the row over the artifact's. teacher FP32, teacher INT8: the "
            f"teacher whole, on {verdict.runtime}; teacher PyTorch: FP32, eager. {linear}: {what_it_is}.",
            conditions(run),
        ),
    )


def _latency(run: Run, name: str) -> tuple[str, str, str]:
    sample = run.latencies.samples[name]
    return milliseconds(sample.p50), milliseconds(sample.p90), milliseconds(sample.p99)


def runtimes(run: Run) -> Table:
    """The same candidate on every runtime of the run, the verdict's first; no rows where there was only one."""
    every = run.verdicts
    rows = tuple(
        (
            verdict.runtime,
            "PASS" if verdict.passed else "FAIL",
            _score(verdict, verdict.artifact),
            points(verdict.drop),
            megabytes(verdict.model_size_bytes),
            milliseconds(verdict.latency_ms.p50),
            times(verdict.latency_ratio),
        )
        for verdict in every
    )
    return Table(
        title="Runtimes",
        columns=("runtime", "verdict", run.verdict.metric, "drop", "size", "p50", "faster by"),
        align="llrrrrr",
        rows=rows if len(rows) > 1 else (),
        notes=(
            "All in one interleaved run; the fastest that passes is the answer. faster by: p50 of the teacher in FP32 on "
            "that runtime over the artifact's.",
        ),
    )


def conditions(run: Run) -> str:
    """What the measured numbers were taken on."""
    latencies, environment = run.latencies, run.environment
    tokens = latencies.mean_tokens.get("artifact")
    length = f", mean {tokens:.1f} tokens" if tokens is not None else ""
    observations = latencies.samples["artifact"].n
    return (
        f"Measured on {environment.processor} ({counted(environment.cores, 'core')}), {counted(latencies.threads, 'thread')}, batch "
        f"{latencies.batch}, {latencies.inputs:,} real inputs{length} x {latencies.rounds:,} interleaved rounds = "
        f"{observations:,} observations of each model. {run.verdict.metric.capitalize()} on "
        f"{run.verdict.n_test:,} {'held-out' if run.verdict.test_is_held_out else 'carved'} test rows."
    )


def strength(verdict: Verdict) -> str:
    """How good the teacher is: beside a weak one, a small drop proves little."""
    ahead = verdict.teacher - verdict.bow_baseline
    _, linear = LINEAR_BASELINES[verdict.task]
    if ahead <= 0:
        return (
            f"The teacher is no stronger than {linear}: {_score(verdict, verdict.teacher)} against "
            f"{_score(verdict, verdict.bow_baseline)}. A small drop against such a teacher proves little."
        )
    return (
        f"The teacher itself: {_score(verdict, verdict.teacher)}, {points(ahead)} above {linear} with "
        f"{_score(verdict, verdict.bow_baseline)}."
    )


def details(verdict: Verdict) -> Table:
    """Other measured values of the artifact."""
    rows = (
        *(
            (f"{name}, teacher and artifact", f"{score(teacher, name)} and {score(artifact, name)}")
            for name, (teacher, artifact) in verdict.other_metrics.items()
        ),
        ("agreement with the teacher", agreement(verdict.agreement, verdict.metric)),
        ("McNemar's p (exact)", NONE if verdict.mcnemar_p is None else f"{verdict.mcnemar_p:.3g}"),
        ("drop on validation rows, which decisions were made on", points(verdict.validation_drop)),
        ("everything the device loads", megabytes(verdict.size_bytes)),
        ("time to open", milliseconds(verdict.load_ms)),
        ("peak resident memory", megabytes(verdict.peak_rss_bytes)),
        ("the whole run", f"{sum(verdict.wall_s.values()):.0f} s"),
    )
    return Table(title="Also measured", columns=("what", "value"), align="lr", rows=rows)


def install_command(runtime: str, task: str) -> str:
    """What the device needs."""
    reader = "pillow" if task == IMAGES else "tokenizers"
    return " ".join(("pip install numpy", reader, DISTRIBUTION_OF[runtime], *NEEDED_BESIDE.get(runtime, ())))


def use_command(bundle: str, task: str) -> str:
    """The line that answers one input with the bundle."""
    example = {IMAGES: "image.png", QUESTION_TASK: '"question" "context"'}.get(task, '"text"')
    return f"python {shlex.quote(f'{bundle}/run.py')} {example}"


def copy_command(bundle: str) -> str:
    return f"scp -r {shlex.quote(bundle)} user@device:"


def reproduce_command(folder: str) -> str:
    return f"edgesmith run {shlex.quote(f'{folder}/{RECIPE_NAME}')}"


def page(run: Run) -> str:
    """Where the HTML report lies."""
    return (run.path / HTML_NAME).as_posix()
