"""A device profile: what is known of a board and of each unit that computes on it, each figure with its public source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from edgesmith.errors import RecipeError, UnsupportedError, choose_from
from edgesmith.records import Rates
from edgesmith.targets.capabilities import runtime_names

HOST = "host"

Architecture = Literal["x86_64", "aarch64"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)

Precision = Literal["fp32", "bf16", "fp16", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
ELEMENT_BYTES: dict[str, float] = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1, "int4": 0.5}

OTHER_RUNTIMES = ("coreml", "qnn", "rknn", "tensorrt")
"""Those that drive accelerators, and for which no bundle is written (yet)."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One thing that computes: a cluster of equal CPU cores, a GPU, a neural processor. None is what is not published.

    Attributes:
        processor: in words.
        features: instructions that matter here, as ``/proc/cpuinfo`` names them.
        clock_hz: the highest that a core is sold with.
        caches_bytes: level -> bytes: ``l1d`` and private levels of one core, shared levels in all.
        macs_per_cycle: precision -> multiply-accumulates that one core starts in a cycle.
        macs_per_s: precision -> those of the whole unit, on dense matrices: its MACs a cycle x its clock, or half of its
            operations a second.
        precisions: formats that it multiplies; INT8 counts with or without dot-product instructions.
        runtimes: those that drive it; None for a CPU is what the device's profile names.
        rates: measured by `edgesmith targets calibrate`.
        sources: figure -> document it was read in, and the arithmetic where it is derived.
        unknown: figure -> why it is not stated.
    """

    kind: Literal["cpu", "gpu", "npu"]
    processor: str | None = None
    features: tuple[str, ...] | None = None
    cores: int | None = None
    clock_hz: int | None = None
    caches_bytes: dict[str, int] | None = None
    macs_per_cycle: dict[str, int] | None = None
    macs_per_s: dict[str, float] | None = None
    precisions: tuple[Precision, ...] | None = None
    runtimes: tuple[str, ...] | None = None
    rates: Rates | None = None
    sources: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        """Every figure by name; None where it is not known."""
        return _figures(self, {"kind", "rates", "sources", "unknown"})

    def check(self, place: str) -> None:
        """Raises `RecipeError` for what makes no sense; the text names the place."""
        _check_sources(place, self.figures(), self.sources, self.unknown)
        _check_positive(place, self.figures())
        for name in ("macs_per_cycle", "macs_per_s"):
            for precision in getattr(self, name) or ():
                if precision not in PRECISIONS:
                    raise RecipeError(f"{place}, {name}: " + choose_from("precision", precision, PRECISIONS))
        rated = {*(self.macs_per_cycle or ()), *(self.macs_per_s or ())}
        if lacking := rated - {*(self.precisions or ())}:
            raise RecipeError(
                f"{place}: a rate is stated for {', '.join(sorted(lacking))}, which precisions does not list; it lists "
                f"{', '.join(self.precisions or ()) or 'none'}. Add it there."
            )
        for runtime in self.runtimes or ():
            known = (*runtime_names(), *OTHER_RUNTIMES)
            if runtime not in known:
                raise RecipeError(f"{place}: " + choose_from("runtime", runtime, known))

    @property
    def last_level_cache_bytes(self) -> int | None:
        """The largest cache, which is the last before memory."""
        return max(self.caches_bytes.values()) if self.caches_bytes else None

    def peak(self, precision: str, threads: int | None = None) -> float | None:
        """Multiply-accumulates a second at most; None where it is not known.

        Args:
            threads: cores that compute; None for all.
        """
        if self.rates:
            return self.rates.peak(precision, threads or self.rates.threads[-1])
        share = 1.0 if threads is None or self.cores is None else min(threads, self.cores) / self.cores
        if precision in (self.macs_per_s or {}):
            return share * (self.macs_per_s or {})[precision]
        a_cycle, cores = (self.macs_per_cycle or {}).get(precision), self.cores or threads
        if a_cycle is None or self.clock_hz is None or cores is None:
            return None
        return share * a_cycle * self.clock_hz * cores


@dataclass(frozen=True, kw_only=True)
class Target:
    """One device. None means unknown, or not the same on every device of the name.

    Attributes:
        runtimes: those that edgesmith writes bundles for and that run on it, on its CPU.
        architecture: instruction set of the CPU, as `platform.machine()` names it.
        memory: kind and transfer rate, such as ``LPDDR4X-4267``.
        memory_sizes_bytes: that it is sold with.
        memory_bandwidth_bytes_s: of all units together.
        power_min_w, power_max_w: of its lowest and highest mode, or what it draws at most; the whole module or board.
        units: name -> unit; the first is what is meant where none is named.
        sources: figure -> document it was read in, and the arithmetic where it is derived.
        unknown: figure -> why it is not stated.
    """

    name: str
    description: str
    runtimes: tuple[str, ...]
    units: dict[str, Unit]
    architecture: Architecture | None = None
    memory: str | None = None
    memory_sizes_bytes: tuple[int, ...] | None = None
    memory_bandwidth_bytes_s: float | None = None
    power_min_w: float | None = None
    power_max_w: float | None = None
    sources: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        place = f"target {self.name!r}"
        for runtime in self.runtimes:
            if runtime not in runtime_names():
                raise RecipeError(f"{place}: " + choose_from("runtime", runtime, runtime_names()))
        if not self.units:
            raise RecipeError(f"{place}: units is empty; at least one is needed, such as cpu.")
        _check_sources(place, self.figures(), self.sources, self.unknown)
        _check_positive(place, self.figures())
        if (self.power_min_w or 0) > (self.power_max_w or float("inf")):
            raise RecipeError(
                f"{place}: power_min_w is {self.power_min_w}; allowed: at most power_max_w, {self.power_max_w}."
            )
        for name, unit in self.units.items():
            unit.check(f"{place}, unit {name!r}")

    @property
    def is_host(self) -> bool:
        """Whether it is this machine, where everything can be measured."""
        return self.name == HOST

    def figures(self) -> dict[str, Any]:
        """Every figure of the device as a whole by name; None where it is not known."""
        return _figures(self, {"name", "description", "runtimes", "units", "sources", "unknown"})

    @property
    def main_unit(self) -> str:
        """Name of the unit that is meant where none is named."""
        return next(iter(self.units))

    def unit(self, name: str | None = None) -> Unit:
        """The unit of a name.

        Raises:
            RecipeError: it has none of that name.
        """
        name = name or self.main_unit
        if name not in self.units:
            raise RecipeError(f"target {self.name!r}: " + choose_from("unit", name, self.units))
        return self.units[name]

    def check_executes(self, unit: str, precision: str) -> None:
        """Raises `UnsupportedError` for a precision that a unit does not multiply, with those that it does."""
        if precision not in PRECISIONS:
            raise RecipeError(choose_from("precision", precision, PRECISIONS))
        executed = self.unit(unit).precisions
        if executed is None:
            raise UnsupportedError(
                f"the profile of {self.name!r} does not say which precisions its {unit} executes. "
                f"Type: {advice_for_unknown(self)}"
            )
        if precision not in executed:
            others = [name for name, one in self.units.items() if precision in (one.precisions or ())]
            raise UnsupportedError(
                f"{unit} of {self.name!r} does not execute {precision}; it executes {', '.join(executed)}."
                + (f" {precision} is executed by: {', '.join(others)}." if others else "")
            )


def advice_for_unknown(target: Target) -> str:
    """The line to type where a profile states too little."""
    return "edgesmith targets calibrate" if target.is_host else f"edgesmith targets show {target.name}"


def _figures(record: Target | Unit, described: set[str]) -> dict[str, Any]:
    return {item.name: getattr(record, item.name) for item in fields(record) if item.name not in described}


def _check_sources(
    place: str, figures: dict[str, Any], sources: dict[str, str], unknown: dict[str, str]
) -> None:
    known = {name for name, value in figures.items() if value is not None}
    if known != set(sources):
        raise RecipeError(
            f"{place}: every figure needs a source and every source a figure; figures {sorted(known)}, "
            f"sources {sorted(sources)}."
        )
    for name in unknown:
        if name not in figures:
            raise RecipeError(f"{place}, unknown: " + choose_from("figure", name, figures))
        if name in known:
            raise RecipeError(f"{place}: {name} is stated and called unknown. Remove it from one of the two.")


def _check_positive(place: str, figures: dict[str, Any]) -> None:
    for key, value in figures.items():
        for number in _numbers(value):
            if not 0 < number < float("inf"):
                raise RecipeError(f"{place}: {key} is {number}; allowed: a number above 0, or null.")


def _numbers(value: Any) -> Iterable[float]:
    values = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
    return [number for number in values if isinstance(number, int | float)]
