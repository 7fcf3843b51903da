"""The fifth step: files for the runtime, checked against PyTorch, and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from edgesmith.compress.distill import predict_logits
from edgesmith.compress.quantize import uniform_plan
from edgesmith.data.encoding import EncodedRows, model_inputs
from edgesmith.export import exporter
from edgesmith.measure.parity import check_parity
from edgesmith.measure.size import model_bytes
from edgesmith.pipeline.bench import MODEL_FOLDER, Workbench
from edgesmith.pipeline.precision import trained_folder
from edgesmith.pipeline.runs import StepResult
from edgesmith.records import Plan, graph_files, model_files, read_json
from edgesmith.report.load import plan_name
from edgesmith.runtime.judge import Answers
from edgesmith.runtime.predictor import open_session
from edgesmith.runtime.settings import Settings
from edgesmith.runtime.windows import padded
from edgesmith.search.groups import GroupLoss, longest_quarter

PARITY_ROWS = 32
PARITY_TOLERANCE = 1e-3
"""Largest difference between FP32 logits of PyTorch and of the exported graph; what differs is the order of sums."""


@dataclass(frozen=True)
class Baseline:
    """The teacher whole, as `export_baseline` writes it for a runtime."""

    runtime: str
    folder: Path

    @property
    def fp32(self) -> Path:
        return self._file("fp32")

    @property
    def int8(self) -> Path:
        return self._file("int8")

    def _file(self, stem: str) -> Path:
        return self.folder / Path(exporter(self.runtime).MODEL_NAME).with_stem(stem)


def export_student(bench: Workbench, runtime: str, model: Path, plan: Path, folder: Path) -> StepResult:
    """Writes the student as the plan says, checks its graph against PyTorch, and weighs it on validation rows.

    Args:
        model: folder of the step that made it.
        plan: of the step that planned it, and may have trained it for this runtime.
    """
    trained = trained_folder(plan, runtime)
    student = bench.load_student(trained if trained.is_dir() else model / MODEL_FOLDER)
    decided, rows = read_json(Plan, plan / plan_name(runtime)), bench.student_validation_rows
    writer = exporter(runtime)
    file = folder / writer.MODEL_NAME
    graph = file.with_stem("graph")
    export_checked(bench, runtime, student, rows, graph)
    artifact = writer.lower(graph, decided, file)
    for part in graph_files(graph):
        part.unlink()
    answers = answer_with_runtime(bench, runtime, file, rows, f"validating through {runtime}")
    reached = bench.quality(answers, rows)
    longest = longest_quarter(np.array(bench.validation_rows.example_lengths))
    return StepResult(
        {
            "rows": len(answers),
            "quality": reached,
            "drop": bench.teacher_quality - reached,
            "longest": GroupLoss.of(bench.lost(answers)[longest]) if longest.any() else None,
            "agreement": bench.judge.agreement(answers, bench.teacher_validation),
            "model_bytes": model_bytes(file),
            "inputs": artifact.inputs,
            "outputs": artifact.outputs,
            "stored": artifact.stored,
        },
        (f"read back: the file holds what the plan says for all {len(artifact.stored)} layers",),
    )


def export_baseline(bench: Workbench, runtime: str, folder: Path) -> StepResult:
    """Writes the teacher whole: in FP32, and quantized only."""
    files = Baseline(runtime, folder)
    export_checked(bench, runtime, bench.model, bench.validation_rows, files.fp32)
    plan = uniform_plan(bench.model, "the uncompressed baseline")
    exporter(runtime).lower(files.fp32, plan, files.int8)
    for part in {*graph_files(files.fp32)} - {*model_files(files.fp32)}:
        part.unlink()
    return StepResult(
        {"fp32_bytes": model_bytes(files.fp32), "int8_bytes": model_bytes(files.int8)},
        ("the teacher itself, in FP32 and in uniform INT8, is what the artifact is compared with",),
    )


def answer_with_runtime(
    bench: Workbench,
    runtime: str,
    model: Path,
    rows: EncodedRows,
    title: str,
    *,
    settings: Settings | None = None,
) -> Answers:
    """(N,) from a runtime's file."""
    logits = logits_with_runtime(bench, runtime, model, rows, title, settings=settings)
    return rows.answers(logits, bench.judge)


def logits_with_runtime(
    bench: Workbench,
    runtime: str,
    model: Path,
    rows: EncodedRows,
    title: str,
    *,
    settings: Settings | None = None,
) -> NDArray[np.float32]:
    """(N, labels), or (N, longest, labels) of tokens, from a runtime's file, one row at a time, as the device does."""
    session = open_session(runtime, model, threads=bench.recipe.validate.threads, settings=settings)
    logits = []
    bench.progress.start(title, len(rows))
    for row in range(len(rows)):
        logits.append(session.run(feeds_of(rows, row)))
        bench.progress.advance(row + 1)
    bench.progress.finish()
    return padded(logits)


def feeds_of(rows: EncodedRows, row: int) -> dict[str, Any]:
    """One row as a batch of its own, as numpy arrays."""
    return {name: value.numpy() for name, value in model_inputs(rows.collate([rows[row]])).items()}


def feeds_of_examples(rows: EncodedRows, examples: Sequence[int]) -> list[list[dict[str, Any]]]:
    """The feeds of the rows of some examples."""
    groups = rows.rows_of_examples()
    return [[feeds_of(rows, row) for row in groups[example]] for example in examples]


def run_each(run: Callable[[Any], object]) -> Callable[[Sequence[Any]], None]:
    """Runs the rows of one example."""

    def run_rows(rows: Sequence[Any]) -> None:
        for row in rows:
            run(row)

    return run_rows


def export_checked(
    bench: Workbench, runtime: str, model: PreTrainedModel, rows: EncodedRows, path: Path
) -> None:
    """Writes a model's FP32 graph and compares its logits with PyTorch's on some rows, one at a time.

    Args:
        rows: validation rows as the model reads them.

    Raises:
        ParityError: they differ by more than `PARITY_TOLERANCE`.
    """
    modality = bench.modality
    exporter(runtime).export_graph(model, path, max_length=modality.max_length, pairs=modality.has_pairs)
    sample = rows.take(rows.sample(PARITY_ROWS, bench.recipe.seed))
    session = open_session(runtime, path)
    logits = padded([session.run(feeds_of(sample, row)) for row in range(len(sample))])
    wanted = predict_logits(model, sample).numpy()
    flat = (len(sample), -1)  # the logits of a row's tokens in one line
    check_parity(wanted.reshape(flat), logits.reshape(flat), tolerance=PARITY_TOLERANCE, name=path.name)
