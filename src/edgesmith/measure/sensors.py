"""What a machine tells of its own energy: counters of processors and GPUs, and power rails of Jetson boards.

No figure comes from anywhere else: a sensor that cannot be read says why.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

SYS = Path("/sys")
NVML_LIBRARY = "libnvidia-ml.so.1"

MODULE_RAILS = ("VDD_IN", "POM_5V_IN")
"""Rails of a whole Jetson module: of Orin NX and Xavier NX, and of the Nano (NVIDIA's forum, topics 242804, 200883 and 73608,
which jetson-stats names as well). AGX modules have rails of parts; which of them contain another is not told: no sum is made."""

_RAPL = "class/powercap/*-rapl*:*/energy_uj"
_HWMON = "bus/i2c/drivers/ina3221*/*/hwmon/hwmon*/in*_label"
_IIO = "bus/i2c/drivers/ina3221*/*/iio:device*/rail_name_*"


@dataclass(frozen=True, kw_only=True)
class EnergySensor:
    """A way to measure energy.

    Attributes:
        is_readable: whether this process can read it now.
        detail: what it covers, or why it cannot be read.
    """

    name: str
    is_readable: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """A sensor to read.

    Attributes:
        read: joules since some moment, where `is_counter`; else watts at this moment. It raises OSError where the sensor
            is gone.
    """

    sensor: EnergySensor
    read: Callable[[], float] | None = None
    is_counter: bool = True


def find_gauges(sys: Path = SYS, library: str = NVML_LIBRARY) -> dict[str, Gauge]:
    """Option of ``--energy`` -> the sensor, readable or not.

    Args:
        sys: where Linux shows its drivers.
        library: NVIDIA's, by name or path.
    """
    return {"rapl": _rapl(sys), "nvml": _nvml(library), "jetson": _jetson(sys)}


def find_sensors(sys: Path = SYS) -> tuple[EnergySensor, ...]:
    """Those of `find_gauges`, without a way to read them."""
    return tuple(gauge.sensor for gauge in find_gauges(sys).values())


def _unreadable(name: str, why: str) -> Gauge:
    return Gauge(sensor=EnergySensor(name=name, is_readable=False, detail=why))


def _gauge(name: str, detail: str, read: Callable[[], float], *, is_counter: bool = True) -> Gauge:
    sensor = EnergySensor(name=name, is_readable=True, detail=detail)
    return Gauge(sensor=sensor, read=read, is_counter=is_counter)


def _rapl(sys: Path) -> Gauge:
    """Counters of whole processors. Their parts are in them; memory is not, and `psys` has more than the processor.

    Source: Linux, Documentation/power/powercap.
    """
    zones = {}
    for counter in sorted(
        sys.glob(_RAPL)
    ):  # intel-rapl-mmio:0 comes before intel-rapl:0, the same processor again
        if (name := _text(counter.with_name("name"))).startswith("package"):
            zones[name] = counter
    if not zones:
        return _unreadable("RAPL", f"absent: no processor in {sys / _RAPL}")
    locked = [counter for counter in zones.values() if not os.access(counter, os.R_OK)]
    if locked:
        line = f"sudo chmod a+r {sys}/class/powercap/*/energy_uj"
        return _unreadable("RAPL", f"{len(locked)} of {len(zones)} counters are for root only: {line}")
    try:
        counters = [_Counter(counter) for counter in zones.values()]
    except OSError as problem:
        return _unreadable("RAPL", f"the kernel does not answer: {problem}")
    detail = f"{', '.join(zones)}: the processor with all that runs on it, without memory and board"
    return _gauge("RAPL", detail, lambda: sum(counter.read_j() for counter in counters))


class _Counter:
    """Microjoules that begin again at 0 after ``max_energy_range_uj``; it has to be read more often than that."""

    def __init__(self, path: Path) -> None:
        self._path, self._turned_uj = path, 0
        self._last_uj = int(_read(path))

    def read_j(self) -> float:
        now_uj = int(_read(self._path))
        if now_uj < self._last_uj:
            self._turned_uj += int(_read(self._path.with_name("max_energy_range_uj")))
        self._last_uj = now_uj
        return (self._turned_uj + now_uj) / 1e6


def _nvml(library: str) -> Gauge:
    """NVIDIA GPUs, by the driver's own library: its energy counter (Volta and later), else its power.

    Source: NVML API reference, nvmlDeviceGetTotalEnergyConsumption (millijoules), nvmlDeviceGetPowerUsage (milliwatts).
    """
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return _unreadable("NVML", f"absent: no {library}")
    if code := nvml.nvmlInit_v2():  # never shut down: the handles are read until the process ends
        return _unreadable("NVML", f"the driver answers with error {code}")
    count = ctypes.c_uint()
    nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    devices = [ctypes.c_void_p() for _ in range(count.value)]
    for index, device in enumerate(devices):
        if code := nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)):
            return _unreadable("NVML", f"GPU {index} answers with error {code}")

    def total(function: str, kind: type[ctypes.c_uint] | type[ctypes.c_ulonglong]) -> float:
        values = [kind() for _ in devices]
        for index, (device, value) in enumerate(zip(devices, values, strict=True)):
            if code := getattr(nvml, function)(device, ctypes.byref(value)):
                raise OSError(f"GPU {index} answers with error {code}")
        return sum(value.value for value in values) / 1e3

    named = f"{count.value} GPU"
    for function, kind in _NVML_READINGS.items():
        try:
            if devices and hasattr(nvml, function):
                total(function, kind)
                is_counter = kind is ctypes.c_ulonglong
                detail = f"{named}, {'energy counter' if is_counter else 'power'}: the GPU alone, without processor and board"
                return _gauge("NVML", detail, partial(total, function, kind), is_counter=is_counter)
        except OSError:
            continue
    return _unreadable("NVML", f"{named}, none tells its power")


_NVML_READINGS: dict[str, type[ctypes.c_uint] | type[ctypes.c_ulonglong]] = {
    "nvmlDeviceGetTotalEnergyConsumption": ctypes.c_ulonglong,
    "nvmlDeviceGetPowerUsage": ctypes.c_uint,
}


def _jetson(sys: Path) -> Gauge:
    """INA3221 monitors, under their driver of JetPack 5 and later (Linux, Documentation/hwmon/ina3221) or the one before."""
    rails = {_text(label): label for pattern in (_IIO, _HWMON) for label in sorted(sys.glob(pattern))}
    if not rails:
        return _unreadable("Jetson rails", "absent: no INA3221 monitor")
    whole = next((name for name in MODULE_RAILS if name in rails), None)
    if whole is None:
        told = f"no rail of the whole module ({', '.join(MODULE_RAILS)}), and no sum is made of {', '.join(rails)}"
        return _unreadable("Jetson rails", told)
    label = rails[whole]
    if label.name.startswith("rail_name_"):
        factors = [label.with_name(f"in_power{label.name.removeprefix('rail_name_')}_input")]
    else:
        voltage = label.name.replace("_label", "_input")
        factors = [label.with_name(voltage), label.with_name(voltage.replace("in", "curr", 1))]

    def watts() -> float:
        return math.prod(
            int(_read(file)) / 1e3 for file in factors
        )  # milliwatts, or millivolts and milliamperes

    try:
        watts()
    except (OSError, ValueError) as problem:
        return _unreadable("Jetson rails", f"{whole} cannot be read: {problem}")
    return _gauge("Jetson rails", f"{whole}: the whole module", watts, is_counter=False)


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()


def _text(path: Path) -> str:
    try:
        return _read(path)
    except OSError:
        return ""
