"""What else the machine did while something was measured: other programs, its hypervisor, a clock that changes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from edgesmith.records import Noise

MOST_OTHER = 0.1
"""Fraction of the machine's cores that other programs may use."""

MOST_STEAL = 0.01
MOST_SPREAD = 0.1

LOOPS = 200
LOOP_STEPS = 10_000  # about half a millisecond each


@dataclass(frozen=True)
class CpuTimes:
    """Seconds since the machine started, summed over its cores.

    Attributes:
        busy: in any program or in the kernel, the guests' programs included.
        steal: given to others by the hypervisor.
        total: of any kind.
    """

    busy: float
    steal: float
    total: float


class NoiseMeter:
    """Watches the machine for the time of a block; afterwards `noise` says what it saw.

    Args:
        proc: where Linux tells of itself.
    """

    noise: Noise

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def __enter__(self) -> Self:
        self._loops = time_loops()
        self._before, self._begin, self._own = read_cpu_times(self._proc), time.monotonic(), _own_s()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wall, own, after = time.monotonic() - self._begin, _own_s() - self._own, read_cpu_times(self._proc)
        self.noise = judge_noise(
            self._before, after, wall_s=wall, own_s=own, loops=self._loops + time_loops()
        )


def judge_noise(
    before: CpuTimes | None, after: CpuTimes | None, *, wall_s: float, own_s: float, loops: list[float]
) -> Noise:
    """What two looks at the machine and a fixed loop's times say together.

    Args:
        wall_s: between the two looks.
        own_s: that this process computed between them.
        loops: how long each run of the same loop took, in any unit.
    """
    low, middle, high = np.percentile(loops, [10, 50, 90])
    spread, other, steal, reasons = float((high - low) / middle), None, None, []
    if before is not None and after is not None and after.total > before.total:
        cores = (after.total - before.total) / wall_s
        other = max(0.0, (after.busy - before.busy - own_s) / wall_s)
        steal = (after.steal - before.steal) / (after.total - before.total)
        if other > MOST_OTHER * cores:
            reasons.append(f"other programs kept {other:.1f} of {cores:.0f} cores busy")
        if steal > MOST_STEAL:
            reasons.append(f"the hypervisor gave {steal:.1%} of this machine's time to others")
    if spread > MOST_SPREAD:
        reasons.append(f"a fixed loop took between {low / middle:.2f} and {high / middle:.2f} of its median")
    return Noise(other_cores=other, steal=steal, spread=spread, reasons=tuple(reasons))


def read_cpu_times(proc: Path) -> CpuTimes | None:
    """The first line of ``stat`` (proc(5)); None where there is none."""
    try:
        fields = (proc / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    except OSError:
        return None
    # user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user and nice already
    ticks = [int(field) for field in fields[1:9]]
    user, nice, system, _, _, irq, softirq, steal = (*ticks, *[0] * (8 - len(ticks)))
    second = os.sysconf("SC_CLK_TCK")
    return CpuTimes((user + nice + system + irq + softirq) / second, steal / second, sum(ticks) / second)


def time_loops() -> list[float]:
    """Seconds that each of `LOOPS` runs of the same loop took."""
    taken = []
    for _ in range(LOOPS):
        begin = time.perf_counter()
        sum(range(LOOP_STEPS))
        taken.append(time.perf_counter() - begin)
    return taken


def _own_s() -> float:
    own = os.times()
    return own.user + own.system
