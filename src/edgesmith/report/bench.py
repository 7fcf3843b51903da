"""A bench as tables: what was asked, what was measured, and what the machine did besides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from string import ascii_uppercase

from edgesmith.records import Bench, Energy, Measurement
from edgesmith.report.facts import NONE, Table
from edgesmith.report.units import counted, megabytes, milliseconds, percent


def bench_tables(bench: Bench) -> tuple[Table, Table]:
    """The bundles, and their figures side by side; on a noisy machine every figure of time or energy says so."""
    return _bundles(bench), _figures(bench)


def failures(bench: Bench) -> list[str]:
    """What was asked and is not met, a sentence each, with the bundle where there are several."""
    return [
        f"{f'{one.bundle}: ' if len(bench.bundles) > 1 else ''}{failure}"
        for one in bench.bundles
        for failure in one.failures
    ]


def _bundles(bench: Bench) -> Table:
    rows = []
    for place, one in enumerate(bench.bundles):
        length = "" if one.mean_tokens is None else f", mean {one.mean_tokens:.1f} tokens"
        rows += [(_name(place), one.bundle), ("", f"{one.runtime}, {one.task}; {one.inputs}{length}")]
    return Table(title="Bundles", columns=("", "folder, and what it was asked"), align="ll", rows=tuple(rows))


def _figures(bench: Bench) -> Table:
    mark = ", noisy" if bench.noise.reasons else ""
    rows = []
    for name, (told, show) in _FIGURES.items():
        found = [one.measured.get(name) for one in bench.bundles]
        if any(found):
            is_time = name not in ("size", "peak_rss")
            cells = (show(each) if each else NONE for each in found)
            rows.append((f"{told}{mark if is_time else ''}", *cells))
    return Table(
        title="Measured",
        columns=("", *(_name(place) for place in range(len(bench.bundles)))),
        align="l" + "r" * len(bench.bundles),
        rows=tuple(rows),
        notes=tuple(_notes(bench)),
    )


def _notes(bench: Bench) -> Iterator[str]:
    config, environment = bench.config, bench.environment
    if bench.noise.reasons:
        yield f"NOISY MACHINE: {'; '.join(bench.noise.reasons)}. Measure again when it is idle."
    asked = {one.measured["latency_max"].n for one in bench.bundles}
    told = ", ".join(f"{number:,}" for number in sorted(asked))
    if config.rate is None:
        yield (
            f"Closed loop, {config.duration_s:g} s a bundle: latency is from the question to its answer, tokens or pixels, "
            f"model and label; n = {told}."
        )
    else:
        yield (
            f"Open loop, {config.arrivals} arrivals, {config.rate:g} a second for {config.duration_s:g} s: latency counts from "
            f"the scheduled arrival, waiting included; every arrival is counted, n = {told}."
        )
    yield (
        "In brackets: 95 % interval, block bootstrap. p99.9 needs 1,000 answers. jitter: mean difference of consecutive "
        "latencies. drift: p50 of the last third against the first, tested by its interval."
    )
    if len(bench.bundles) > 1:
        yield f"ratio: p50 over that of {_name(0)}, same order of inputs, in turns: below 1 is faster."
    if config.cold_starts:
        yield (
            f"cold start: a fresh process up to its first answer; median of {config.cold_starts}. peak memory: "
            "of such a process."
        )
    if bench.energy:
        yield _energy_note(bench.energy)
    cpus = f", CPU {','.join(map(str, config.cpus))}" if config.cpus else ""
    yield (
        f"Measured on {f'{bench.host}: ' if bench.host else ''}{environment.processor} ({counted(environment.cores, 'core')}{cpus}), "
        f"{counted(config.threads, 'thread')}, batch 1, after {counted(config.warmup, 'answer')} to warm up; {bench.date}."
    )
    yield from bench.notes


def _energy_note(energy: Energy) -> str:
    if energy.reason:
        return f"energy: not measured: {energy.reason}."
    return (
        f"energy: measured by {energy.sensor} ({energy.covers}), readings at most {energy.gap_s:.2g} s apart, other programs "
        f"included; {energy.idle_w:.3g} W before the questions. It is of all the time of a bundle's turns, over its answers."
    )


def _name(place: int) -> str:
    return ascii_uppercase[place] if place < len(ascii_uppercase) else str(place + 1)


def _time(one: Measurement) -> str:
    return f"{milliseconds(one.value)}{_interval(one, lambda value: f'{value:.2f}')}"


def _energy(one: Measurement) -> str:
    return f"{one.value:.3g} mJ"


def _ratio(one: Measurement) -> str:
    return f"{one.value:.3f}{_interval(one, lambda value: f'{value:.3f}')}"


def _change(one: Measurement) -> str:
    verdict = ""
    if one.low is not None and one.high is not None:
        verdict = ", none seen" if one.low <= 0 <= one.high else ", drifts"
    return f"{100 * one.value:+.1f} %{_interval(one, lambda value: f'{100 * value:+.1f}')}{verdict}"


def _misses(one: Measurement) -> str:
    return f"{one.value:,.0f} of {one.n:,}, {percent(one.value / one.n)}"


def _interval(one: Measurement, told: Callable[[float], str]) -> str:
    if one.low is None or one.high is None:
        return ""
    return f" ({told(one.low)} to {told(one.high)})"


_FIGURES: dict[str, tuple[str, Callable[[Measurement], str]]] = {
    "latency_p50": ("p50", _time),
    "latency_p90": ("p90", _time),
    "latency_p99": ("p99", _time),
    "latency_p999": ("p99.9", _time),
    "latency_min": ("fastest", _time),
    "latency_max": ("slowest", _time),
    "jitter": ("jitter", _time),
    "drift": ("drift", _change),
    "ratio": ("ratio", _ratio),
    "misses": ("deadline missed", _misses),
    "service_p50": ("p50 of the answer alone", _time),
    "waiting_p99": ("p99 of the waiting", _time),
    "utilisation": ("utilisation", lambda one: percent(one.value)),
    "capacity": ("capacity", lambda one: f"{one.value:,.1f} / s"),
    "cold_start": ("cold start", _time),
    "load": ("  load, part of it", _time),
    "first_answer": ("  first answer, part of it", _time),
    "energy": ("energy per answer", _energy),
    "energy_above_idle": ("  above idle, part of it", _energy),
    "power": ("mean power", lambda one: f"{one.value:.3g} W"),
    "peak_rss": ("peak memory", lambda one: megabytes(one.value)),
    "size": ("size of the bundle", lambda one: megabytes(one.value)),
}
"""Measurement -> its name in the table, and its value as text."""
