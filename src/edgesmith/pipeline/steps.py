"""The six steps on a workbench. Each does its work in a folder and returns what it found and why it chose."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from edgesmith.analyze import cost as analyze
from edgesmith.compress.distill import distillation_loss, layer_map, predict_logits
from edgesmith.compress.importance import Batch
from edgesmith.compress.prune import prune_embedding, prune_units
from edgesmith.compress.quantize import (
    Divergence,
    is_small_table,
    plan_layer,
    quantizable_layers,
    uniform_plan,
)
from edgesmith.compress.structure import keep_layers
from edgesmith.compress.training import TrainingResult, train
from edgesmith.data.encoding import EncodedExamples, model_inputs
from edgesmith.export.onnxruntime import MODEL_NAME, export_graph, lower
from edgesmith.measure.latency import time_interleaved
from edgesmith.measure.parity import check_parity
from edgesmith.models import CompactBertForSequenceClassification, save_classifier, shape_of
from edgesmith.models.families import compact_config, is_compact
from edgesmith.pipeline.bench import Workbench, accuracy, load_student
from edgesmith.pipeline.runs import StepResult
from edgesmith.records import Candidate, Plan, read_json, to_dict, write_json
from edgesmith.runtime.onnxruntime import OnnxRuntimeSession
from edgesmith.search.precision import assign_precision, verify_precision
from edgesmith.search.structure import ladder

MODEL_FOLDER = "model"
PLAN_NAME = "plan.json"
GRAPH_NAME = "graph.onnx"
TIMED_INPUTS = 24
"""Validation inputs on which candidates are timed in `analyze`; the verdict uses more, and other ones."""

PARITY_ROWS = 32
PARITY_TOLERANCE = 1e-3
"""Largest difference between FP32 logits of PyTorch and of the exported graph; what differs is the order of sums."""


def finetune(bench: Workbench, folder: Path) -> StepResult:
    """Gives a model without a head the task's: the result is the teacher."""
    result = train(
        bench.model,
        bench.train_rows,
        bench.validation_rows,
        bench.recipe.finetune,
        folder=folder / "checkpoints",
        seed=bench.recipe.seed,
        progress=bench.progress,
        title="fine-tuning the teacher",
    )
    save_classifier(bench.model, bench.tokenizer, folder / MODEL_FOLDER)
    return StepResult(
        _training_facts(result),
        (
            "the model had no head for this task, so it was fine-tuned on the training rows; the result is the teacher",
        ),
    )


def analyze_teacher(bench: Workbench, folder: Path) -> StepResult:
    """Counts the teacher, sizes the ladder of candidates, and times each on this host."""
    shape = shape_of(bench.model.config)
    tokens = round(sum(bench.validation_rows.lengths) / len(bench.validation_rows))
    parts = analyze.count(shape, tokens)
    vocabulary = bench.vocabulary
    small = replace(shape_of(bench.teacher.config), labels=shape.labels)
    candidates = _candidates(bench, ladder(small, len(vocabulary.kept_ids)))
    write_json(folder / "candidates.json", candidates)
    total = sum(part.parameters for part in parts)
    embedding = parts[0].parameters / total
    return StepResult(
        {
            "parameters": total,
            "macs": sum(part.macs for part in parts),
            "tokens": tokens,
            "parts": [to_dict(part) | {"parameters": part.parameters} for part in parts],
            "teacher_validation_accuracy": bench.teacher_accuracy,
            "vocabulary": len(vocabulary.kept_ids),
            "candidates": [to_dict(candidate) for candidate in candidates],
        },
        (
            f"{total / 1e6:.1f} M parameters; the word embeddings are {embedding:.0%} of them",
            f"the training texts use {len(vocabulary.kept_ids):,} of {shape.vocab:,} tokens",
            f"INT8 alone would give about {4 * total / analyze.int8_file_bytes(shape):.1f}x; more needs a smaller structure",
        ),
    )


def distill(bench: Workbench, candidate: Candidate, folder: Path) -> StepResult:
    """A student of fewer layers learns the teacher's logits and hidden states."""
    layers = layer_map(len(bench.teacher.layers), candidate.structure.depth)
    if len(layers) == len(bench.teacher.layers):
        save_classifier(bench.teacher, bench.tokenizer, folder / MODEL_FOLDER)
        return StepResult(
            {"accuracy": bench.teacher_accuracy, "layers": layers},
            ("every layer stays, so there is nothing to distil before pruning",),
        )
    student = keep_layers(bench.teacher, layers)
    result = train(
        student,
        bench.train_rows,
        bench.validation_rows,
        bench.recipe.distill,
        folder=folder / "checkpoints",
        seed=bench.recipe.seed,
        progress=bench.progress,
        title=f"distilling {candidate.structure.depth} layers",
        loss=distillation_loss(bench.teacher, bench.teacher_logits, len(layers), bench.recipe.distill),
    )
    save_classifier(student, bench.tokenizer, folder / MODEL_FOLDER)
    kept = ", ".join(str(layer) for layer in layers)
    return StepResult(
        {"layers": layers, **_training_facts(result)},
        (f"started from the teacher's layers {kept}, evenly spaced; each goes on following its own",),
    )


def try_structure(bench: Workbench, candidate: Candidate, folder: Path) -> StepResult:
    """A short distillation of a candidate cut straight from the teacher."""
    search = bench.recipe.search
    layers = layer_map(len(bench.teacher.layers), candidate.structure.depth)
    student, reasons = _pruned(bench, candidate, keep_layers(bench.teacher, layers))
    rows = bench.student_train_rows.sample(search.trial_rows, bench.recipe.seed)
    config = replace(bench.recipe.prune.recovery, epochs=search.trial_epochs, evaluations=1)
    result = train(
        student,
        bench.student_train_rows.take(rows),
        bench.student_validation_rows,
        config,
        folder=folder / "checkpoints",
        seed=bench.recipe.seed,
        progress=bench.progress,
        title=f"trying '{candidate.name}'",
        loss=distillation_loss(bench.teacher, bench.teacher_logits[rows], len(layers), config),
    )
    facts = _training_facts(result) | {"drop": bench.teacher_accuracy - result.accuracy}
    return StepResult(facts, tuple(reasons))


def prune(bench: Workbench, candidate: Candidate, parent: Path, folder: Path) -> StepResult:
    """Removes heads, neurons, tokens and embedding rank from the distilled student, and recovers it."""
    student, reasons = _pruned(bench, candidate, load_student(parent / MODEL_FOLDER))
    before = accuracy(
        predict_logits(student, bench.student_validation_rows).argmax(-1), bench.student_validation_rows
    )
    config = bench.recipe.prune.recovery
    result = train(
        student,
        bench.student_train_rows,
        bench.student_validation_rows,
        config,
        folder=folder / "checkpoints",
        seed=bench.recipe.seed,
        progress=bench.progress,
        title=f"recovering '{candidate.name}'",
        loss=distillation_loss(bench.teacher, bench.teacher_logits, candidate.structure.depth, config),
    )
    save_classifier(student, bench.student_tokenizer, folder / MODEL_FOLDER)
    facts = _training_facts(result) | {
        "accuracy_before_recovery": before,
        "parameters": sum(parameter.numel() for parameter in student.parameters()),
        "vocabulary_coverage": bench.vocabulary.coverage,
    }
    return StepResult(
        facts, (*reasons, f"recovered from {before:.4f} to {result.accuracy:.4f} on validation rows")
    )


def quantize(bench: Workbench, parent: Path, folder: Path) -> StepResult:
    """Measures each layer's sensitivity to INT8 and decides its precision."""
    config, student = bench.recipe.quantize, load_student(parent / MODEL_FOLDER)
    rows = bench.student_train_rows.sample(config.calibration_rows, bench.recipe.seed)
    divergence = Divergence(student, list(bench.student_train_rows.batches(16, rows)))
    layers = {
        name: module for name, module in quantizable_layers(student).items() if not is_small_table(name)
    }
    bench.progress.start("measuring sensitivity", len(layers))
    sensitivity = {}
    for done, name in enumerate(layers, 1):
        sensitivity[name] = divergence([name])
        bench.progress.advance(done, name)
    bench.progress.finish()
    higher = {"fp16": 2, "fp32": 4}[config.higher]
    saved = {name: (higher - 1) * module.weight.numel() for name, module in layers.items()}
    chosen = assign_precision(sensitivity, saved, config.max_divergence)
    chosen, joint = verify_precision(chosen, sensitivity, divergence, config.max_divergence)
    entries = []
    for name, module in quantizable_layers(student).items():
        if name not in layers:
            entries.append(
                plan_layer(name, module, "fp16", reason="a small table, read as it is; FP16 halves it")
            )
            continue
        weight = "int8" if name in chosen else config.higher
        reason = f"KL {sensitivity[name]:.1e} nats alone" + (
            "" if name in chosen else ": too sensitive for the budget"
        )
        entries.append(plan_layer(name, module, weight, sensitivity=sensitivity[name], reason=reason))
    write_json(folder / PLAN_NAME, Plan(layers=tuple(entries)))
    return StepResult(
        {"joint_divergence": joint, "int8_layers": len(chosen), "layers": len(entries)},
        (
            f"{len(chosen)} of {len(layers)} layers in INT8: together KL {joint:.1e} nats on {len(rows)} training rows",
        ),
    )


def export_student(bench: Workbench, model: Path, plan: Path, folder: Path) -> StepResult:
    """Writes the student as the plan says, checks its graph against PyTorch, and weighs it on validation rows."""
    student = load_student(model / MODEL_FOLDER)
    decided = read_json(Plan, plan / PLAN_NAME)
    _export_checked(bench, student, folder / GRAPH_NAME)
    artifact = lower(folder / GRAPH_NAME, decided, folder / MODEL_NAME)
    (folder / GRAPH_NAME).unlink()
    rows = bench.student_validation_rows
    predicted = predict_with_runtime(bench, folder / MODEL_NAME, rows, "validating through the runtime")
    reached = accuracy(predicted, rows)
    return StepResult(
        {
            "accuracy": reached,
            "drop": bench.teacher_accuracy - reached,
            "agreement": float((predicted == bench.teacher_validation).float().mean()),
            "model_bytes": (folder / MODEL_NAME).stat().st_size,
            "inputs": [to_dict(spec) for spec in artifact.inputs],
            "outputs": [to_dict(spec) for spec in artifact.outputs],
            "stored": artifact.stored,
        },
        (f"read back: the file holds what the plan says for all {len(artifact.stored)} layers",),
    )


def export_baseline(bench: Workbench, folder: Path) -> StepResult:
    """Writes the teacher whole: in FP32, and quantized only."""
    _export_checked(bench, bench.model, folder / "fp32.onnx")
    plan = uniform_plan(bench.model, "the uncompressed baseline")
    lower(folder / "fp32.onnx", plan, folder / "int8.onnx")
    return StepResult(
        {f"{name}_bytes": (folder / f"{name}.onnx").stat().st_size for name in ("fp32", "int8")},
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


def _candidates(bench: Workbench, rungs: dict[str, Any]) -> list[Candidate]:
    """The ladder with predicted bytes and a p50 measured on this host, on random weights of each shape."""
    rows = bench.student_validation_rows
    feeds = [feeds_of(rows, row) for row in rows.sample(TIMED_INPUTS, bench.recipe.seed)]
    with tempfile.TemporaryDirectory() as scratch:
        sessions = {}
        bench.progress.start("timing candidate structures", len(rungs))
        for done, (name, (_, shape)) in enumerate(rungs.items(), 1):
            model = CompactBertForSequenceClassification(compact_config(bench.teacher.config, shape)).eval()
            graph, file = Path(scratch) / f"{name}.fp32.onnx", Path(scratch) / f"{name}.onnx"
            export_graph(model, graph, max_length=bench.max_length, pairs=bench.has_pairs)
            lower(graph, uniform_plan(model, "timing"), file)
            sessions[name] = OnnxRuntimeSession(file, threads=bench.recipe.validate.threads)
            bench.progress.advance(done, name)
        bench.progress.finish()
        timed = time_interleaved(
            {name: session.run for name, session in sessions.items()},
            dict.fromkeys(sessions, feeds),
            rounds=5,
            threads=bench.recipe.validate.threads,
            mean_tokens={},
        )
    return [
        Candidate(
            name=name,
            structure=structure,
            shape=shape,
            size_bytes=analyze.int8_file_bytes(shape),
            latency_ms=timed.samples[name].p50,
            latency_is_measured=True,
        )
        for name, (structure, shape) in rungs.items()
    ]


def feeds_of(rows: EncodedExamples, row: int) -> dict[str, Any]:
    """One row as a batch of its own, as numpy arrays."""
    return {name: value.numpy() for name, value in model_inputs(rows.collate([rows[row]])).items()}


def _pruned(
    bench: Workbench, candidate: Candidate, model: CompactBertForSequenceClassification
) -> tuple[CompactBertForSequenceClassification, list[str]]:
    """The candidate's structure, cut out of a model that has its layers already; not yet recovered."""
    rows = bench.train_rows.sample(bench.recipe.prune.importance_rows, bench.recipe.seed)
    batches: list[Batch] = list(bench.train_rows.batches(32, rows))
    smaller, units = prune_units(model, candidate.structure, batches)
    smaller, tokens = prune_embedding(smaller, candidate.structure, bench.vocabulary.kept_ids)
    return smaller, [*units, *tokens]


def _export_checked(bench: Workbench, model: PreTrainedModel, path: Path) -> None:
    """Writes a model's FP32 graph and compares its logits with PyTorch's on real rows, one at a time.

    Raises:
        ParityError: they differ by more than `PARITY_TOLERANCE`.
    """
    export_graph(model, path, max_length=bench.max_length, pairs=bench.has_pairs)
    rows = bench.student_validation_rows if is_compact(model.config) else bench.validation_rows
    sample = rows.take(rows.sample(PARITY_ROWS, bench.recipe.seed))
    session = OnnxRuntimeSession(path)
    logits = np.concatenate([session.run(feeds_of(sample, row)) for row in range(len(sample))])
    check_parity(predict_logits(model, sample).numpy(), logits, tolerance=PARITY_TOLERANCE, name=path.name)


def _training_facts(result: TrainingResult) -> dict[str, Any]:
    return {
        "accuracy": result.accuracy,
        "steps": result.steps,
        "curve": [list(point) for point in result.curve],
    }
