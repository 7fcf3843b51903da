"""Folders of files as Linux shows energy sensors."""

from __future__ import annotations

from pathlib import Path

HWMON = "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
"""A monitor of a Jetson board under the driver of JetPack 5 and later."""

IIO = "bus/i2c/drivers/ina3221x/6-0040/iio:device0"
"""The same under the driver before."""


def place(root: Path, file: str, text: str | int) -> Path:
    """A file as a driver puts it there."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")
    return path


def zone(root: Path, folder: str, name: str, energy_uj: int, range_uj: int = 1_000_000) -> Path:
    """A domain of RAPL; its counter."""
    place(root, f"class/powercap/{folder}/name", name)
    place(root, f"class/powercap/{folder}/max_energy_range_uj", range_uj)
    return place(root, f"class/powercap/{folder}/energy_uj", energy_uj)
