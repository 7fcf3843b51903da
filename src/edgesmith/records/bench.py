"""What a bench of bundles was asked, and what it measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgesmith.errors import RecipeError, choose_from
from edgesmith.records.measurement import Environment, Measurement
from edgesmith.records.task import Task

BENCH_VERSION = 1
ARRIVALS = ("fixed", "poisson")
ENERGY_SENSORS = ("auto", "rapl", "nvml", "jetson")


def is_power_log(energy: str) -> bool:
    """Whether an option of energy is a file of a power meter."""
    return energy.lower().endswith(".csv")


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """How bundles are benched.

    Attributes:
        duration_s: of the timed part, for each bundle: of asking, or of the schedule of arrivals.
        rate: arrivals a second (open loop); None asks again as soon as there is an answer (closed loop).
        arrivals: the schedule of an open loop: at equal distances, or with exponential ones of the same mean.
        busy_wait: in an open loop stay awake until the next arrival: what waking up takes, on a virtual machine up to tens
            of milliseconds, is then not in the latencies, and neither is what a clock rate that fell meanwhile costs.
        deadline_ms: time from when an input is due to its answer.
        max_misses: largest fraction of answers after the deadline; None reports it only.
        length: tokens of the inputs where these are made, special ones included; None is `DEFAULT_LENGTH`, or what the
            bundle takes at most.
        inputs: different ones.
        warmup: answers of each bundle that are not timed.
        threads: of the runtime.
        cpus: that this process may use; empty for all that it has.
        cold_starts: fresh processes of each bundle; 0 measures no start and no memory.
        energy: sensor to read, one of `ENERGY_SENSORS`, or the .csv file that a power meter writes meanwhile; None for none.
        resamples: of every bootstrap.
        seed: of inputs, arrivals, turns and bootstraps.
    """

    duration_s: float = 10.0
    rate: float | None = None
    arrivals: Literal["fixed", "poisson"] = "fixed"
    busy_wait: bool = False
    deadline_ms: float | None = None
    max_misses: float | None = None
    length: int | None = None
    inputs: int = 32
    warmup: int = 20
    threads: int = 1
    cpus: tuple[int, ...] = ()
    cold_starts: int = 3
    energy: str | None = None
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("duration_s", "rate", "deadline_ms"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise RecipeError(f"{name} is {value:g}; allowed: a finite number above 0.")
        lowest = {"length": 1, "inputs": 1, "warmup": 1, "threads": 1, "cold_starts": 0, "resamples": 100}
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise RecipeError(f"{name} is {value}; allowed: {least} or more.")
        if self.arrivals not in ARRIVALS:
            raise RecipeError(choose_from("schedule of arrivals", self.arrivals, ARRIVALS))
        if self.arrivals != "fixed" and self.rate is None:
            raise RecipeError(f"arrivals are {self.arrivals!r} and there is no rate. Type: --rate 30")
        if self.busy_wait and self.rate is None:
            raise RecipeError(
                "busy_wait is True and there is no rate, so nothing is waited for. Type: --rate 30"
            )
        if self.max_misses is not None and not (self.deadline_ms and 0 <= self.max_misses < 1):
            raise RecipeError(
                f"max_misses is {self.max_misses:g}; allowed: a fraction from 0 to below 1, with a deadline. "
                "Type: --deadline 33ms --max-misses 0.1%"
            )
        if self.energy is not None and self.energy not in ENERGY_SENSORS and not is_power_log(self.energy):
            raise RecipeError(
                f"{choose_from('energy sensor', self.energy, ENERGY_SENSORS)} Or name a power meter's file that ends in .csv."
            )
        if self.rate is not None and self.rate * self.duration_s < 1:
            raise RecipeError(
                f"a rate of {self.rate:g} a second gives no arrival in {self.duration_s:g} s; allowed: a duration of "
                f"{1 / self.rate:g} s or more."
            )


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What else the machine did while it measured; None means that the system does not tell.

    Attributes:
        other_cores: that other programs kept busy, on average.
        steal: fraction of the time of this machine's cores that its hypervisor gave to others.
        spread: of a fixed loop's time before and after: (p90 - p10) / p50.
        reasons: why the numbers are not to be trusted; empty on a quiet machine.
    """

    other_cores: float | None
    steal: float | None
    spread: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Energy:
    """How energy was measured, or why not.

    Attributes:
        sensor: that was read; None where none can be.
        covers: what its energy is of.
        gap_s: longest time between two readings.
        idle_w: power before the questions, with all bundles loaded.
        reason: why no bundle's energy is told; None where it is.
    """

    sensor: str | None = None
    covers: str | None = None
    gap_s: float | None = None
    idle_w: float | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class BenchedBundle:
    """One bundle of a bench.

    Attributes:
        bundle: its folder.
        inputs: what it was asked: rows of a file, or inputs that were made.
        mean_tokens: of these, special ones included; None for images.
        measured: name -> measurement.
        failures: what was asked and this bundle does not do on this machine, in words.
    """

    bundle: str
    runtime: str
    task: Task
    inputs: str
    mean_tokens: float | None
    measured: dict[str, Measurement]
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Bundles that were benched together, interleaved.

    Attributes:
        bundles: in the order given; the first is what ratios refer to.
        noise: beside every number: a noisy machine measures itself.
        environment: of the machine that measured.
        date: as YYYY-MM-DD.
        notes: what was guessed of the data, and what a reader has to know besides.
        host: the board that measured, as it was named; None where the machine that was asked did.
        energy: how it was measured, or why not; None where it was not asked for.
    """

    bundles: tuple[BenchedBundle, ...]
    config: BenchConfig
    noise: Noise
    environment: Environment
    date: str
    notes: tuple[str, ...] = ()
    host: str | None = None
    energy: Energy | None = None
    schema_version: int = BENCH_VERSION
