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

from edgesmith.errors import RecipeError, choose_from
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
from edgesmith.targets import ARCHITECTURES, Target, Unit, runtime_names
from edgesmith.targets.host import cache_sizes, memory_bytes

RUNTIMES = ("onnxruntime", "litert")
"""Those whose operators can be timed; the first is meant where none is named."""

FUNCTIONS: tuple[KernelKind, ...] = ("norm", "activation")
LINKS = 4
"""Operators in a chain: their weights together are as much as a layer of an encoder has."""

NOTHINGS = 65
NOTHING_ROWS = 8

LEAST = 0.1
"""Part of a call that its operators take at least: what is left of a short one after the launch overhead is noise."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Sizes that are measured, none of them a model's; rates between them are interpolated.

    Attributes:
        rows: tokens, 2 or more; the most of them 3 or more, since a graph with a dynamic number has a range of them.
        widths: of linear layers.
        head_dims: of attention.
        function_width: of the functions between them.
        copy_bytes: that are copied.
    """

    rows: tuple[int, ...] = (2, 8, 32, 128, 256)
    widths: tuple[int, ...] = (96, 256, 640, 1536)
    head_dims: tuple[int, ...] = (24, 64)
    function_width: int = 640
    copy_bytes: int = COPY_BYTES


@dataclass(frozen=True)
class _Probe:
    """A model that was written.

    Attributes:
        rows: of its input.
        work: multiply-accumulates, of functions elements, of one run.
    """

    kind: KernelKind
    precision: str
    rows: int
    width: int
    path: Path
    work: float


def calibrate(
    name: str,
    threads: Sequence[int] | None,
    progress: Progress,
    *,
    runtime: str = RUNTIMES[0],
    grid: Grid | None = None,
) -> Target:
    """A profile of this machine with what a runtime computes and copies in a second on it.

    Args:
        name: of the profile.
        threads: numbers of them to measure; None for powers of two up to all cores, and all.
        runtime: that computes.
        grid: sizes; None for those of the encoders that edgesmith knows.

    Raises:
        RecipeError: a number of threads that this process has no cores for, or an unknown runtime.
        MissingExtraError: the runtime is not installed.
    """
    if runtime not in RUNTIMES:
        raise RecipeError(choose_from("runtime to calibrate by", runtime, RUNTIMES))
    environment = describe_environment(LIBRARIES)
    counts = _thread_counts(threads, environment.cores)
    exporter(runtime)  # its own error, where the extra is missing
    progress.say("for figures that mean something the machine has to be idle")
    with tempfile.TemporaryDirectory() as folder, NoiseMeter() as meter:
        kernels, copies, call_s, node_s = _measure(Path(folder), runtime, counts, grid or Grid(), progress)
    rates = Rates(
        runtime=runtime,
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
    folder: Path, runtime: str, counts: Sequence[int], grid: Grid, progress: Progress
) -> tuple[list[KernelRate], list[CopyRate], float, float]:
    progress.step("calibrate", f"{runtime}, {', '.join(map(str, counts))} threads")
    sizes = [*_sizes(grid)]
    probes: list[_Probe] = []
    progress.start("writing probes", len(sizes))
    for done, (kind, width) in enumerate(sizes, 1):
        probes += _write(folder, runtime, kind, width, grid.rows)
        progress.advance(done, kind)
    progress.finish()
    call_s, node_s = _overheads(folder, runtime)
    progress.start("timing kernels", len(probes) * len(counts))
    kernels = []
    for threads in counts:
        for probe in probes:
            taken = _run_s(runtime, probe.path, probe.rows, threads)
            kernels.append(
                KernelRate(
                    kind=probe.kind,
                    precision=probe.precision,
                    threads=threads,
                    rows=probe.rows,
                    width=probe.width,
                    per_s=probe.work / max(taken - call_s, LEAST * taken),
                )
            )
            progress.advance(len(kernels), f"{probe.kind} {probe.precision}, {threads} threads")
    progress.finish()
    copies = [
        CopyRate(threads=each, bytes_per_s=copy_bytes_s(each, size_bytes=grid.copy_bytes)) for each in counts
    ]
    return kernels, copies, call_s, node_s


def _sizes(grid: Grid) -> Iterator[tuple[KernelKind, int]]:
    """Kind and width of every probe."""
    yield from (("linear", width) for width in grid.widths)
    yield from (("products", width) for width in grid.head_dims)
    yield from ((kind, grid.function_width) for kind in FUNCTIONS)


def _write(folder: Path, runtime: str, kind: KernelKind, width: int, rows: Sequence[int]) -> Iterator[_Probe]:
    """A probe by number of rows, and in each precision that its weights can have; where shapes are dynamic, in one file."""
    from edgesmith.export import probes

    model = probes.probe(kind, width, LINKS)
    for count in rows:
        most = count if runtime == "litert" else max(rows)
        graph = folder / f"{kind}-{width}-{most}"
        if not graph.exists():
            probes.write(model, runtime, graph, rows=most)
        yield _Probe(kind, "fp32", count, width, graph, LINKS * _work(kind, count, width))
        if kind == "linear":
            small = graph.with_name(f"{graph.name}-int8")
            if not small.exists():
                probes.lower(model, runtime, graph, small)
            yield _Probe(kind, "int8", count, width, small, LINKS * _work(kind, count, width))


def _work(kind: KernelKind, rows: int, width: int) -> int:
    """Of one link."""
    from edgesmith.export.probes import HEADS

    if kind == "linear":
        return rows * width**2
    return 2 * rows**2 * width * HEADS if kind == "products" else rows * width


def _overheads(folder: Path, runtime: str) -> tuple[float, float]:
    """Seconds of a call that computes next to nothing, and of each further operator in it."""
    from edgesmith.export import probes

    taken = []
    for links in (1, NOTHINGS):
        path = folder / f"nothing-{links}"
        probes.write(probes.nothing(links), runtime, path, rows=NOTHING_ROWS)
        taken.append(_run_s(runtime, path, NOTHING_ROWS, 1))
    call_s, whole_s = taken
    return call_s, max(whole_s - call_s, 1e-9) / (NOTHINGS - 1)


def _run_s(runtime: str, path: Path, rows: int, threads: int) -> float:
    session: Any = open_session(runtime, path, threads=threads)
    ids = np.ones((1, rows), np.int64)
    return median_s(lambda: session.run({"input_ids": ids, "attention_mask": ids}))


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
