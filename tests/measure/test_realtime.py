"""Loops on a clock that only the answers and the waiting move, so that every moment is known; one on the real clock."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.stats import kstest

from edgesmith.measure.realtime import Trace, closed_loop, open_loop, schedule, warm_up

MS = 10**6
READING = 100  # nanoseconds that looking at the clock takes, so that waiting for a moment ends


class World:
    """A clock, a sleep, and answers that take as long as they are told to."""

    def __init__(self) -> None:
        self.now = 0
        self.asked: list[tuple[str, int]] = []

    def clock(self) -> int:
        self.now += READING
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)

    def answer(self, name: str, costs: Sequence[int]) -> Callable[[int], None]:
        """The k-th call takes costs[k] nanoseconds; the last of them for ever."""
        calls = itertools.chain(costs, itertools.repeat(costs[-1]))

        def run(index: int) -> None:
            self.asked.append((name, index))
            self.now += next(calls)

        return run


def arrive(costs: Sequence[int], due: np.ndarray, **options: int) -> Trace:
    world = World()
    (trace,) = open_loop([world.answer("a", costs)], 3, due, clock=world.clock, sleep=world.sleep, **options)
    assert world.asked == [("a", arrival % 3) for arrival in range(len(due))]
    return trace


def lindley(costs: Sequence[int], due: np.ndarray) -> np.ndarray:
    """Latencies of a queue with one server: an input is begun when it is due or when the one before is done."""
    done, free = [], 0
    for cost, moment in zip(costs, due, strict=True):
        free = max(free, moment) + cost
        done.append(free)
    return (np.array(done) - due) / MS


def close(count: int) -> dict[str, float]:
    """Tolerance for the readings of the clock, in milliseconds."""
    return {"rtol": 0, "atol": 5 * count * READING / MS}


@pytest.mark.parametrize("arrivals", ["fixed", "poisson"])
def test_latencies_are_those_of_a_queue(arrivals: str) -> None:
    due = schedule(rate=100, duration_s=2, arrivals=arrivals, seed=1)
    costs = np.random.default_rng(0).integers(1 * MS, 17 * MS, len(due)).tolist()
    trace = arrive(costs, due)
    np.testing.assert_allclose(trace.latency_ms, lindley(costs, due), **close(len(due)))
    np.testing.assert_allclose(trace.service_ms, np.array(costs) / MS, **close(1))
    np.testing.assert_allclose(trace.waiting_ms + trace.service_ms, trace.latency_ms)


def test_every_arrival_during_a_pause_shows_its_delay() -> None:
    """One answer takes 500 ms, the others 2: the i-th arrival after it waits for what is left of both."""
    due, pause, cost, step = schedule(rate=100, duration_s=2), 500 * MS, 2 * MS, 10 * MS
    trace = arrive([cost] * 20 + [pause] + [cost], due)
    behind = np.arange(1, len(due) - 20)
    wanted = np.maximum(pause - behind * step + behind * cost, cost) / MS
    np.testing.assert_allclose(trace.latency_ms[21:], wanted, **close(len(due)))
    assert (trace.latency_ms > 10).sum() == 1 + (wanted > 10).sum() > 50  # a closed loop would have seen one
    np.testing.assert_allclose(np.delete(trace.service_ms, 20), cost / MS, **close(1))


def test_above_capacity_every_arrival_is_counted_and_the_queue_grows() -> None:
    """At 120 % of capacity the k-th answer comes S + k (S - D) after its arrival, with S = 1.2 D."""
    due, cost, step, deadline_ms = schedule(rate=100, duration_s=5), 12 * MS, 10 * MS, 33
    trace = arrive([cost], due)
    assert len(trace.latency_ms) == 500
    wanted = (cost + np.arange(500) * (cost - step)) / MS
    np.testing.assert_allclose(trace.latency_ms, wanted, **close(500))
    assert (trace.latency_ms > deadline_ms).sum() == 500 - 11  # 12 + 2 k > 33 from k = 11 on


def test_bundles_in_turns_have_the_latencies_they_have_alone() -> None:
    """The queue of one stands still while the other has its turn; here it never empties."""
    due = schedule(rate=100, duration_s=3)
    costs = {"slow": [12 * MS], "fast": [1 * MS] * 40 + [300 * MS] + [1 * MS]}
    world = World()
    answers = [world.answer(name, cost) for name, cost in costs.items()]
    traces = open_loop(answers, 3, due, blocks=7, clock=world.clock, sleep=world.sleep)
    for trace, cost in zip(traces, costs.values(), strict=True):
        np.testing.assert_allclose(trace.latency_ms, arrive(cost, due).latency_ms, **close(len(due)))
    names = [name for name, _ in world.asked]
    assert sum(1 for _ in itertools.groupby(names)) > 7  # they do take turns
    turns = sorted(tuple(turn) for trace in traces for turn in trace.turns.tolist())
    assert len(turns) == 2 * 7
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(turns))
    for trace in traces:  # its own clock goes on in its turns only, from 0 to its last answer
        assert np.diff(trace.turns).sum() == pytest.approx(trace.done[-1], abs=7 * 2 * READING)


def test_a_busy_loop_never_sleeps() -> None:
    world, slept = World(), []
    answer, due = world.answer("a", [2 * READING]), np.arange(5) * 100 * READING
    options = {"clock": world.clock, "sleep": slept.append}
    (trace,) = open_loop([answer], 3, due, busy_wait=True, **options)
    np.testing.assert_allclose(trace.latency_ms, 2 * READING / MS, atol=4 * READING / MS)
    assert not slept


def test_on_the_real_clock_a_sleeping_answer_delays_all_behind_it() -> None:
    """The artificial session sleeps 0.3 s once; each arrival behind it waits at least for what is left of that."""
    pause_s, rate, calls = 0.3, 100, itertools.count()

    def answer(_: int) -> None:
        if next(calls) == 10:
            time.sleep(pause_s)

    (trace,) = open_loop([answer], 1, schedule(rate=rate, duration_s=0.6))
    assert len(trace.latency_ms) == 60
    behind = np.arange(int(pause_s * rate))
    assert (trace.latency_ms[10 : 10 + len(behind)] >= 1e3 * (pause_s - behind / rate)).all()
    assert (trace.begun >= trace.due).all()


def test_a_fixed_schedule_has_equal_distances() -> None:
    due = schedule(rate=30, duration_s=60)
    assert len(due) == 1800
    np.testing.assert_allclose(due, np.arange(1800) * 1e9 / 30, rtol=0, atol=1)


def test_a_poisson_schedule_has_exponential_distances() -> None:
    due = schedule(rate=30, duration_s=100, arrivals="poisson", seed=3)
    assert len(due) == 3000
    distances_s = np.diff(due, prepend=0) / 1e9
    assert kstest(distances_s, "expon", args=(0, 1 / 30)).pvalue > 0.01
    assert (schedule(rate=30, duration_s=100, arrivals="poisson", seed=3) == due).all()
    assert (schedule(rate=30, duration_s=100, arrivals="poisson", seed=4) != due).any()


def test_a_schedule_can_be_cut() -> None:
    assert (schedule(rate=10, duration_s=9, most=5) == schedule(rate=10, duration_s=0.5)).all()


def test_a_closed_loop_asks_all_bundles_the_same_for_its_time() -> None:
    world = World()
    costs = {"a": [3 * MS], "b": [1 * MS]}
    answers = [world.answer(name, cost) for name, cost in costs.items()]
    traces = closed_loop(answers, 5, duration_s=0.1999, clock=world.clock)
    for trace, (cost,) in zip(traces, costs.values(), strict=True):
        np.testing.assert_allclose(trace.latency_ms, cost / MS, **close(1))
        assert (trace.due == trace.begun).all()
        assert (trace.turns == np.stack([trace.begun, trace.done], 1)).all()
    counts = {len(trace.due) for trace in traces}
    assert counts == {2 * 200 // (3 + 1)}  # almost 0.2 s for each of two
    turns = [dict(world.asked[place : place + 2]) for place in range(0, len(world.asked), 2)]
    assert all(turn.keys() == {"a", "b"} and len(set(turn.values())) == 1 for turn in turns)
    assert {name for name, _ in world.asked[::2]} == {"a", "b"}  # none always comes first
    indices = [index for _, index in world.asked[::2]]
    assert all(sorted(indices[place : place + 5]) == list(range(5)) for place in range(0, 100, 5))


def test_what_answers_is_opened_anew_between_equal_parts() -> None:
    """Ten parts of a closed loop; of an open one too, whose queue goes on as if nothing had happened."""
    world, renewed = World(), []
    answers = [world.answer(name, [2 * MS]) for name in "ab"]
    traces = closed_loop(
        answers,
        5,
        duration_s=1,
        openings=10,
        renew=lambda: renewed.append(len(world.asked)),
        clock=world.clock,
    )
    counts = np.bincount(traces[0].opening)
    np.testing.assert_allclose(counts, 50, atol=1)
    assert renewed == (2 * np.cumsum(counts)[:-1]).tolist()
    assert (traces[0].opening == traces[1].opening).all()
    due, renewed = schedule(rate=1000, duration_s=1), []
    world = World()

    def renew() -> None:
        renewed.append(len(world.asked))
        world.sleep(0.25)

    answers = [world.answer(name, [2 * MS]) for name in "ab"]
    options = {"clock": world.clock, "sleep": world.sleep}
    traces = open_loop(answers, 5, due, blocks=20, openings=10, renew=renew, **options)
    assert np.bincount(traces[0].opening).tolist() == [100] * 10
    assert renewed == list(range(200, 2000, 200))
    np.testing.assert_allclose(traces[0].latency_ms, arrive([2 * MS], due).latency_ms, **close(len(due)))


def test_a_closed_loop_asks_once_however_short_its_time() -> None:
    world = World()
    (trace,) = closed_loop([world.answer("a", [5 * MS])], 3, duration_s=1e-6, clock=world.clock)
    assert len(trace.due) == 1


def test_a_bundle_alone_has_one_turn() -> None:
    world = World()
    (trace,) = closed_loop([world.answer("a", [5 * MS])], 3, duration_s=0.1, clock=world.clock)
    assert trace.turns.tolist() == [[trace.begun[0], trace.done[-1]]]
    (trace,) = open_loop(
        [world.answer("a", [5 * MS])], 3, schedule(10, 1), clock=world.clock, sleep=world.sleep
    )
    assert np.diff(trace.turns) == pytest.approx(trace.done[-1], abs=2 * READING)


def test_warming_up_asks_every_bundle_the_first_inputs() -> None:
    world = World()
    traces = warm_up(
        [world.answer("a", [9, 1]), world.answer("b", [2])], inputs=2, times=3, clock=world.clock
    )
    assert world.asked == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 0), ("b", 0)]
    assert [(trace.done - trace.begun - READING).tolist() for trace in traces] == [[9, 1, 1], [2, 2, 2]]


@pytest.mark.parametrize("loop", ["open", "closed"])
def test_the_garbage_collector_rests(loop: str) -> None:
    seen: list[bool] = []
    answers = [lambda _: seen.append(gc.isenabled())]
    if loop == "open":
        open_loop(answers, 1, schedule(rate=1000, duration_s=0.01))
    else:
        closed_loop(answers, 1, duration_s=0.001)
    assert seen and not any(seen)
    assert gc.isenabled()
