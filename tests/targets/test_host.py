"""This machine, and machines that are folders of files as Linux shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgesmith.targets.host import (
    cache_sizes,
    examine_host,
    free_memory_bytes,
    memory_bytes,
)


def place(root: Path, file: str) -> Path:
    """A file as a driver puts it there."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1234\n")
    return path


def test_this_machine_has_cores_memory_and_disk(tmp_path: Path) -> None:
    host = examine_host(tmp_path)
    assert 1 <= host.environment.cores <= host.installed_cores == os.cpu_count()
    disk = os.statvfs(tmp_path)
    assert 0 < host.free_disk_bytes <= disk.f_blocks * disk.f_frsize
    assert host.free_memory_bytes is None or host.free_memory_bytes > 10**7


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no processor affinity")
def test_a_core_that_is_taken_away_is_not_usable(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert examine_host(tmp_path).environment.cores == 1
    finally:
        os.sched_setaffinity(0, before)


def test_free_memory_is_what_is_available_not_what_is_unused(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemFree: 10 kB\nMemAvailable: 70 kB\nHugePages: 0\n")
    assert free_memory_bytes(tmp_path) == 70 * 1024
    assert free_memory_bytes(tmp_path / "nowhere") is None


def test_a_system_without_cpuinfo_has_unknown_instructions(tmp_path: Path) -> None:
    assert examine_host(tmp_path, proc=tmp_path).instructions is None


def test_caches_are_those_that_data_goes_through(tmp_path: Path) -> None:
    for index, (level, kind, size) in enumerate(
        [
            ("1", "Data", "48K"),
            ("1", "Instruction", "32K"),
            ("2", "Unified", "2048K"),
            ("3", "Unified", "32768K"),
        ]
    ):
        for name, text in (("level", level), ("type", kind), ("size", size)):
            path = place(tmp_path, f"devices/system/cpu/cpu0/cache/index{index}/{name}")
            path.write_text(f"{text}\n")
    assert cache_sizes(tmp_path) == {"l1d": 48 * 1024, "l2": 2 * 2**20, "l3": 32 * 2**20}
    assert cache_sizes(tmp_path / "nowhere") == {}


def test_all_memory_is_what_the_system_has(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemFree: 10 kB\nMemAvailable: 70 kB\n")
    assert memory_bytes(tmp_path) == 100 * 1024
    assert memory_bytes(tmp_path / "nowhere") is None
