"""`edgesmith bench`: compressed bundles on this machine, as a device asks them.

Example:
    >>> import edgesmith
    >>> found = edgesmith.bench(["build/onnxruntime"])
    >>> found.bundles[0].measured["latency_p99"].value
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgesmith.errors import RecipeError, UnsupportedError
from edgesmith.measure.cold_start import measure_starts
from edgesmith.measure.energy import IDLE_S, EnergyWatch
from edgesmith.measure.inputs import BenchInputs, make_inputs, read_inputs
from edgesmith.measure.noise import NoiseMeter
from edgesmith.measure.realtime import Answer, Trace, closed_loop, open_loop, schedule, warm_up
from edgesmith.measure.sensors import SYS
from edgesmith.measure.series import MOST_OPENINGS, Estimate, drift, jitter, percentiles, ratio_of_medians
from edgesmith.measure.size import folder_bytes
from edgesmith.records import (
    DISTRIBUTION_OF,
    Bench,
    BenchConfig,
    BenchedBundle,
    Measurement,
    Progress,
    SilentProgress,
    describe_environment,
)
from edgesmith.runtime.bundle import Bundle, open_bundle
from edgesmith.runtime.load import load_bundle
from edgesmith.runtime.predictor import BundleSession

if TYPE_CHECKING:
    from edgesmith.recipe import DataConfig  # and YAML with it, which a board does without

PACKAGES = ("numpy", "tokenizers", "pillow", *DISTRIBUTION_OF.values())

PERCENTILES = {50.0: "latency_p50", 90.0: "latency_p90", 99.0: "latency_p99", 99.9: "latency_p999"}

MOST_STRETCH = 3
"""A schedule that comes faster than a bundle answers is shortened so that it takes at most so many times its duration."""

BLOCK_S = 1.0
"""Length of a bundle's turn in an open loop, on its own schedule."""

BOOTSTRAP = "95 % interval: block bootstrap"


def bench(
    bundles: Sequence[str | Path],
    config: BenchConfig | None = None,
    *,
    data: DataConfig | None = None,
    progress: Progress | None = None,
) -> Bench:
    """Asks bundles in turns and weighs their answers.

    Args:
        bundles: folders; ratios refer to the first. One may stand there twice.
        config: how.
        data: rows to ask; None makes inputs for each bundle.

    Raises:
        RecipeError: no bundle, CPUs that this process may not use, or a length that a bundle does not take or with data.
        BundleError: no bundle, or a damaged one.
        DataError: rows, or a power meter's file, that cannot be read.
        UnsupportedError: bundles of different tasks with one file of data, a runtime of another release, or an energy
            sensor that cannot be read.
        MissingExtraError: a runtime is not installed.
        MeasureError: a fresh process failed.
    """
    config, progress = config or BenchConfig(), progress or SilentProgress()
    opened = open_bundles(bundles)
    return bench_opened(opened, choose_inputs(opened, data, config), config, progress)


def open_bundles(bundles: Sequence[str | Path]) -> list[Bundle]:
    """Opens and verifies them.

    Raises:
        RecipeError: there is none.
        BundleError: one is none, or damaged.
    """
    if not bundles:
        raise RecipeError("no bundle to bench. Give the folder that holds a manifest.json.")
    return [open_bundle(path) for path in bundles]


def bench_opened(
    opened: Sequence[Bundle],
    asked: Sequence[BenchInputs],
    config: BenchConfig,
    progress: Progress,
    *,
    sys: Path = SYS,
) -> Bench:
    """As `bench`, of bundles and what each is asked: what runs on a board as well.

    Args:
        sys: where Linux shows its energy sensors.
    """
    watch = EnergyWatch(config.energy, sys)
    with on_cpus(config.cpus), ExitStack() as stack:
        for bundle in opened:
            load_bundle(bundle.path, verify=False).close()  # its own error, before a fresh process meets it
        starts = _starts(opened, asked, config, progress)
        sessions = stack.enter_context(_Sessions(opened, asked, config))
        if watch.is_measuring:
            progress.say(f"{IDLE_S:g} s of rest, for the power without questions")
        with watch, NoiseMeter() as meter:
            traces, notes = _ask(sessions, config, progress)
        environment = describe_environment(PACKAGES)
    energy, by_bundle = watch.weigh(traces)
    progress.say("intervals")
    benched = [
        _weigh(bundle, inputs, trace, traces[0] if place else None, config, starts[bundle.path] | joules)
        for place, (bundle, inputs, trace, joules) in enumerate(
            zip(opened, asked, traces, by_bundle, strict=True)
        )
    ]
    return Bench(
        bundles=tuple(benched),
        config=config,
        noise=meter.noise,
        environment=environment,
        date=datetime.date.today().isoformat(),
        notes=(*asked[0].notes, *notes),
        energy=energy,
    )


@contextmanager
def on_cpus(cpus: Sequence[int]) -> Iterator[None]:
    """Inside the block this process, and what it starts, uses these CPUs only; none are all that it has.

    Raises:
        RecipeError: it may not use one of them.
        UnsupportedError: the system binds no process to CPUs.
    """
    if not cpus:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise UnsupportedError("this system does not bind a process to CPUs. Leave --cpu out.")
    before = os.sched_getaffinity(0)
    if not before.issuperset(cpus):
        told = ",".join(map(str, cpus))
        raise RecipeError(f"--cpu is {told}; allowed: {', '.join(map(str, sorted(before)))}.")
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def choose_inputs(
    opened: Sequence[Bundle], data: DataConfig | None, config: BenchConfig
) -> list[BenchInputs]:
    """What each bundle is asked: rows of the data, or inputs that are made for it."""
    if data is None:
        return [make_inputs(bundle, config.length, config.inputs, config.seed) for bundle in opened]
    if config.length is not None:
        raise RecipeError(
            f"length is {config.length}, and there is data, whose texts have their own. Leave out --length or --data."
        )
    return read_inputs(opened, data, config.inputs, config.seed)


def _starts(
    opened: Sequence[Bundle], asked: Sequence[BenchInputs], config: BenchConfig, progress: Progress
) -> dict[Path, dict[str, Measurement]]:
    """By folder, once for a bundle that stands there twice; before any session of this process holds its files."""
    if not config.cold_starts:
        return {bundle.path: {} for bundle in opened}
    progress.say(f"{config.cold_starts} cold starts of each bundle")
    found: dict[Path, dict[str, Measurement]] = {}
    for bundle, inputs in zip(opened, asked, strict=True):
        if bundle.path not in found:
            row = inputs.rows[0]
            found[bundle.path] = measure_starts(bundle, row, threads=config.threads, times=config.cold_starts)
    return found


class _Sessions:
    """A session of every bundle, all of which can be opened anew.

    The first to be opened is slower by a percent or two than another of the same bundle (LOG.md), so every second order is
    the one before it, turned round.

    Attributes:
        answers: of each bundle, from the index of an input to its answer; they go on with the new session.
        inputs: how many there are.
    """

    def __init__(self, opened: Sequence[Bundle], asked: Sequence[BenchInputs], config: BenchConfig) -> None:
        self._opened, self._config, self._stack = opened, config, ExitStack()
        self._predictors: dict[int, BundleSession] = {}
        self._turned: list[int] = []
        self._generator = np.random.default_rng(config.seed)
        self.inputs = len(asked[0].rows)
        self.answers = [self._answer(place, inputs) for place, inputs in enumerate(asked)]

    def _answer(self, place: int, inputs: BenchInputs) -> Answer:
        rows = inputs.rows
        return lambda index: self._predictors[place].predict(*rows[index])

    def renew(self) -> list[Trace]:
        """Opens them, and returns how they warmed up."""
        self._stack.close()
        order = self._turned or self._generator.permutation(len(self._opened)).tolist()
        self._turned = [] if self._turned else order[::-1]
        for place in order:
            path = self._opened[place].path
            predictor = load_bundle(path, threads=self._config.threads, verify=False)
            self._predictors[place] = self._stack.enter_context(predictor)
        return warm_up(self.answers, self.inputs, self._config.warmup)

    def __enter__(self) -> _Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _ask(sessions: _Sessions, config: BenchConfig, progress: Progress) -> tuple[list[Trace], list[str]]:
    """A trace of each bundle, and what a reader has to know of the schedule."""
    answers, inputs = sessions.answers, sessions.inputs
    openings = 1 if len(answers) == 1 else MOST_OPENINGS
    warm = sessions.renew()
    if config.rate is None:
        progress.say(f"{config.duration_s * len(answers):g} s of questions; nothing is shown meanwhile")
        return closed_loop(
            answers, inputs, duration_s=config.duration_s, openings=openings, renew=sessions.renew, seed=config.seed
        ), []  # fmt: skip
    service_s = max(float(np.median(trace.service_ms)) for trace in warm) / 1e3
    most = int(MOST_STRETCH * config.duration_s / service_s)
    due = schedule(
        config.rate, config.duration_s, arrivals=config.arrivals, seed=config.seed, most=max(1, most)
    )
    notes = []
    if len(due) < round(config.rate * config.duration_s):
        notes.append(
            f"The schedule ends after {len(due):,} arrivals: they come faster than they can be answered, and the queue only "
            "grows."
        )
    progress.say(f"{len(due):,} arrivals for each bundle; nothing is shown meanwhile")
    blocks = 1 if len(answers) == 1 else max(1, min(len(due), round(config.duration_s / BLOCK_S)))
    openings = min(openings, blocks)
    return open_loop(
        answers,
        inputs,
        due,
        blocks=blocks,
        openings=openings,
        renew=sessions.renew,
        busy_wait=config.busy_wait,
        seed=config.seed,
    ), notes


def _weigh(
    bundle: Bundle,
    inputs: BenchInputs,
    trace: Trace,
    first: Trace | None,
    config: BenchConfig,
    more: dict[str, Measurement],
) -> BenchedBundle:
    """Everything that was measured of one bundle.

    Args:
        first: that ratios refer to; None for the first bundle itself.
        more: that other parts of the bench measured of it.
    """
    measured = _latencies(trace, config)
    if config.rate is not None:
        measured |= _queue(trace, config)
    if first is not None:
        found = ratio_of_medians(trace.latency_ms, first.latency_ms, trace.opening)
        how = "p50 over that of the first bundle, same inputs in turns; mean of {} openings; 95 % interval: Student's"
        how = how.format(trace.opening[-1] + 1)
        measured["ratio"] = _measurement("ratio", found, "times", len(trace.due), how)
    measured["size"] = Measurement(
        name="size", value=folder_bytes(bundle.path), unit="bytes", n=1, method="all files of the bundle"
    )
    return BenchedBundle(
        bundle=str(bundle.path),
        runtime=bundle.manifest.runtime,
        task=bundle.manifest.task,
        inputs=inputs.origin,
        mean_tokens=inputs.mean_tokens,
        measured=measured | more,
        failures=tuple(_failures(trace, config)),
    )


def _latencies(trace: Trace, config: BenchConfig) -> dict[str, Measurement]:
    """Percentiles, jitter and drift; a percentile that no observation lies beyond is left out."""
    series, n = trace.latency_ms, len(trace.due)
    since = "it was due, waiting included" if config.rate is not None else "it was asked"
    how = f"from when {since}, to its answer"
    values = percentiles(series, list(PERCENTILES), resamples=config.resamples, seed=config.seed)
    found = {}
    for percent, value in values.items():
        name, method = PERCENTILES[percent], how if value.low is None else f"{how}; {BOOTSTRAP}"
        found[name] = _measurement(name, value, "ms", n, method)
    spread = "mean absolute difference of consecutive latencies"
    figures = (
        ("latency_min", Estimate(float(series.min())), "ms", how),
        ("latency_max", Estimate(float(series.max())), "ms", how),
        ("jitter", Estimate(jitter(series)), "ms", spread),
    )
    found |= {name: _measurement(name, value, unit, n, told) for name, value, unit, told in figures}
    change = drift(series, resamples=config.resamples, seed=config.seed)
    if change is not None:
        how = f"p50 of the last third over that of the first, minus 1; {BOOTSTRAP} of each"
        found["drift"] = _measurement("drift", change, "fraction", n, how)
    if config.deadline_ms is not None:
        how = f"answers later than {config.deadline_ms:g} ms, of all"
        misses = Estimate(float((series > config.deadline_ms).sum()))
        found["misses"] = _measurement("misses", misses, "answers", n, how)
    return found


def _queue(trace: Trace, config: BenchConfig) -> dict[str, Measurement]:
    """What an answer takes by itself, how long inputs wait for their turn, and how much of the time is taken."""
    service, n = trace.service_ms, len(trace.due)
    mean_s = float(service.mean()) / 1e3
    figures = (
        ("service_p50", float(np.median(service)), "ms", "from when an input's turn came, to its answer"),
        (
            "waiting_p99",
            float(np.percentile(trace.waiting_ms, 99)),
            "ms",
            "from when it was due, to its turn",
        ),
        ("utilisation", mean_s * (config.rate or 0), "fraction", "rate times mean service time"),
        ("capacity", 1 / mean_s, "answers/s", "1 / mean service time"),
    )
    return {name: _measurement(name, Estimate(value), unit, n, how) for name, value, unit, how in figures}


def _failures(trace: Trace, config: BenchConfig) -> Iterator[str]:
    """What was asked and is not met."""
    n, fastest, mean_s = len(trace.due), float(trace.service_ms.min()), float(trace.service_ms.mean()) / 1e3
    if config.deadline_ms is not None and fastest > config.deadline_ms:
        yield (
            f"no answer meets the deadline of {config.deadline_ms:g} ms: the fastest of {n:,} took {fastest:.3g} ms."
        )
    if config.rate is not None and config.rate * mean_s > 1:
        yield (
            f"a rate of {config.rate:g} a second is {config.rate * mean_s:.0%} of what it can answer, {1 / mean_s:.3g} a "
            "second: the queue grows without end."
        )
    if config.deadline_ms is not None and config.max_misses is not None:
        missed = float((trace.latency_ms > config.deadline_ms).mean())
        if missed > config.max_misses:
            yield (
                f"{missed:.2%} of {n:,} answers missed the deadline of {config.deadline_ms:g} ms; allowed: "
                f"{config.max_misses:.2%}."
            )


def _measurement(name: str, found: Estimate, unit: str, n: int, method: str) -> Measurement:
    return Measurement(
        name=name, value=found.value, unit=unit, n=n, method=method, low=found.low, high=found.high
    )
