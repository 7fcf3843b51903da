"""The first step: what the teacher costs, and what each candidate structure would cost on this host, or on the target."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgesmith.analyze import cost as analyze
from edgesmith.compress.quantize import uniform_plan
from edgesmith.export import exporter
from edgesmith.measure.latency import time_interleaved
from edgesmith.models import shape_of
from edgesmith.models.families import compact_config
from edgesmith.pipeline.artifacts import feeds_of_examples, run_each
from edgesmith.pipeline.bench import Workbench
from edgesmith.pipeline.prediction import latency_model
from edgesmith.pipeline.runs import StepResult
from edgesmith.recipe import Recipe
from edgesmith.records import Candidate, EncoderShape, to_dict
from edgesmith.runtime.predictor import open_session
from edgesmith.targets import HOST, load_target

TIMED_INPUTS = 24
"""Validation inputs on which candidates are timed; the verdict uses more, and other ones."""

TIMED_ROUNDS = 5


def analyze_teacher(bench: Workbench, folder: Path) -> StepResult:
    """Counts the teacher, sizes the ladder of candidates, and times each on this host, or predicts it for the target."""
    shape = shape_of(bench.model.config)
    tokens = round(sum(bench.validation_rows.lengths) / len(bench.validation_rows))
    parts = analyze.count(shape, tokens)
    kept = bench.modality.vocabulary_size
    rungs = bench.rungs
    shapes = {name: rung for name, (_, rung) in rungs.items()}
    predicted = predicts(bench.recipe)
    latency_ms = _predict(bench, shapes) if predicted else _time(bench, shapes, folder)
    candidates = [
        Candidate(
            name=name,
            structure=structure,
            shape=rung,
            size_bytes=analyze.int8_file_bytes(rung),
            latency_ms=latency_ms[name],
            latency_is_measured=not predicted,
        )
        for name, (structure, rung) in rungs.items()
    ]
    total = sum(part.parameters for part in parts)
    return StepResult(
        {
            "parameters": total,
            "macs": sum(part.macs for part in parts),
            "tokens": tokens,
            "parts": [to_dict(part) | {"parameters": part.parameters} for part in parts],
            "teacher_validation_quality": bench.teacher_quality,
            "vocabulary": kept,
            "candidates": candidates,
        },
        (
            *bench.modality.remarks(shape, [part.parameters for part in parts]),
            f"INT8 alone would give about {4 * total / analyze.int8_file_bytes(shape):.1f}x; more needs a smaller structure",
            *_origin(bench.recipe),
        ),
    )


def predicts(recipe: Recipe) -> bool:
    """Whether latencies of candidates are predicted: on another device whose rates were measured there."""
    target = load_target(recipe.target)
    return not target.is_host and target.unit().rates is not None


def _origin(recipe: Recipe) -> Iterator[str]:
    """Where the candidates' latencies come from, where they are asked for another device."""
    if predicts(recipe):
        yield f"candidates: latency predicted for {recipe.target}, in INT8, by rates that were measured there"
    elif recipe.target != HOST:
        yield f"candidates are timed on this machine: no rates were measured on {recipe.target}, so none is predicted there"


def _predict(bench: Workbench, shapes: Mapping[str, EncoderShape]) -> dict[str, float]:
    """Name -> milliseconds of an INT8 model of that shape on the recipe's target, at the mean length of validation rows."""
    lengths = bench.student_validation_rows.lengths
    latency_ms = latency_model(bench.recipe, round(sum(lengths) / len(lengths)))
    return {name: latency_ms(shape, "int8") for name, shape in shapes.items()}


def _time(bench: Workbench, shapes: Mapping[str, EncoderShape], folder: Path) -> dict[str, float]:
    """Name -> p50 in milliseconds of an INT8 model of that shape, with random weights, on validation inputs."""
    rows, threads = bench.student_validation_rows, bench.recipe.validate.threads
    feeds = feeds_of_examples(rows, rows.sample_examples(TIMED_INPUTS, bench.recipe.seed))
    scratch, sessions = folder / "timed", {}
    bench.progress.start("timing candidate structures", len(shapes))
    for done, (name, shape) in enumerate(shapes.items(), 1):
        file = _write_random(bench, shape, scratch / name)
        sessions[name] = open_session(bench.recipe.runtimes[0], file, threads=threads)
        bench.progress.advance(done, name)
    bench.progress.finish()
    timed = time_interleaved(
        {name: run_each(session.run) for name, session in sessions.items()},
        dict.fromkeys(sessions, feeds),
        rounds=TIMED_ROUNDS,
        threads=threads,
        mean_tokens={},
    )
    shutil.rmtree(scratch)
    return {name: sample.p50 for name, sample in timed.samples.items()}


def _write_random(bench: Workbench, shape: EncoderShape, folder: Path) -> Path:
    """An INT8 file of a model of this shape; what it answers does not matter for its latency."""
    folder.mkdir(parents=True, exist_ok=True)
    modality, writer = bench.modality, exporter(bench.recipe.runtimes[0])
    model = modality.student_kind(compact_config(bench.teacher.config, shape)).eval()
    file: Path = folder / writer.MODEL_NAME
    graph = file.with_stem("fp32")
    writer.export_graph(model, graph, max_length=modality.max_length, pairs=modality.has_pairs)
    writer.lower(graph, uniform_plan(model, "timing"), file)
    return file
