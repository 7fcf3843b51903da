"""Sensors that are folders of files as Linux shows them, and a library with the functions of NVIDIA's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from fixtures_sysfs import HWMON, IIO, place, zone

from edgesmith.measure.sensors import EnergySensor, Gauge, find_gauges, find_sensors

NVML = """
typedef unsigned long long ull;
int nvmlInit_v2(void) { return INIT; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)(0x7f0000000001ull + index); return 0; }
int nvmlDeviceGetPowerUsage(void *device, unsigned *mw) { *mw = 1500 * ((ull)device - 0x7f0000000000ull); return 0; }
#ifdef COUNTS
int nvmlDeviceGetTotalEnergyConsumption(void *device, ull *mj) { *mj = 5000000000ull * ((ull)device - 0x7f0000000000ull); return COUNTS; }
#endif
"""
"""Two GPUs at addresses of 47 bits, of 1.5 and 3 W, with 5 and 10 MJ on their counters."""


def gauge(root: Path, option: str) -> Gauge:
    return find_gauges(root, library="libabsent.so")[option]


def test_without_drivers_every_sensor_is_absent_and_says_so(tmp_path: Path) -> None:
    gauges = find_gauges(tmp_path, library="libabsent.so")
    assert [each.sensor.name for each in gauges.values()] == ["RAPL", "NVML", "Jetson rails"]
    for each in gauges.values():
        assert each.read is None
        assert not each.sensor.is_readable
        assert each.sensor.detail.startswith("absent: no ")
    assert [each.name for each in find_sensors(tmp_path)] == ["RAPL", "NVML", "Jetson rails"]


def test_whole_processors_are_read_once_each_and_their_parts_not(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 9_000_000)
    zone(tmp_path, "intel-rapl:0", "package-0", 400_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 300_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 100_000)
    zone(tmp_path, "intel-rapl:2", "psys", 7_000_000)
    found = gauge(tmp_path, "rapl")
    assert found.sensor.detail == (
        "package-0, package-1: the processor with all that runs on it, without memory and board"
    )
    assert found.is_counter
    assert found.read() == pytest.approx(0.5)


def test_a_counter_that_begins_again_goes_on(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 900_000, range_uj=1_000_000)
    read = gauge(tmp_path, "rapl").read
    told = [read()]
    for energy_uj in (100_000, 700_000, 50_000):  # around twice: 0.2 J, 0.6 J and 0.35 J more
        counter.write_text(f"{energy_uj}\n")
        told.append(read())
    assert [later - told[0] for later in told] == pytest.approx([0, 0.2, 0.8, 1.15])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_rapl_counters_for_root_only_come_with_the_line_to_type(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1).chmod(0)
    zone(tmp_path, "intel-rapl:1", "package-1", 1)
    found = gauge(tmp_path, "rapl")
    assert found.read is None
    line = f"sudo chmod a+r {tmp_path}/class/powercap/*/energy_uj"
    assert found.sensor.detail == f"1 of 2 counters are for root only: {line}"


def test_the_rail_of_the_module_is_voltage_times_current(tmp_path: Path) -> None:
    for channel, (name, mv, ma) in enumerate([("VDD_CPU_GPU_CV", 5000, 800), ("VDD_IN", 19_000, 250)], 1):
        place(tmp_path, f"{HWMON}/in{channel}_label", name)
        place(tmp_path, f"{HWMON}/in{channel}_input", mv)
        place(tmp_path, f"{HWMON}/curr{channel}_input", ma)
    found = gauge(tmp_path, "jetson")
    assert found.sensor == EnergySensor(
        name="Jetson rails", is_readable=True, detail="VDD_IN: the whole module"
    )
    assert not found.is_counter
    assert found.read() == pytest.approx(19 * 0.25)


def test_the_older_driver_tells_power_itself(tmp_path: Path) -> None:
    for channel, (name, mw) in enumerate([("POM_5V_GPU", 40), ("POM_5V_IN", 2210)]):
        place(tmp_path, f"{IIO}/rail_name_{channel}", name)
        place(tmp_path, f"{IIO}/in_power{channel}_input", mw)
    found = gauge(tmp_path, "jetson")
    assert found.sensor.detail == "POM_5V_IN: the whole module"
    assert found.read() == pytest.approx(2.21)


def test_rails_of_parts_are_not_added_up(tmp_path: Path) -> None:
    place(tmp_path, f"{HWMON}/in1_label", "VDD_GPU_SOC")
    place(tmp_path, f"{HWMON}/in2_label", "VIN_SYS_5V0")
    found = gauge(tmp_path, "jetson")
    assert found.read is None
    assert found.sensor.detail == (
        "no rail of the whole module (VDD_IN, POM_5V_IN), and no sum is made of VDD_GPU_SOC, VIN_SYS_5V0"
    )


def test_a_rail_without_its_values_is_not_readable(tmp_path: Path) -> None:
    place(tmp_path, f"{HWMON}/in1_label", "VDD_IN")
    found = gauge(tmp_path, "jetson")
    assert found.read is None
    assert found.sensor.detail.startswith("VDD_IN cannot be read: [Errno 2] No such file")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler for a library of NVML's functions")
@pytest.mark.parametrize(
    ("macros", "detail", "is_counter", "value"),
    [
        (("INIT=0", "COUNTS=0"), "2 GPU, energy counter: the GPU alone", True, 15e6),
        (("INIT=0", "COUNTS=3"), "2 GPU, power: the GPU alone", False, 4.5),
        (("INIT=0",), "2 GPU, power: the GPU alone", False, 4.5),
        (("INIT=9",), "the driver answers with error 9", True, None),
    ],
)
def test_gpus_by_their_counter_else_by_their_power(
    macros: tuple[str, ...], detail: str, is_counter: bool, value: float | None, tmp_path: Path
) -> None:
    """The library is compiled here: what is tested is the calls and their units, not a GPU."""
    source, library = place(tmp_path, "nvml.c", NVML), tmp_path / "libnvml.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", *(f"-D{each}" for each in macros), source, "-o", library], check=True
    )
    found = find_gauges(tmp_path, library=str(library))["nvml"]
    assert found.sensor.detail.startswith(detail)
    assert found.is_counter == is_counter
    assert (found.read() if found.read else None) == pytest.approx(value)
