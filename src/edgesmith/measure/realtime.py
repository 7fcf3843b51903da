"""Bundles asked in a closed or an open loop, with the moments at which each input was due, begun and answered.

In an open loop latency counts from when an input was *due*: while one answer is late, the inputs behind it wait, and
their waiting is part of their latency. A loop that asked only when it is free would leave it out (coordinated omission;
G. Tene, "How NOT to Measure Latency", 2013).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesmith.measure.latency import NS_PER_MS, Milliseconds, gc_paused

NS_PER_S = 10**9

SPIN_NS = 200_000
"""Before an input is due the loop stays awake for this long: a sleeping process wakes tens of microseconds late."""

Answer = Callable[[int], object]
"""Answers the input of an index and returns when the answer is there."""

Renew = Callable[[], object]
"""Opens what answers anew."""

Clock = Callable[[], int]
Nanoseconds = NDArray[np.int64]


@dataclass(frozen=True)
class Trace:
    """One bundle's answers in order.

    Attributes:
        due, begun, done: of each, (T,) nanoseconds; in a closed loop an input is due when it is begun.
        turns: (K, 2) nanoseconds of the clock from which to which nothing else was asked.
        opening: (T,) of each, how many times its bundle had been opened anew before.
    """

    due: Nanoseconds
    begun: Nanoseconds
    done: Nanoseconds
    turns: Nanoseconds
    opening: NDArray[np.int64]

    @property
    def latency_ms(self) -> Milliseconds:
        """(T,) from due to done."""
        return (self.done - self.due) / NS_PER_MS

    @property
    def service_ms(self) -> Milliseconds:
        """(T,) from begun to done."""
        return (self.done - self.begun) / NS_PER_MS

    @property
    def waiting_ms(self) -> Milliseconds:
        """(T,) from due to begun."""
        return (self.begun - self.due) / NS_PER_MS


def warm_up(
    answers: Sequence[Answer], inputs: int, times: int, *, clock: Clock = time.perf_counter_ns
) -> list[Trace]:
    """Every bundle answers the first inputs, in turns, `times` inputs in all."""
    indices = [turn % inputs for turn in range(times)]
    return _in_turns(answers, ((index, range(len(answers))) for index in indices), clock)


def closed_loop(
    answers: Sequence[Answer],
    inputs: int,
    *,
    duration_s: float,
    openings: int = 1,
    renew: Renew = tuple,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
) -> list[Trace]:
    """Asks again as soon as there is an answer, for `duration_s` seconds a bundle.

    Inputs come in a freshly shuffled order, and for each the bundles take turns in a freshly shuffled order, so that
    index t of every trace is the same input. The garbage collector rests meanwhile.

    Args:
        inputs: how many there are.
        openings: equal parts of that time, between which `renew` is called.
    """
    generator, parts = np.random.default_rng(seed), []
    for opening in range(openings):
        if opening:
            renew()
        with gc_paused():
            end = clock() + int(duration_s / openings * NS_PER_S) * len(answers)
            parts.append(
                _in_turns(answers, _shuffled_until(end, inputs, len(answers), generator, clock), clock)
            )
    return [_joined(each) for each in zip(*parts, strict=True)]


def _joined(parts: Sequence[Trace]) -> Trace:
    """What followed each other; each part is an opening."""
    return Trace(
        due=np.concatenate([part.due for part in parts]),
        begun=np.concatenate([part.begun for part in parts]),
        done=np.concatenate([part.done for part in parts]),
        turns=np.concatenate([part.turns for part in parts]),
        opening=np.repeat(np.arange(len(parts)), [len(part.due) for part in parts]),
    )


def _shuffled_until(
    end: int, inputs: int, bundles: int, generator: np.random.Generator, clock: Clock
) -> Iterator[tuple[int, Iterable[int]]]:
    """An input and the order of the bundles, again and again; the first comes whatever the time."""
    while True:
        for index in generator.permutation(inputs).tolist():
            yield index, generator.permutation(bundles).tolist()
            if clock() >= end:
                return


def _in_turns(
    answers: Sequence[Answer], turns: Iterable[tuple[int, Iterable[int]]], clock: Clock
) -> list[Trace]:
    moments: list[list[tuple[int, int]]] = [[] for _ in answers]
    for index, order in turns:
        for bundle in order:
            begun = clock()
            answers[bundle](index)
            moments[bundle].append((begun, clock()))
    arrays = [np.array(each, np.int64).T for each in moments]  # (2, T)
    if len(answers) == 1:
        ((begun, done),) = arrays
        return [Trace(begun, begun, done, np.array([[begun[0], done[-1]]]), np.zeros_like(begun))]
    return [
        Trace(begun, begun, done, np.stack([begun, done], 1), np.zeros_like(begun)) for begun, done in arrays
    ]


def schedule(
    rate: float, duration_s: float, *, arrivals: str = "fixed", seed: int = 0, most: int | None = None
) -> Nanoseconds:
    """When inputs are due, (T,) nanoseconds from the start; `rate` x `duration_s` of them, or `most`.

    Args:
        arrivals: ``fixed``: the first at 0, at distances of 1 / `rate`; ``poisson``: exponential distances of that mean.
    """
    count = round(rate * duration_s)
    count = count if most is None else max(1, min(count, most))
    if arrivals == "poisson":
        distances = np.random.default_rng(seed).exponential(NS_PER_S / rate, count)
        return np.cumsum(distances).astype(np.int64)
    return (np.arange(count) * (NS_PER_S / rate)).astype(np.int64)


def open_loop(
    answers: Sequence[Answer],
    inputs: int,
    due: Nanoseconds,
    *,
    blocks: int = 1,
    openings: int = 1,
    renew: Renew = tuple,
    busy_wait: bool = False,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Trace]:
    """Answers inputs one after the other, each when it is due or as soon after as the one before is answered.

    Every arrival is answered and counted. With several bundles each has the whole schedule to itself: they take turns,
    a block of arrivals at a time, and the clock of a bundle, its queue included, stands still while others have theirs.

    Args:
        due: (T,) nanoseconds from the start, increasing.
        blocks: of the schedule.
        openings: equal parts of the blocks, between which `renew` is called while all clocks stand still.
        busy_wait: never sleep.
    """
    generator = np.random.default_rng(seed)
    spin_ns = sys.maxsize if busy_wait else SPIN_NS
    first = {part[0] for part in np.array_split(np.arange(blocks), openings)[1:]}
    opening = np.zeros(len(due), np.int64)
    begun, done = np.empty((2, len(answers), len(due)), np.int64)
    suspended = [0] * len(answers)
    turns: list[list[tuple[int, int]]] = [[] for _ in answers]
    moments = [int(moment) for moment in due]  # a numpy integer would take part in every subtraction below
    with gc_paused():
        for number, block in enumerate(np.array_split(np.arange(len(due)), blocks)):
            if number in first:
                renew()
                opening[block[0] :] += 1
            for bundle in generator.permutation(len(answers)):
                answer, turn = answers[bundle], clock()
                start = turn - suspended[bundle]
                for arrival in block.tolist():
                    _wait_until(start + moments[arrival], spin_ns, clock, sleep)
                    begun[bundle, arrival] = clock() - start
                    answer(arrival % inputs)
                    done[bundle, arrival] = clock() - start
                end = clock()
                suspended[bundle] = end - start
                turns[bundle].append((turn, end))
    return [Trace(due, *rows, opening) for rows in zip(begun, done, map(np.array, turns), strict=True)]


def _wait_until(moment: int, spin_ns: int, clock: Clock, sleep: Callable[[float], None]) -> None:
    """Sleeps, but for the last `spin_ns`."""
    left = moment - clock()
    if left > spin_ns:
        sleep((left - spin_ns) / NS_PER_S)
    while clock() < moment:
        pass
