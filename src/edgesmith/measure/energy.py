"""Energy of the timed part of a bench, per answer: read from a sensor, or not told.

A thread reads the sensor from before the first question to after the last one. What a bundle took is what was used in its
turns; a sensor that is too slow to tell turns apart is not asked to.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgesmith.errors import DataError, MeasureError, UnsupportedError
from edgesmith.measure.power_log import PowerLog, read_power_log
from edgesmith.measure.realtime import NS_PER_S, Nanoseconds, Trace
from edgesmith.measure.sensors import SYS, EnergySensor, Gauge, find_gauges
from edgesmith.records import Energy, Measurement, is_power_log

AUTO = ("jetson", "rapl")
"""In this order; not NVML, since the runtimes that are benched do not use a GPU."""

PERIOD_S = 0.1
"""Between two readings. Slow enough not to disturb the answers; RAPL renews its counter about every millisecond, NVML every
20 to 100 ms (PETSc manual, PetscLogGpuEnergyMeter)."""

IDLE_S = 3.0

STEPS_OF_TURN = 5
"""Readings that a turn of a bundle lasts at least, on average: at each of its ends the reading that spans both bundles is
divided in proportion to time, which gives one at most a quarter of a reading's energy that the other used."""

WAIT_S = 5.0
"""For a meter's file to reach the end of the timed part."""

CLOCK_STEP_S = 0.1
"""That the clock of the system may be set by during the bench."""

PREDICT = "edgesmith analyze MODEL --target T predicts it"


@dataclass(frozen=True)
class EnergyCurve:
    """Energy over time.

    Attributes:
        moments: (N,) nanoseconds of `time.perf_counter_ns`, increasing.
        joules: (N,) since the first.
        watts: (N,) where power was read, which is taken to change linearly; None for a counter.
    """

    moments: Nanoseconds
    joules: NDArray[np.float64]
    watts: NDArray[np.float64] | None = None

    @classmethod
    def of_power(cls, moments: Nanoseconds, watts: NDArray[np.float64]) -> EnergyCurve:
        """By the trapezoidal rule."""
        parts = np.diff(moments) / NS_PER_S * (watts[1:] + watts[:-1]) / 2
        return cls(moments, np.concatenate([[0.0], np.cumsum(parts)]), watts)

    def between(self, turns: Nanoseconds) -> float:
        """Joules used in (K, 2) turns, which lie between its first and its last moment."""
        begin, end = self._at(turns.T)
        return float((end - begin).sum())

    def gaps_s(self, moments: Nanoseconds) -> NDArray[np.float64]:
        """Seconds between the readings on either side of each moment."""
        place = np.clip(np.searchsorted(self.moments, moments, "right"), 1, len(self.moments) - 1)
        return (self.moments[place] - self.moments[place - 1]) / NS_PER_S

    def longest_gap_s(self, begin: int, end: int) -> float:
        """Between two neighbouring readings of a span."""
        inside = self.moments[(self.moments > begin) & (self.moments < end)]
        return float(self.gaps_s(np.concatenate([[begin], inside])).max())

    def _at(self, moments: Nanoseconds) -> NDArray[np.float64]:
        if self.watts is None:
            return np.interp(moments, self.moments, self.joules)
        place = np.searchsorted(self.moments, moments, "right") - 1
        since_s = (moments - self.moments[place]) / NS_PER_S
        mean_w = (self.watts[place] + np.interp(moments, self.moments, self.watts)) / 2
        return self.joules[place] + since_s * mean_w


class Meter(AbstractContextManager["Meter"], ABC):
    """Measures for the time of a block.

    Attributes:
        sensor: what it reads; the log of a USB meter tells its columns when it was read.
    """

    sensor: EnergySensor

    @abstractmethod
    def curve(self, begin: int, end: int) -> EnergyCurve:
        """After the block: of a span of it at least, in nanoseconds of `time.perf_counter_ns`.

        Raises:
            MeasureError: it does not reach over the span, or stood still.
            DataError: a file that cannot be read.
        """


class GaugeMeter(Meter):
    """Reads a sensor of this machine in a thread."""

    def __init__(self, gauge: Gauge, period_s: float = PERIOD_S) -> None:
        if gauge.read is None:
            raise UnsupportedError(f"{gauge.sensor.name} cannot be read: {gauge.sensor.detail}")
        self.sensor, self._read, self._is_counter = gauge.sensor, gauge.read, gauge.is_counter
        self._period_s, self._readings = period_s, list[tuple[int, float]]()
        self._problem: OSError | ValueError | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def __enter__(self) -> Self:
        self._take()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
        self._take()

    def curve(self, begin: int, end: int) -> EnergyCurve:
        if self._problem is not None:
            raise MeasureError(
                f"{self.sensor.name} could not be read any more after {len(self._readings):,} readings: {self._problem}"
            )
        moments = np.array([moment for moment, _ in self._readings], np.int64)
        values = np.array([value for _, value in self._readings])
        if not self._is_counter:
            return EnergyCurve.of_power(moments, values)
        if values[-1] == values[0]:
            raise MeasureError(f"{self.sensor.name}: the counter stood still, as virtual machines' do")
        return EnergyCurve(moments, values - values[0])

    def _go_on(self) -> None:
        while not self._is_over.wait(self._period_s):
            self._take()

    def _take(self) -> None:
        if self._problem is None:
            try:
                value = self._read()
                self._readings.append((time.perf_counter_ns(), value))
            except (OSError, ValueError) as problem:
                self._problem = problem


class LogMeter(Meter):
    """Reads a USB meter's file, which its own program writes meanwhile, after the block."""

    def __init__(self, path: Path, *, wait_s: float = WAIT_S) -> None:
        self._path, self._wait_s = path, wait_s
        self._take(read_power_log(path))

    def _take(self, log: PowerLog) -> None:
        self._log = log
        self.sensor = EnergySensor(name=self._path.name, is_readable=True, detail=log.columns)

    def __enter__(self) -> Self:
        self._since_1970 = _clock_offset()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._set_by_s = (_clock_offset() - self._since_1970) / NS_PER_S

    def curve(self, begin: int, end: int) -> EnergyCurve:
        if abs(self._set_by_s) > CLOCK_STEP_S:
            raise MeasureError(f"the system's clock was set by {self._set_by_s:.1f} s meanwhile")
        until = time.monotonic() + self._wait_s
        while True:
            self._take(read_power_log(self._path))
            moments = self._log.moments - self._since_1970
            if (len(moments) and moments[-1] >= end) or time.monotonic() >= until:
                break
            time.sleep(0.1)
        if not len(moments) or moments[0] > begin or moments[-1] < end:
            had = "no sample"
            if len(moments):
                had = f"samples from {_time(self._log.moments[0])} to {_time(self._log.moments[-1])}"
            asked = f"{_time(begin + self._since_1970)} to {_time(end + self._since_1970)}"
            raise MeasureError(
                f"{self._path} has {had}, and the bench lasted from {asked}. The meter has to log before, during and after it, "
                "by the clock of this machine"
            )
        return EnergyCurve.of_power(moments, self._log.watts)


def _clock_offset() -> int:
    """Nanoseconds to add to those of `time.perf_counter_ns` for those since 1970."""
    return time.time_ns() - time.perf_counter_ns()


def _time(moment: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment / NS_PER_S))


class EnergyWatch:
    """Measures energy for the time of a block, which begins with a rest; afterwards `weigh` says what bundles took in it.

    Args:
        energy: as `BenchConfig.energy`; None measures nothing and does not rest.
        sys: where Linux shows its drivers.
        idle_s: length of the rest.

    Raises:
        UnsupportedError: that sensor cannot be read.
        DataError: the meter's file cannot be read, or lacks columns.
    """

    def __init__(self, energy: str | None, sys: Path = SYS, *, idle_s: float = IDLE_S) -> None:
        self._meter, self._reason = _choose(energy, sys)
        self._idle_s = idle_s

    @property
    def is_measuring(self) -> bool:
        return self._meter is not None

    def __enter__(self) -> Self:
        if self._meter is not None:
            self._meter.__enter__()
            begin = time.perf_counter_ns()
            time.sleep(self._idle_s)
            self._idle = begin, time.perf_counter_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._meter is not None:
            self._meter.__exit__(kind, error, trace)

    def weigh(self, traces: Sequence[Trace]) -> tuple[Energy | None, list[dict[str, Measurement]]]:
        """How energy was measured, or why not, and each bundle's measurements by name."""
        if self._meter is not None:
            return weigh_energy(self._meter, self._idle, traces)
        return Energy(reason=self._reason) if self._reason else None, [{} for _ in traces]


def _choose(energy: str | None, sys: Path) -> tuple[Meter | None, str | None]:
    """What measures, or else the reason why nothing does where it was asked for."""
    if energy is None:
        return None, None
    if is_power_log(energy):
        return LogMeter(Path(energy)), None
    gauges = find_gauges(sys)
    if energy != "auto":
        return GaugeMeter(gauges[energy]), None
    for name in AUTO:
        if gauges[name].read is not None:
            return GaugeMeter(gauges[name]), None
    reasons = [
        f"{gauge.sensor.name}: {gauge.sensor.detail}" for gauge in gauges.values() if gauge.read is None
    ]
    if gauges["nvml"].read is not None:
        reasons.append(
            "NVML tells of the GPU only, which these runtimes do not use; to read it: --energy nvml"
        )
    return None, f"no sensor can be read ({'; '.join(reasons)}). {PREDICT}"


def weigh_energy(
    meter: Meter, idle: tuple[int, int], traces: Sequence[Trace]
) -> tuple[Energy, list[dict[str, Measurement]]]:
    """Energy of each bundle's answers, or the reason why there is none.

    Args:
        meter: after its block.
        idle: when nothing was asked.
        traces: of the bundles.
    """
    none: list[dict[str, Measurement]] = [{} for _ in traces]
    begin, end = idle[0], max(int(trace.turns[-1, 1]) for trace in traces)
    try:
        curve = meter.curve(begin, end)
    except (MeasureError, DataError) as problem:
        return Energy(sensor=meter.sensor.name, reason=f"{str(problem).removesuffix('.')}. {PREDICT}"), none
    idle_w = curve.between(np.array([idle])) / ((idle[1] - idle[0]) / NS_PER_S)
    how = Energy(
        sensor=meter.sensor.name,
        covers=meter.sensor.detail,
        gap_s=curve.longest_gap_s(begin, end),
        idle_w=idle_w,
    )
    reason = _unresolved(curve, traces, begin, end)
    if reason is not None:
        return replace(how, reason=reason), none
    return how, [_measured(curve, meter.sensor, idle_w, trace) for trace in traces]


def _unresolved(curve: EnergyCurve, traces: Sequence[Trace], begin: int, end: int) -> str | None:
    """Why the readings do not tell the bundles' energy apart; None where they do."""
    border_s = max(float(curve.gaps_s(trace.turns).mean()) for trace in traces)
    turn_s = min(float(np.diff(trace.turns).mean()) for trace in traces) / NS_PER_S
    if turn_s < STEPS_OF_TURN * border_s:
        advice = "Bench one by one, or in turns of 1 s: --rate 30" if len(traces) > 1 else "Bench for longer"
        return (
            f"readings lie {border_s:.3g} s apart where turns end, which tells turns of {STEPS_OF_TURN * border_s:.3g} s and "
            f"more; those of a bundle last {turn_s:.3g} s. {advice}"
        )
    gap_s = curve.longest_gap_s(begin, end)
    all_s = min(float(np.diff(trace.turns).sum()) for trace in traces) / NS_PER_S
    if curve.watts is not None and all_s < STEPS_OF_TURN * gap_s:  # a counter goes on between its readings
        return f"there is no reading of power for {gap_s:.3g} s, and a bundle had {all_s:.3g} s. Bench for longer"
    return None


def _measured(
    curve: EnergyCurve, sensor: EnergySensor, idle_w: float, trace: Trace
) -> dict[str, Measurement]:
    joules, n = curve.between(trace.turns), len(trace.due)
    seconds = float(np.diff(trace.turns).sum()) / NS_PER_S
    how = f"{sensor.name}, {sensor.detail}: of all its turns, over the number of answers"
    figures = (
        ("energy", 1e3 * joules / n, "mJ", how),
        (
            "energy_above_idle",
            1e3 * (joules - idle_w * seconds) / n,
            "mJ",
            f"{how}, less the power before the questions",
        ),
        ("power", joules / seconds, "W", f"{sensor.name}: mean of all its turns"),
    )
    return {
        name: Measurement(name=name, value=value, unit=unit, n=n, method=method)
        for name, value, unit, method in figures
    }
