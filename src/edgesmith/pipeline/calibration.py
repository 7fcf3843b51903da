"""`edgesmith targets calibrate`: probes written, run and timed on this machine, and a profile with their rates."""

from __future__ import annotations

import datetime
import platform
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.errors import RecipeError
from edgesmith.export import exporter
from edgesmith.measure.noise import NoiseMeter
from edgesmith.measure.rates import COPY_BYTES, copy_bytes_s, median_s
from edgesmith.pipeline.runs import LIBRARIES
from edgesmith.records import (
    CopyRate,
    KernelKind,
    KernelRate,
    Progress,
    Rates,
    describe_environment,
)
from edgesmith.runtime.predictor import open_session
from edgesmith.targets import ARCHITECTURES, Precision, Target, Unit, runtime_names
from edgesmith.targets.host import cache_sizes, memory_bytes

RUNTIME = "onnxruntime"
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
FUNCTIONS: tuple[KernelKind, ...] = ("softmax", "norm", "activation")
LINKS = 4
"""Operators in a chain: their weights together are as much as a layer of an encoder has."""

NOTHINGS = 65
HEADS, HEAD_DIM = 12, 64
"""Of BERT-base, for products."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Sizes that are measured; rates between them are interpolated.

    Attributes:
        rows: tokens.
        widths: of linear layers.
        function_width: of the functions between them.
        copy_bytes: that are copied.
    """

    rows: tuple[int, ...] = (1, 8, 32, 128)
    widths: tuple[int, ...] = (256, 768, 1536)
    function_width: int = 768
    copy_bytes: int = COPY_BYTES


@dataclass(frozen=True)
class _Probe:
    """A graph that was written.

    Attributes:
        shape: of its input.
        work: multiply-accumulates, of functions elements, of one run.
    """

    kind: KernelKind
    precision: str
    rows: int
    width: int
    path: Path
    shape: tuple[int, ...]
    work: float


def calibrate(
    name: str, threads: Sequence[int] | None, progress: Progress, *, grid: Grid | None = None
) -> Target:
    """A profile of this machine with what it computes and copies in a second.

    Args:
        name: of the profile.
        threads: numbers of them to measure; None for powers of two up to all cores, and all.
        grid: sizes; None for those of the encoders that edgesmith knows.

    Raises:
        RecipeError: a number of threads that this process has no cores for.
        MissingExtraError: ONNX Runtime is not installed.
    """
    environment = describe_environment(LIBRARIES)
    counts = _thread_counts(threads, environment.cores)
    exporter(RUNTIME)  # its own error, where the extra is missing
    progress.say("for figures that mean something the machine has to be idle")
    with tempfile.TemporaryDirectory() as folder, NoiseMeter() as meter:
        kernels, copies, call_s, node_s = _measure(Path(folder), counts, grid or Grid(), progress)
    rates = Rates(
        runtime=RUNTIME,
        kernels=tuple(kernels),
        copies=tuple(copies),
        call_s=call_s,
        node_s=node_s,
        environment=environment,
        date=datetime.date.today().isoformat(),
        warnings=meter.noise.reasons,
    )
    return _profile(name, rates)


def _thread_counts(threads: Sequence[int] | None, cores: int) -> list[int]:
    if threads is None:
        powers = [2**power for power in range(cores.bit_length()) if 2**power <= cores]
        return sorted({*powers, cores})
    for count in threads:
        if not 1 <= count <= cores:
            raise RecipeError(
                f"threads is {count}; this process may use {cores} cores. Allowed: 1 to {cores}."
            )
    return sorted(set(threads))


def _measure(
    folder: Path, counts: Sequence[int], grid: Grid, progress: Progress
) -> tuple[list[KernelRate], list[CopyRate], float, float]:
    probes = [*_linear(folder, grid), *_products(folder, grid), *_functions(folder, grid)]
    progress.step("calibrate", f"{RUNTIME}, {', '.join(map(str, counts))} threads")
    progress.start("timing kernels", len(probes) * len(counts))
    kernels = []
    for threads in counts:
        for probe in probes:
            taken = _run_s(probe.path, probe.shape, threads)
            kernels.append(
                KernelRate(
                    kind=probe.kind,
                    precision=probe.precision,
                    threads=threads,
                    rows=probe.rows,
                    width=probe.width,
                    per_s=probe.work / taken,
                )
            )
            progress.advance(len(kernels), f"{probe.kind} {probe.precision}, {threads} threads")
    progress.finish()
    copies = [
        CopyRate(threads=each, bytes_per_s=copy_bytes_s(each, size_bytes=grid.copy_bytes)) for each in counts
    ]
    return kernels, copies, *_overheads(folder)


def _linear(folder: Path, grid: Grid) -> Iterator[_Probe]:
    from edgesmith.export import probes

    for precision in PRECISIONS:
        for width in grid.widths:
            for rows in grid.rows:
                path = folder / f"linear-{precision}-{width}-{rows}.onnx"
                probes.write_linear(path, rows, width, LINKS, precision)
                yield _Probe("linear", precision, rows, width, path, (rows, width), LINKS * rows * width**2)


def _products(folder: Path, grid: Grid) -> Iterator[_Probe]:
    from edgesmith.export import probes

    for rows in grid.rows:
        path = folder / f"products-{rows}.onnx"
        probes.write_products(path, rows, HEAD_DIM, HEADS, LINKS)
        work = LINKS * 2 * HEADS * rows**2 * HEAD_DIM
        yield _Probe("products", "fp32", rows, HEAD_DIM, path, (HEADS, rows, HEAD_DIM), work)


def _functions(folder: Path, grid: Grid) -> Iterator[_Probe]:
    from edgesmith.export import probes

    width = grid.function_width
    for kind in FUNCTIONS:
        for rows in grid.rows:
            path = folder / f"{kind}-{rows}.onnx"
            probes.write_function(path, kind, rows, width, LINKS)
            yield _Probe(kind, "fp32", rows, width, path, (rows, width), LINKS * rows * width)


def _overheads(folder: Path) -> tuple[float, float]:
    """Seconds of a call that computes next to nothing, and of each further operator in it."""
    from edgesmith.export import probes

    taken = []
    for links in (1, NOTHINGS):
        path = folder / f"nothing-{links}.onnx"
        probes.write_nothing(path, links)
        taken.append(_run_s(path, (1,), 1))
    call_s, whole_s = taken
    return call_s, max(whole_s - call_s, 1e-9) / (NOTHINGS - 1)


def _run_s(path: Path, shape: tuple[int, ...], threads: int) -> float:
    session: Any = open_session(RUNTIME, path, threads=threads)
    value = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return median_s(lambda: session.run({"input": value}))


def _profile(name: str, rates: Rates) -> Target:
    """Every figure that this machine tells of itself, with the day it told it."""
    environment, machine = rates.environment, platform.machine()
    asked = f"this machine, {rates.date}"
    unit: dict[str, Any] = {
        "processor": environment.processor,
        "features": environment.features or None,
        "cores": environment.cores,
        "caches_bytes": cache_sizes() or None,
        "precisions": tuple(rates.precisions),
    }
    device: dict[str, Any] = {
        "architecture": machine if machine in ARCHITECTURES else None,
        "memory_sizes_bytes": (size,) if (size := memory_bytes()) else None,
    }
    return Target(
        name=name,
        description=f"{environment.processor}, measured by `edgesmith targets calibrate`",
        runtimes=tuple(runtime_names()),
        units={
            "cpu": Unit(
                kind="cpu", rates=rates, sources={key: asked for key, value in unit.items() if value}, **unit
            )
        },
        sources={key: asked for key, value in device.items() if value},
        **device,
    )
