"""A bundle at a frame rate: 80 % and 120 % of its closed-loop rate, and a pause that no statistic may hide. Resumable.

python benchmarks/open_loop.py BUNDLE   # writes results/open_loop.md; cells are kept in runs/open_loop

Where the machine was not quiet the page says so; remove the cells of such a run and measure again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from study import arguments, cell, write_page

from edgesmith import BenchConfig, bench
from edgesmith.measure.inputs import DEFAULT_LENGTH, make_inputs
from edgesmith.measure.realtime import Trace, closed_loop, open_loop, schedule
from edgesmith.records import to_dict
from edgesmith.report.facts import Table
from edgesmith.runtime.bundle import open_bundle
from edgesmith.runtime.load import load_bundle

MOST_MISSES = 0.001
LOADS = {"80 %": 0.8, "120 %": 1.2}
PAUSE_LOAD, PAUSE_S = 0.5, 0.5


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--duration", type=float, default=60, help="seconds of each loop")
    parser.add_argument(
        "--lengths",
        type=int,
        nargs="+",
        default=[DEFAULT_LENGTH],
        help="of the texts in tokens, one after the other",
    )
    asked = parser.parse_args()
    tables, told, is_kept = [], [], True
    for length in asked.lengths:
        folder = asked.runs / "open_loop" / str(length)
        loop = {"bundle": asked.bundle, "duration_s": asked.duration, "length": length}
        closed = cell(folder / "closed.json", measure, **loop)
        if "latency_p99" not in closed["measured"]:
            raise SystemExit("fewer than 100 answers: no p99. Remove the cell and give a longer --duration.")
        rate, deadline_ms = closed["rate"], 2 * closed["measured"]["latency_p99"]["value"]
        loops = {
            name: cell(
                folder / f"open-{load:g}.json", measure, **loop, rate=load * rate, deadline_ms=deadline_ms, busy_wait=True
            )
            for name, load in LOADS.items()
        }  # fmt: skip
        paused = cell(folder / "pause.json", pause, **loop, rate=PAUSE_LOAD * rate, deadline_ms=deadline_ms)
        share = misses(loops["80 %"]) / loops["80 %"]["measured"]["latency_p50"]["n"]
        complete = all(
            loops[name]["measured"]["latency_p50"]["n"] == round(load * rate * asked.duration)
            for name, load in LOADS.items()
        )
        seen = paused["open"]["misses"] >= paused["expected"]
        tables += [loop_table(length, closed, loops, deadline_ms), pause_table(length, paused, deadline_ms)]
        told.append(
            f"{length} tokens: {share:.3%} misses at 80 %; every arrival counted: {complete}; the pause is seen: {seen}"
        )
        is_kept &= share <= MOST_MISSES and complete and seen
    write_page(
        asked.results,
        "open_loop",
        "A bundle at a frame rate",
        f"Made by `python benchmarks/open_loop.py BUNDLE --duration {asked.duration:g} --lengths "
        f"{' '.join(map(str, asked.lengths))}`: {closed['runtime']}, one thread, {asked.duration:g} s each, awake between arrivals "
        "(`--busy-wait`). Everything is measured.",
        tables,
        [],
    )
    print("\n".join(told))
    return 0 if is_kept else 1


def measure(bundle: Path, duration_s: float, **loop: Any) -> dict[str, Any]:
    """One loop: what was measured, and what the machine did meanwhile."""
    found = bench([bundle], BenchConfig(duration_s=duration_s, cold_starts=0, **loop))
    one = found.bundles[0]
    return {
        "runtime": one.runtime,
        "rate": one.measured["latency_p50"].n / duration_s,
        "measured": to_dict(one.measured),
        "failures": list(one.failures),
        "noise": list(found.noise.reasons),
    }


def pause(bundle: Path, duration_s: float, length: int, rate: float, deadline_ms: float) -> dict[str, Any]:
    """The same answers with one that sleeps, in the middle of an open loop and of a closed one.

    Returns:
        With ``expected``: arrivals that are due during the pause and cannot be answered in time.
    """
    opened = open_bundle(bundle)
    config = BenchConfig()
    rows = make_inputs(opened, length, config.inputs, config.seed).rows
    with load_bundle(bundle, verify=False) as session:
        count = round(rate * duration_s)
        asked = partial(_sleeping, lambda index: session.predict(*rows[index]), count // 2)
        due = schedule(rate, duration_s)
        trace = open_loop([asked()], len(rows), due, busy_wait=True)[0]
        closed = closed_loop([asked()], len(rows), duration_s=duration_s)[0]
    return {
        "pause_s": PAUSE_S,
        "rate": rate,
        "expected": int(rate * (PAUSE_S - deadline_ms / 1e3)),
        "open": _counted(trace, deadline_ms),
        "closed": _counted(closed, deadline_ms),
    }


def _sleeping(answer: Callable[[int], object], turn: int) -> Callable[[int], None]:
    """The answer of number `turn` comes `PAUSE_S` late."""
    turns = iter(range(sys.maxsize))

    def asked(index: int) -> None:
        answer(index)
        if next(turns) == turn:
            time.sleep(PAUSE_S)

    return asked


def _counted(trace: Trace, deadline_ms: float) -> dict[str, float]:
    latency = trace.latency_ms
    return {
        "n": len(latency),
        "misses": int((latency > deadline_ms).sum()),
        "max_ms": float(latency.max()),
    }


def misses(loop: dict[str, Any]) -> int:
    return int(loop["measured"]["misses"]["value"])


def loop_table(length: int, closed: dict[str, Any], loops: dict[str, Any], deadline_ms: float) -> Table:
    def row(name: str, loop: dict[str, Any]) -> tuple[str, ...]:
        measured = loop["measured"]
        p50, n = measured["latency_p50"]["value"], measured["latency_p50"]["n"]
        late = f"{misses(loop):,} ({misses(loop) / n:.3%})" if "misses" in measured else "-"
        return (
            name,
            f"{n:,}",
            f"{p50:.3f}",
            f"{measured['latency_p99']['value']:.3f}",
            f"{measured['latency_max']['value']:.1f}",
            late,
            "; ".join([*loop["noise"], *loop["failures"]]) or "quiet",
        )

    return Table(
        title=f"{length} tokens, deadline {deadline_ms:.2f} ms: twice the closed loop's p99",
        columns=("loop", "n", "p50 ms", "p99 ms", "longest ms", "late", "the machine, and what is not met"),
        align="lrrrrrl",
        rows=(row("closed", closed), *(row(f"open, {name}", loop) for name, loop in loops.items())),
        notes=(
            f"the closed loop answers {closed['rate']:.1f} a second; n of an open loop is all arrivals of its schedule.",
            f"asked for: at 80 % at most {MOST_MISSES:.1%} late.",
        ),
    )


def pause_table(length: int, paused: dict[str, Any], deadline_ms: float) -> Table:
    return Table(
        title=f"{length} tokens, one answer of all sleeps for {paused['pause_s']:g} s",
        columns=("loop", "n", "late", "longest ms"),
        align="lrrr",
        rows=tuple(
            (name, f"{paused[name]['n']:,}", f"{paused[name]['misses']:,}", f"{paused[name]['max_ms']:.1f}")
            for name in ("open", "closed")
        ),
        notes=(
            f"open: {paused['rate']:.1f} arrivals a second, {PAUSE_LOAD:.0%} of the closed loop's. At least "
            f"{paused['expected']:,} are due during the pause and answered after {deadline_ms:.2f} ms; a closed loop "
            "asks nothing meanwhile and has one late answer (coordinated omission).",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
