"""The fifth step: files for the runtime, checked against PyTorch, and what they answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from edgesmith.compress.distill import predict_logits
from edgesmith.compress.quantize import uniform_plan
from edgesmith.data.encoding import EncodedExamples, model_inputs
from edgesmith.export import exporter
from edgesmith.measure.parity import check_parity
from edgesmith.pipeline.bench import ARTIFACT_NAME, MODEL_FOLDER, PLAN_NAME, Workbench, accuracy, load_student
from edgesmith.pipeline.runs import StepResult
from edgesmith.records import Plan, read_json
from edgesmith.runtime.onnxruntime import OnnxRuntimeSession

FP32_NAME, INT8_NAME = "fp32.onnx", "int8.onnx"
"""The teacher whole, as `export_baseline` writes it."""

PARITY_ROWS = 32
PARITY_TOLERANCE = 1e-3
"""Largest difference between FP32 logits of PyTorch and of the exported graph; what differs is the order of sums."""


def export_student(bench: Workbench, model: Path, plan: Path, folder: Path) -> StepResult:
    """Writes the student as the plan says, checks its graph against PyTorch, and weighs it on validation rows."""
    student = load_student(model / MODEL_FOLDER)
    decided, rows = read_json(Plan, plan / PLAN_NAME), bench.student_validation_rows
    graph = folder / "graph.onnx"
    _export_checked(bench, student, rows, graph)
    artifact = exporter(bench.recipe.runtime).lower(graph, decided, folder / ARTIFACT_NAME)
    graph.unlink()
    predicted = predict_with_runtime(bench, folder / ARTIFACT_NAME, rows, "validating through the runtime")
    reached = accuracy(predicted, rows)
    return StepResult(
        {
            "accuracy": reached,
            "drop": bench.teacher_accuracy - reached,
            "agreement": float((predicted == bench.teacher_validation).float().mean()),
            "model_bytes": (folder / ARTIFACT_NAME).stat().st_size,
            "inputs": artifact.inputs,
            "outputs": artifact.outputs,
            "stored": artifact.stored,
        },
        (f"read back: the file holds what the plan says for all {len(artifact.stored)} layers",),
    )


def export_baseline(bench: Workbench, folder: Path) -> StepResult:
    """Writes the teacher whole: in FP32, and quantized only."""
    fp32, int8 = folder / FP32_NAME, folder / INT8_NAME
    _export_checked(bench, bench.model, bench.validation_rows, fp32)
    exporter(bench.recipe.runtime).lower(fp32, uniform_plan(bench.model, "the uncompressed baseline"), int8)
    return StepResult(
        {"fp32_bytes": fp32.stat().st_size, "int8_bytes": int8.stat().st_size},
        ("the teacher itself, in FP32 and in uniform INT8, is what the artifact is compared with",),
    )


def predict_with_runtime(bench: Workbench, model: Path, rows: EncodedExamples, title: str) -> torch.Tensor:
    """(N,) labels from an ONNX file, one row at a time, as the device does."""
    session = OnnxRuntimeSession(model, threads=bench.recipe.validate.threads)
    predicted = []
    bench.progress.start(title, len(rows))
    for row in range(len(rows)):
        predicted.append(int(session.run(feeds_of(rows, row))[0].argmax()))
        bench.progress.advance(row + 1)
    bench.progress.finish()
    return torch.tensor(predicted)


def feeds_of(rows: EncodedExamples, row: int) -> dict[str, Any]:
    """One row as a batch of its own, as numpy arrays."""
    return {name: value.numpy() for name, value in model_inputs(rows.collate([rows[row]])).items()}


def _export_checked(bench: Workbench, model: PreTrainedModel, rows: EncodedExamples, path: Path) -> None:
    """Writes a model's FP32 graph and compares its logits with PyTorch's on some rows, one at a time.

    Args:
        rows: validation rows under the model's own tokenizer.

    Raises:
        ParityError: they differ by more than `PARITY_TOLERANCE`.
    """
    exporter(bench.recipe.runtime).export_graph(
        model, path, max_length=bench.max_length, pairs=bench.has_pairs
    )
    sample = rows.take(rows.sample(PARITY_ROWS, bench.recipe.seed))
    session = OnnxRuntimeSession(path)
    logits = np.concatenate([session.run(feeds_of(sample, row)) for row in range(len(sample))])
    check_parity(predict_logits(model, sample).numpy(), logits, tolerance=PARITY_TOLERANCE, name=path.name)
