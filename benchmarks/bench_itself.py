"""A bundle benched against itself: how often does the 95 % interval of the ratio cover 1? Resumable.

python benchmarks/bench_itself.py BUNDLE [seconds] [times]  # writes results/bench_itself.md; cells in runs/bench_itself
"""

from __future__ import annotations

import sys

from study import arguments, cell
from table import header

from edgesmith import BenchConfig, bench
from edgesmith.records import Bench, Measurement, from_dict, write_text

LEAST = 0.85
"""Part of the intervals that must cover 1."""


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("bundle")
    parser.add_argument("seconds", type=float, nargs="?", default=5)
    parser.add_argument("times", type=int, nargs="?", default=20)
    asked = parser.parse_args()
    seconds, times, found = asked.seconds, asked.times, []
    for seed in range(times):
        kept = cell(
            asked.runs / "bench_itself" / f"{seed}.json",
            once,
            bundle=asked.bundle,
            seconds=seconds,
            seed=seed,
        )
        found.append(from_dict(Bench, kept, where="a cell of bench_itself"))
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
    write_text(asked.results / "bench_itself.md", "\n".join(lines) + "\n")
    print(f"{covered} of {times} cover 1")
    return 0 if covered >= LEAST * times else 1


def once(bundle: str, seconds: float, seed: int) -> Bench:
    return bench([bundle] * 2, BenchConfig(duration_s=seconds, cold_starts=0, seed=seed))


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
    sys.exit(main())
