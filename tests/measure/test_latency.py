import gc
from collections import Counter
from itertools import count, pairwise

import numpy as np
import pytest

from edgesmith.errors import MeasureError
from edgesmith.measure.latency import time_interleaved

NAMES = ("artifact", "fp32", "int8")


class Bench:
    """Artifacts that write down each call and take a known number of nanoseconds on the bench's own clock."""

    def __init__(self, cost_ns):
        self.calls, self.now = [], 0
        self.runs = {name: self.artifact(name, cost) for name, cost in cost_ns.items()}

    def artifact(self, name, cost):
        def run(value):
            self.calls.append((name, value))
            self.now += cost(value)

        return run

    def time(self, inputs, rounds, **options):
        per_name = {name: [(name, value) for value in inputs] for name in self.runs}
        settings = {"threads": 1, "mean_tokens": {}} | options
        return time_interleaved(self.runs, per_name, rounds=rounds, clock=lambda: self.now, **settings)


def constant(cost):
    return lambda _: cost


def test_every_artifact_answers_its_own_encoding_of_every_input_equally_often():
    bench = Bench(dict.fromkeys(NAMES, constant(1)))
    bench.time(range(5), rounds=4, warmup=3)
    assert Counter(bench.calls) == {(name, (name, index)): 4 + 3 for name in NAMES for index in range(5)}


def test_artifacts_take_turns_pass_by_pass():
    bench = Bench(dict.fromkeys(NAMES, constant(1)))
    bench.time(range(5), rounds=4, warmup=1)
    passes = [bench.calls[start : start + 5] for start in range(0, len(bench.calls), 5)]
    assert all([value[1] for _, value in each] == list(range(5)) for each in passes)
    owners = [{name for name, _ in each} for each in passes]
    rounds = [owners[start : start + len(NAMES)] for start in range(0, len(owners), len(NAMES))]
    assert len(rounds) == 1 + 4
    assert all(len(owner) == 1 for owner in owners)
    assert all(set.union(*each) == set(NAMES) for each in rounds)


def test_finished_rounds_are_told_between_turns():
    bench, told = Bench(dict.fromkeys(NAMES, constant(1))), []
    bench.time(range(2), rounds=3, warmup=1, after_round=lambda done: told.append((done, len(bench.calls))))
    assert told == [(done, done * 2 * len(NAMES)) for done in (1, 2, 3, 4)]


def test_no_artifact_always_follows_the_same():
    bench = Bench(dict.fromkeys(NAMES, constant(1)))
    bench.time(range(1), rounds=400, warmup=0)
    names = [name for name, _ in bench.calls]
    pairs = Counter(pairwise(names))
    for name in NAMES:
        others = [pairs[(before, name)] for before in NAMES if before != name]
        assert min(others) > 0.25 * sum(others)  # about a half each
    first = Counter(names[:: len(NAMES)])
    assert all(0.25 < first[name] / 400 < 0.42 for name in NAMES)  # about a third each


def test_order_depends_on_the_seed_only():
    def order(seed):
        bench = Bench(dict.fromkeys(NAMES, constant(1)))
        bench.time(range(5), rounds=2, seed=seed)
        return bench.calls

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_percentiles_are_those_of_the_true_costs_in_ms():
    rng = np.random.default_rng(0)
    costs = {name: rng.integers(1_000_000, 9_000_000, 7) for name in NAMES}
    bench = Bench({name: lambda value: int(costs[value[0]][value[1]]) for name in NAMES})
    result = bench.time(range(7), rounds=3)
    for name in NAMES:
        expected = np.percentile(np.tile(costs[name], 3) / 1e6, [50, 90, 99])
        sample = result.samples[name]
        assert (sample.p50, sample.p90, sample.p99) == pytest.approx(tuple(expected))
        assert sample.n == 7 * 3


def test_warmup_is_not_counted():
    slow_first = count()
    bench = Bench({"artifact": lambda _: 10**9 if next(slow_first) < 4 else 2_000_000})
    result = bench.time(range(2), rounds=5, warmup=2)
    assert result.samples["artifact"].p99 == 2.0


def test_conditions_are_recorded():
    result = Bench({"artifact": constant(1)}).time("ab", rounds=3, threads=2, mean_tokens={"artifact": 9.5})
    assert (result.inputs, result.rounds, result.threads, result.batch) == (2, 3, 2, 1)
    assert result.mean_tokens == {"artifact": 9.5}


@pytest.mark.parametrize(("cpu_per_ns", "share"), [(1.0, 1.0), (0.4, 0.4), (2.0, 1.0)])
def test_what_other_programs_took_is_recorded(cpu_per_ns, share):
    bench = Bench({"artifact": constant(100)})
    result = bench.time("ab", rounds=5, cpu_clock=lambda: int(bench.now * cpu_per_ns))
    assert result.cpu_share == pytest.approx(share)


def test_real_clock_gives_positive_times():
    result = time_interleaved(
        {"sum": sum}, {"sum": [range(1000), range(2000)]}, rounds=3, threads=1, mean_tokens={}
    )
    sample = result.samples["sum"]
    assert 0 < sample.p50 <= sample.p90 <= sample.p99


def test_garbage_collector_rests_and_comes_back():
    seen = []
    runs, inputs = {"artifact": lambda _: seen.append(gc.isenabled())}, {"artifact": [0]}
    time_interleaved(runs, inputs, rounds=1, threads=1, mean_tokens={})
    assert seen == [False, False, False]
    assert gc.isenabled()


def test_garbage_collector_comes_back_after_an_artifact_that_fails():
    with pytest.raises(ZeroDivisionError):
        time_interleaved({"a": lambda x: 1 / x}, {"a": [0]}, rounds=1, threads=1, mean_tokens={})
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("inputs", "rounds", "message"),
    [
        ({"a": [], "b": []}, 1, "1 or more, for each"),
        ({"a": [1], "b": [1, 2]}, 1, r"\{'a': 1, 'b': 2\}"),
        ({"a": [1]}, 1, r"artifacts \['a', 'b'\] and inputs for \['a'\]"),
        ({"a": [1], "b": [1]}, 0, "rounds is 0"),
    ],
)
def test_refuses_inputs_that_cannot_be_compared(inputs, rounds, message):
    with pytest.raises(MeasureError, match=message):
        time_interleaved({"a": abs, "b": abs}, inputs, rounds=rounds, threads=1, mean_tokens={})


def test_refuses_no_artifact():
    with pytest.raises(MeasureError, match="at least one artifact"):
        time_interleaved({}, {}, rounds=1, threads=1, mean_tokens={})
