"""This machine: what it can compute with, how much room it has, and whether it can tell its energy."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from edgesmith.records import Environment, describe_environment

INSTRUCTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {"VNNI": ("avx512_vnni", "avx_vnni"), "AMX": ("amx_int8", "amx_bf16")},
    "aarch64": {"NEON dot product": ("asimddp",), "I8MM": ("i8mm",)},
}
"""Architecture -> instructions that multiply in INT8 -> names in ``/proc/cpuinfo`` of which any will do."""

_RAPL = "class/powercap/*-rapl:*/energy_uj"
_JETSON = (
    "bus/i2c/drivers/ina3221*/*/hwmon/hwmon*/curr*_input",
    "bus/i2c/drivers/ina3221*/*/iio:device*/in_power*_input",
)


@dataclass(frozen=True, kw_only=True)
class EnergySensor:
    """A way to measure energy.

    Attributes:
        is_readable: whether this process can read it now.
        detail: what was found, or why it cannot be read.
    """

    name: str
    is_readable: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class Host:
    """This machine; None means that the system does not tell.

    Attributes:
        environment: processor, system, Python, and the cores that this process may use.
        instructions: INT8 instruction -> whether the processor has it.
        installed_cores: including those that this process may not use.
        free_memory_bytes: what can be taken without swapping.
        free_disk_bytes: in the folder that was asked about.
    """

    environment: Environment
    instructions: dict[str, bool] | None
    installed_cores: int
    free_memory_bytes: int | None
    free_disk_bytes: int
    energy: tuple[EnergySensor, ...]


def examine_host(folder: Path, *, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> Host:
    """Looks at this machine.

    Args:
        folder: whose disk is meant.
        proc, sys: where Linux tells of itself.
    """
    environment = describe_environment(())
    return Host(
        environment=environment,
        instructions=_instructions(environment.features) if (proc / "cpuinfo").is_file() else None,
        installed_cores=os.cpu_count() or environment.cores,
        free_memory_bytes=free_memory_bytes(proc),
        free_disk_bytes=shutil.disk_usage(folder).free,
        energy=(_rapl(sys), _nvml(), _jetson(sys)),
    )


def _instructions(features: tuple[str, ...]) -> dict[str, bool] | None:
    known = INSTRUCTIONS.get(platform.machine())
    if known is None:
        return None
    return {name: bool({*any_of} & {*features}) for name, any_of in known.items()}


def free_memory_bytes(proc: Path) -> int | None:
    """``MemAvailable``, which counts what caches would give back."""
    return _meminfo(proc, "MemAvailable")


def memory_bytes(proc: Path = Path("/proc")) -> int | None:
    """All that the system has, free or not."""
    return _meminfo(proc, "MemTotal")


def _meminfo(proc: Path, key: str) -> int | None:
    try:
        lines = (proc / "meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kibibytes = dict(line.split(":", 1) for line in lines).get(key)
    return None if kibibytes is None else 1024 * int(kibibytes.split()[0])


def cache_sizes(sys: Path = Path("/sys")) -> dict[str, int]:
    """Level -> bytes of the caches that the first core reads data through; empty where the system does not tell."""
    found = {}
    for folder in sorted(sys.glob("devices/system/cpu/cpu0/cache/index*")):
        level, kind, size = (
            (folder / name).read_text(encoding="ascii").strip() for name in ("level", "type", "size")
        )
        if kind != "Instruction":
            found[f"l{level}d" if kind == "Data" else f"l{level}"] = 1024 * int(size.removesuffix("K"))
    return found


def _rapl(sys: Path) -> EnergySensor:
    """Counters of processor and memory in microjoules."""
    counters = sorted(sys.glob(_RAPL))
    readable = [counter for counter in counters if os.access(counter, os.R_OK)]
    if readable:
        detail = ", ".join(counter.parent.name for counter in readable)
    elif counters:
        detail = f"its {len(counters)} counters are for root only: sudo chmod a+r {counters[0].parent.parent}/*/energy_uj"
    else:
        detail = f"absent: no {sys / _RAPL}"
    return EnergySensor(name="RAPL", is_readable=bool(readable), detail=detail)


def _nvml() -> EnergySensor:
    """Power of NVIDIA GPUs, by the driver's own library."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return EnergySensor(name="NVML", is_readable=False, detail="absent: no libnvidia-ml.so.1")
    if code := library.nvmlInit_v2():
        return EnergySensor(name="NVML", is_readable=False, detail=f"the driver answers with error {code}")
    try:
        count, device, milliwatts = ctypes.c_uint(), ctypes.c_void_p(), ctypes.c_uint()
        library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        found = bool(count.value) and not library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device))
        readable = found and not library.nvmlDeviceGetPowerUsage(device, ctypes.byref(milliwatts))
    finally:
        library.nvmlShutdown()
    detail = f"{count.value} GPU" + ("" if readable else ", none tells its power")
    return EnergySensor(name="NVML", is_readable=readable, detail=detail)


def _jetson(sys: Path) -> EnergySensor:
    """Power rails of Jetson boards: INA3221 monitors, under their driver of JetPack 5 and later or the one before."""
    rails = [rail for pattern in _JETSON for rail in sys.glob(pattern)]
    readable = [rail for rail in rails if os.access(rail, os.R_OK)]
    detail = f"{len(readable)} of {len(rails)} readable" if rails else "absent: no INA3221 monitor"
    return EnergySensor(name="Jetson rails", is_readable=bool(readable), detail=detail)
