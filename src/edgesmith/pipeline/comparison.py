"""`edgesmith compare`: models of the zoo exported and timed side by side on this machine."""

from __future__ import annotations

import datetime
import gc
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from edgesmith.analyze import cost as analyze
from edgesmith.compress.quantize import uniform_plan
from edgesmith.errors import RecipeError
from edgesmith.export import exporter
from edgesmith.measure.inputs import random_tokens
from edgesmith.measure.latency import time_interleaved
from edgesmith.measure.parity import check_parity
from edgesmith.models.device import prepare_torch
from edgesmith.models.zoo import build_zoo_model
from edgesmith.pipeline.runs import LIBRARIES
from edgesmith.records import (
    RANDOM_WEIGHTS,
    ComparedModel,
    Comparison,
    Latencies,
    Progress,
    ZooModel,
    describe_environment,
    find_zoo_model,
)
from edgesmith.runtime.predictor import open_session

RUNTIME = "onnxruntime"
WARMUP = 2

RELATIVE_TOLERANCE = 1e-3
"""Largest difference between FP32 logits of PyTorch and of the exported graph, of the largest logit: random weights make
logits of any size."""

Feeds = dict[str, npt.NDArray[np.int64]]


def compare(
    names: Sequence[str],
    progress: Progress,
    *,
    length: int = 128,
    threads: int = 1,
    rounds: int = 20,
    inputs: int = 4,
    seed: int = 0,
) -> Comparison:
    """Builds models with random weights, exports each in FP32 and INT8, and times all of them in one interleaved run.

    Args:
        names: of zoo models; ratios refer to the first.
        length: of every input in tokens; batch 1.
        rounds, inputs: timed passes, and different inputs in each; ids are random, the same for every model.

    Raises:
        RecipeError: a name that is not known, none at all, or a length that a model cannot take.
        MissingExtraError: ONNX Runtime is not installed.
        ParityError: an exported graph does not compute what its model computes.
    """
    models = [find_zoo_model(name) for name in dict.fromkeys(names)]
    _check(models, length)
    exporter(RUNTIME)
    prepare_torch(threads)
    feeds = random_tokens(min(model.shape.vocab for model in models), length, inputs, seed)
    with tempfile.TemporaryDirectory() as folder:
        files = _export_all(models, feeds[0], Path(folder), seed, progress)
        timed = _time(files, feeds, rounds, threads, seed, progress)
        return Comparison(
            models=tuple(_compared(model, models[0], files, timed, length) for model in models),
            weights=RANDOM_WEIGHTS,
            runtime=RUNTIME,
            length=length,
            inputs=inputs,
            rounds=rounds,
            threads=threads,
            seed=seed,
            cpu_share=timed.cpu_share,
            date=datetime.date.today().isoformat(),
            environment=describe_environment(LIBRARIES),
        )


@dataclass(frozen=True)
class _Files:
    """A model as the runtime loads it."""

    fp32: Path
    int8: Path


def _check(models: Sequence[ZooModel], length: int) -> None:
    if not models:
        raise RecipeError("no model is named. `edgesmith models` lists them.")
    longest = min(model.shape.positions for model in models)
    if not 2 <= length <= longest:
        raise RecipeError(f"length is {length}; allowed: 2 to {longest} tokens.")


def _export_all(
    models: Sequence[ZooModel], feeds: Feeds, folder: Path, seed: int, progress: Progress
) -> dict[str, _Files]:
    files = {}
    progress.step("export", f"{RUNTIME}, FP32 and INT8")
    progress.start("building and exporting", len(models))
    for done, model in enumerate(models, 1):
        files[model.name] = _export(model, feeds, folder, seed)
        gc.collect()  # one model at a time in memory
        progress.advance(done, model.name)
    progress.finish()
    return files


def _export(model: ZooModel, feeds: Feeds, folder: Path, seed: int) -> _Files:
    """Writes a model as the uncompressed baseline of a run is written, and checks its FP32 graph against PyTorch."""
    built = build_zoo_model(model, seed=seed)
    files = _Files(folder / f"{model.name}-fp32.onnx", folder / f"{model.name}-int8.onnx")
    writer = exporter(RUNTIME)
    writer.export_graph(built, files.fp32, max_length=model.shape.positions, pairs=False)
    _check_graph(built, feeds, files.fp32)
    writer.lower(files.fp32, uniform_plan(built, "every weight matrix, to be compared"), files.int8)
    return files


def _check_graph(model: PreTrainedModel, feeds: Feeds, graph: Path) -> None:
    with torch.inference_mode():
        logits = model(**{name: torch.from_numpy(value) for name, value in feeds.items()}).logits.numpy()
    tolerance = RELATIVE_TOLERANCE * float(np.abs(logits).max())
    check_parity(logits, open_session(RUNTIME, graph).run(feeds), tolerance=tolerance, name=graph.name)


def _time(
    files: dict[str, _Files],
    feeds: Sequence[Feeds],
    rounds: int,
    threads: int,
    seed: int,
    progress: Progress,
) -> Latencies:
    """``NAME/fp32`` and ``NAME/int8`` of every model."""
    paths = {f"{name}/fp32": pair.fp32 for name, pair in files.items()}
    paths |= {f"{name}/int8": pair.int8 for name, pair in files.items()}
    runs: dict[str, Any] = {
        key: open_session(RUNTIME, path, threads=threads).run for key, path in paths.items()
    }
    progress.step("time", f"{rounds} interleaved rounds")
    progress.start("timing", WARMUP + rounds)
    timed = time_interleaved(
        runs,
        dict.fromkeys(runs, feeds),
        rounds=rounds,
        threads=threads,
        mean_tokens=dict.fromkeys(files, float(feeds[0]["input_ids"].shape[1])),
        warmup=WARMUP,
        seed=seed,
        after_round=progress.advance,
    )
    progress.finish()
    return timed


def _compared(
    model: ZooModel, first: ZooModel, files: dict[str, _Files], timed: Latencies, length: int
) -> ComparedModel:
    samples, own = timed.samples, files[model.name]
    fp32, int8 = (samples[f"{model.name}/{precision}"] for precision in ("fp32", "int8"))
    return ComparedModel(
        name=model.name,
        parameters=analyze.parameters(model.shape),
        macs=analyze.macs(model.shape, length),
        fp32_bytes=own.fp32.stat().st_size,
        int8_bytes=own.int8.stat().st_size,
        fp32_ms=fp32,
        int8_ms=int8,
        fp32_ratio=samples[f"{first.name}/fp32"].p50 / fp32.p50,
        int8_ratio=samples[f"{first.name}/int8"].p50 / int8.p50,
        survey_ratio=first.published.latency_ms / model.published.latency_ms,
    )
