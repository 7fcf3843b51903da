"""This machine: what it can compute with, and how much room it has."""

from __future__ import annotations

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


def examine_host(folder: Path, *, proc: Path = Path("/proc")) -> Host:
    """Looks at this machine.

    Args:
        folder: whose disk is meant.
        proc: where Linux tells of itself.
    """
    environment = describe_environment(())
    return Host(
        environment=environment,
        instructions=_instructions(environment.features) if (proc / "cpuinfo").is_file() else None,
        installed_cores=os.cpu_count() or environment.cores,
        free_memory_bytes=free_memory_bytes(proc),
        free_disk_bytes=shutil.disk_usage(folder).free,
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
