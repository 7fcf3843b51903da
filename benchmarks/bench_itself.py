"""A bundle benched against itself: how often does the 95 % interval of the ratio cover 1? Writes results/bench_itself.md.

python benchmarks/bench_itself.py BUNDLE [seconds] [times]
"""

from __future__ import annotations

import sys
from pathlib import Path

from table import header

from edgesmith import BenchConfig, bench
from edgesmith.records import Bench, Measurement

ROOT = Path(__file__).parents[1]
LEAST = 0.85
"""Part of the intervals that must cover 1."""


def main(bundle: str, seconds: float, times: int) -> int:
    found = []
    for seed in range(times):
        found.append(bench([bundle] * 2, BenchConfig(duration_s=seconds, cold_starts=0, seed=seed)))
        print(line(found[-1]), flush=True)
    covered = sum(covers(one) for one in found)
    lines = [
        *header("A bundle against itself", found[0].environment),
        f"Made by `python benchmarks/bench_itself.py BUNDLE {seconds:g} {times}`: two sessions of one bundle, in turns, a "
        f"closed loop of {seconds:g} s each. The 95 % interval of the ratio of their p50 covers 1 in {covered} of {times} "
        f"runs; at least {LEAST:.0%} are asked for.",
        "",
        "| seed | ratio | from | to | covers 1 | n | the machine |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *map(line, found),
    ]
    (ROOT / "results" / "bench_itself.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{covered} of {times} cover 1")
    return 0 if covered >= LEAST * times else 1


def ratio(found: Bench) -> Measurement:
    return found.bundles[1].measured["ratio"]


def covers(found: Bench) -> bool:
    low, high = ratio(found).low, ratio(found).high
    return low is not None and high is not None and low <= 1 <= high


def line(found: Bench) -> str:
    one, noise = ratio(found), "; ".join(found.noise.reasons) or "quiet"
    ends = ["-" if end is None else f"{end:.4f}" for end in (one.low, one.high)]
    cells = (
        found.config.seed,
        f"{one.value:.4f}",
        *ends,
        "yes" if covers(found) else "no",
        f"{one.n:,}",
        noise,
    )
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    seconds, times = (*sys.argv[2:4], *("5", "20")[len(sys.argv[2:4]) :])
    sys.exit(main(sys.argv[1], float(seconds), int(times)))
