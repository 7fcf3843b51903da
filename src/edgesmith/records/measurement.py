"""Numbers and where they come from. A `Measurement` was taken; a `Prediction` was computed; they are never mixed."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Machine and software a number was taken on."""

    processor: str
    cores: int
    system: str
    python: str
    packages: dict[str, str]
    features: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A value that was measured.

    Attributes:
        unit: such as ``ms``, ``bytes``, ``fraction``.
        n: number of observations behind the value.
        method: how, in a few words.
        low, high: ends of the 95 % interval, where one was computed.
    """

    name: str
    value: float
    unit: str
    n: int
    method: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A value that was computed from a model of the device or of the artifact.

    Attributes:
        model: the formula or table behind it, in a few words.
        target: the device it speaks of.
    """

    name: str
    value: float
    unit: str
    model: str
    target: str


@dataclass(frozen=True, kw_only=True)
class LatencySample:
    """Latency of one artifact over interleaved rounds, in milliseconds."""

    p50: float
    p90: float
    p99: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Artifacts timed together in one interleaved run; every one saw the same inputs.

    Attributes:
        samples: artifact name -> latency.
        rounds: passes of each artifact over the inputs; within a round the artifacts take turns, pass by pass.
        inputs: number of distinct real inputs.
        mean_tokens: mean input length in tokens, as the artifact's own tokenizer counts.
        cpu_share: CPU time over wall time of the run, at most 1: with less, other programs took turns on its core.
    """

    samples: dict[str, LatencySample]
    rounds: int
    inputs: int
    threads: int
    batch: int = 1
    mean_tokens: dict[str, float] = field(default_factory=dict)
    cpu_share: float = 1.0


_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimddp",
    "i8mm",
)


def describe_environment(packages: tuple[str, ...], proc: Path = Path("/proc")) -> Environment:
    """This machine and the installed versions of `packages`; packages that are absent are left out.

    Args:
        proc: where Linux tells of itself. On Arm it names no processor, so the board stands for it.
    """
    from importlib import metadata

    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    name, flags = platform.processor() or platform.machine(), set()
    with contextlib.suppress(OSError):  # a server has no device tree
        name = (proc / "device-tree" / "model").read_text(encoding="utf-8").rstrip("\0") or name
    try:
        with (proc / "cpuinfo").open(encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    name = value.strip()
                elif key.strip() in ("flags", "Features"):
                    flags |= set(value.split())
    except OSError:
        pass  # not Linux: the features stay unknown, the name is what Python knows
    return Environment(
        processor=name,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        system=platform.platform(),
        python=platform.python_version(),
        packages=versions,
        features=tuple(feature for feature in _FEATURES if feature in flags),
    )
