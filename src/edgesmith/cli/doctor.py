"""What is here, what is missing, and the line to type."""

from __future__ import annotations

import os
import platform
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgesmith import __version__
from edgesmith.cli.installed import Extra, Installed, Runtime, find_installed
from edgesmith.measure.sensors import EnergySensor, find_sensors
from edgesmith.targets.host import Host, examine_host

HUB_TIMEOUT_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """What `edgesmith doctor` found.

    Attributes:
        obstacles: what makes `compress` impossible, each with the line to type.
        hub: whether the hub answers; nothing that is on this disk needs it.
    """

    version: str
    obstacles: tuple[str, ...]
    installed: Installed
    host: Host
    energy: tuple[EnergySensor, ...]
    hub: str

    def lines(self) -> Iterator[str]:
        """The checkup in words."""
        environment, host = self.host.environment, self.host
        yield f"edgesmith {self.version}, Python {environment.python}, {environment.system}"
        yield "runtimes"
        yield from (f"  {runtime.name:14}{_runtime(runtime)}" for runtime in self.installed.runtimes)
        yield "extras"
        yield from (f"  {extra.name:14}{_extra(extra)}" for extra in self.installed.extras)
        yield "this machine"
        yield f"  processor     {environment.processor} ({platform.machine()})"
        yield f"  instructions  {_instructions(host)}"
        yield f"  cores         {environment.cores} of {host.installed_cores} usable"
        yield f"  memory        {_gigabytes(host.free_memory_bytes)} free"
        yield f"  disk          {_gigabytes(host.free_disk_bytes)} free in this folder"
        for sensor in self.energy:
            yield f"  energy        {sensor.name}: {'' if sensor.is_readable else 'not measurable, '}{sensor.detail}"
        yield f"  hub           {self.hub}"
        if not self.obstacles:
            yield "compress can run."


def check_up(folder: Path) -> Checkup:
    """Looks at what is installed, at this machine and at the hub.

    Args:
        folder: where a run would write.

    Raises:
        UnsupportedError: edgesmith itself is not installed.
    """
    installed = find_installed()
    return Checkup(
        version=__version__,
        obstacles=installed.obstacles,
        installed=installed,
        host=examine_host(folder),
        energy=find_sensors(),
        hub=ask_hub(HUB_TIMEOUT_S),
    )


def ask_hub(timeout_s: float) -> str:
    """Whether the hub answers within a time, unless ``HF_HUB_OFFLINE`` forbids to ask."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in (
        "1",
        "ON",
        "YES",
        "TRUE",
    ):  # as huggingface_hub reads it
        return "not asked: HF_HUB_OFFLINE is set"
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(_answer(address, timeout_s)), daemon=True)
    thread.start()  # urlopen's own timeout does not count the time that name resolution takes
    thread.join(timeout_s)
    return next(iter(answers), f"not reachable: {address} did not answer within {timeout_s:g} s")


def _answer(address: str, timeout_s: float) -> str:
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=timeout_s).close()
    except (
        OSError,
        ValueError,
    ) as problem:  # URLError and HTTPError are OSErrors; ValueError is no address at all
        return f"not reachable: {address}: {problem}"
    return f"reachable: {address}"


def _runtime(runtime: Runtime) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in runtime.versions.items())
    return f"{'supported' if runtime.is_supported else 'not supported':15}{versions or 'not installed'}"


def _extra(extra: Extra) -> str:
    if not extra.missing:
        return "complete"
    return f"missing: {', '.join(extra.missing)}. Type: {extra.install_line}"


def _instructions(host: Host) -> str:
    if host.instructions is None:
        return "unknown: this system does not tell"
    return ", ".join(f"{name} {'yes' if there else 'no'}" for name, there in host.instructions.items())


def _gigabytes(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else f"{size_bytes / 1e9:.1f} GB"
