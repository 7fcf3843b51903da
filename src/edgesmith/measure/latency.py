"""Latency of several artifacts in interleaved passes: each sees the same inputs, and none always follows the same."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesmith.errors import MeasureError
from edgesmith.records import Latencies, LatencySample

NS_PER_MS = 1e6

Milliseconds = NDArray[np.float64]


def time_interleaved(
    runs: Mapping[str, Callable[[Any], object]],
    inputs: Mapping[str, Sequence[Any]],
    *,
    rounds: int,
    threads: int,
    mean_tokens: Mapping[str, float],
    **options: Any,
) -> Latencies:
    """Percentiles of artifacts that `time_passes` times side by side.

    Args:
        runs, inputs, rounds, options: of `time_passes`.
        threads: what the artifacts were opened with; recorded, not set.
        mean_tokens: artifact name -> mean input length as its own tokenizer counts; recorded.

    Raises:
        MeasureError: as `time_passes`.
    """
    elapsed, cpu_share = time_passes(runs, inputs, rounds=rounds, **options)
    return Latencies(
        samples={name: _sample(values) for name, values in elapsed.items()},
        rounds=rounds,
        inputs=next(iter(elapsed.values())).shape[1],
        threads=threads,
        mean_tokens=dict(mean_tokens),
        cpu_share=cpu_share,
    )


def time_passes(
    runs: Mapping[str, Callable[[Any], object]],
    inputs: Mapping[str, Sequence[Any]],
    *,
    rounds: int,
    warmup: int = 2,
    seed: int = 0,
    after_round: Callable[[int], None] = lambda _: None,
    clock: Callable[[], int] = time.perf_counter_ns,
    cpu_clock: Callable[[], int] = time.process_time_ns,
) -> tuple[dict[str, Milliseconds], float]:
    """Times artifacts side by side, so that a machine that slows down slows them all.

    In every round the artifacts take turns in a freshly shuffled order, each with one pass over all inputs: what is timed is
    a model that answers one input after the other, as in MLPerf's single-stream scenario (arXiv:1911.02549), whatever
    stands beside it. Turns on each input would time every artifact with its caches full of the largest one's weights.
    Warm-up rounds are the same and not timed; the garbage collector rests meanwhile.

    Args:
        runs: artifact name -> call that answers one encoded input and returns when the answer is there.
        inputs: artifact name -> its encoded inputs; index i is the same text for every artifact.
        rounds: timed passes of each artifact over the inputs.
        warmup: rounds that are not timed.
        seed: of the order of turns.
        after_round: told, between turns, how many rounds are done, those of the warm-up included.
        clock: nanoseconds, monotonic.
        cpu_clock: nanoseconds that this process computed; what is missing, other programs had.

    Returns:
        Artifact name -> (rounds, inputs) in milliseconds, and `Latencies.cpu_share`.

    Raises:
        MeasureError: no artifact, no input, no round, or artifacts that do not have the same inputs.
    """
    n = _input_count(runs, inputs, rounds)
    names = list(runs)
    elapsed = {name: np.empty((rounds, n), dtype=np.int64) for name in names}
    with gc_paused():
        for _, index, name in _turns(names, n, warmup, seed, after_round):
            runs[name](inputs[name][index])
        begin, cpu_begin = clock(), cpu_clock()
        for turn, index, name in _turns(names, n, rounds, seed + 1, lambda done: after_round(warmup + done)):
            run, value = runs[name], inputs[name][index]
            start = clock()
            run(value)
            elapsed[name][turn, index] = clock() - start
        wall, cpu = clock() - begin, cpu_clock() - cpu_begin
    elapsed_ms = {name: values / NS_PER_MS for name, values in elapsed.items()}
    return elapsed_ms, min(1.0, cpu / max(1, wall))


def _input_count(runs: Mapping[str, object], inputs: Mapping[str, Sequence[Any]], rounds: int) -> int:
    if not runs or runs.keys() != inputs.keys():
        raise MeasureError(
            f"latency: artifacts {sorted(runs)} and inputs for {sorted(inputs)}; expected at least one artifact, "
            "and inputs for each. Encode the texts with every artifact's own tokenizer."
        )
    lengths = {name: len(values) for name, values in inputs.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise MeasureError(
            f"latency: number of inputs by artifact is {lengths}; expected the same number, 1 or more, for each. "
            "Encode the same texts for every artifact."
        )
    if rounds < 1:
        raise MeasureError(f"latency: rounds is {rounds}; allowed: 1 or more. Set validate.rounds.")
    return next(iter(lengths.values()))


def _turns(
    names: Sequence[str], inputs: int, rounds: int, seed: int, after_round: Callable[[int], None]
) -> Iterator[tuple[int, int, str]]:
    """(round, input, artifact) in the order in which they run."""
    generator = np.random.default_rng(seed)
    for turn in range(rounds):
        for position in generator.permutation(len(names)):
            for index in range(inputs):
                yield turn, index, names[position]
        after_round(turn + 1)


@contextmanager
def gc_paused() -> Iterator[None]:
    """The garbage collector rests inside the block."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _sample(elapsed_ms: Milliseconds) -> LatencySample:
    """Percentiles over all observations, shape (rounds, inputs)."""
    p50, p90, p99 = np.percentile(elapsed_ms, [50, 90, 99])
    return LatencySample(p50=float(p50), p90=float(p90), p99=float(p99), n=elapsed_ms.size)
