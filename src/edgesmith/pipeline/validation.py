"""The sixth step: the bundle against the teacher on the test split, and everything it is weighed by."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from edgesmith.compress.distill import predict_logits
from edgesmith.data import TextExamples
from edgesmith.data.encoding import EncodedExamples, encode, model_inputs
from edgesmith.measure.baseline import bag_of_words
from edgesmith.measure.guards import run_guards
from edgesmith.measure.latency import time_interleaved
from edgesmith.measure.memory import peak_rss_of
from edgesmith.measure.quality import compare
from edgesmith.measure.size import Sizes, folder_bytes, fp32_safetensors_bytes
from edgesmith.measure.verdict import Evidence
from edgesmith.pipeline.artifacts import FP32_NAME, INT8_NAME, feeds_of, predict_with_runtime
from edgesmith.pipeline.bench import Workbench, accuracy
from edgesmith.pipeline.runs import StepResult
from edgesmith.records import Latencies
from edgesmith.runtime.onnxruntime import OnnxRuntimeSession
from edgesmith.runtime.predictor import load_bundle

Classes = NDArray[np.integer]
PREDICTIONS_NAME = "predictions.csv"
LOADS = 5


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What is validated.

    Attributes:
        bundle: its folder.
        baseline: folder that `export_baseline` wrote, with the teacher whole.
        stored: layer -> dtype, read back from the bundle's model.
        validation_drop: what it lost on validation rows.
    """

    bundle: Path
    baseline: Path
    stored: dict[str, str]
    validation_drop: float


def validate(bench: Workbench, artifact: Artifact, folder: Path) -> StepResult:
    """Touches the test split, once, and measures everything that the verdict speaks of."""
    test, settings = bench.splits.test, bench.recipe.validate
    rows = encode(bench.tokenizer, test, bench.max_length)
    labels = np.array(test.labels)
    bench.progress.say(f"{len(rows):,} test rows: teacher, artifact and the teacher in INT8")
    teacher = predict_logits(bench.teacher, rows).argmax(-1).numpy()
    with load_bundle(artifact.bundle, threads=settings.threads) as predictor:
        logits = predictor.logits(list(test.texts), None if test.pairs is None else list(test.pairs))
    predicted = logits.argmax(axis=-1)
    int8 = predict_with_runtime(bench, artifact.baseline / INT8_NAME, rows, "the teacher in INT8")
    quality = compare(teacher, predicted, labels, resamples=settings.resamples, seed=bench.recipe.seed)
    timed, model = rows.sample(settings.inputs, bench.recipe.seed), predictor.bundle.model_path
    latencies = _time(bench, model, artifact.baseline, rows, timed)
    sizes = Sizes(
        device=folder_bytes(artifact.bundle),
        model=model.stat().st_size,
        baseline=fp32_safetensors_bytes(bench.teacher_folder),
    )
    guards = run_guards(
        logits,
        labels,
        agreement=quality.agreement,
        min_agreement=settings.min_agreement,
        sizes=sizes,
        latencies=latencies,
        plan=predictor.bundle.manifest.plan,
        stored=artifact.stored,
    )
    evidence = Evidence(
        quality=quality,
        sizes=sizes,
        latencies=latencies,
        guards=tuple(guards),
        int8_baseline=accuracy(int8, rows),
        bow_baseline=_bag_of_words(bench),
        validation_drop=artifact.validation_drop,
        test_is_held_out=bench.splits.test_is_held_out,
        load_ms=_load_ms(artifact.bundle, settings.threads),
        peak_rss_bytes=_peak_rss(test.take(timed), artifact.bundle, folder),
        bundle="",
        wall_s={},
    )
    _write_predictions(folder / PREDICTIONS_NAME, bench, teacher, predicted)
    return StepResult(
        {
            "evidence": evidence,
            "latencies": latencies,
            "int8_model_size_bytes": (artifact.baseline / INT8_NAME).stat().st_size,
        },
        (
            f"all {len(rows):,} rows of the test split, through the bundle's own tokenizer and runtime",
            f"{latencies.inputs} real inputs timed in {latencies.rounds} interleaved rounds, {latencies.threads} thread(s)",
        ),
    )


def _time(
    bench: Workbench, model: Path, baseline: Path, rows: EncodedExamples, chosen: list[int]
) -> Latencies:
    """Artifact, FP32 and INT8 teacher on the runtime, and the teacher in PyTorch: the same inputs, interleaved.

    Args:
        model: of the artifact.
        rows: of the test split, under the teacher's tokenizer.
        chosen: which of them are timed.
    """
    settings = bench.recipe.validate
    student = encode(bench.student_tokenizer, bench.splits.test.take(chosen), bench.max_length)
    whole = [feeds_of(rows, row) for row in chosen]
    files = {"artifact": model, "fp32": baseline / FP32_NAME, "int8": baseline / INT8_NAME}
    sessions = {name: OnnxRuntimeSession(file, threads=settings.threads) for name, file in files.items()}
    bench.progress.say(f"timing on {len(chosen)} test inputs, {settings.rounds} interleaved rounds")
    with _torch_threads(settings.threads), torch.inference_mode():
        return time_interleaved(
            {name: session.run for name, session in sessions.items()}
            | {"eager": lambda inputs: bench.model(**inputs)},
            {
                "artifact": [feeds_of(student, row) for row in range(len(student))],
                "fp32": whole,
                "int8": whole,
                "eager": [model_inputs(rows.collate([rows[row]])) for row in chosen],
            },
            rounds=settings.rounds,
            threads=settings.threads,
            seed=bench.recipe.seed,
            mean_tokens={
                "artifact": float(np.mean(student.lengths)),
                "fp32": float(np.mean([rows.lengths[row] for row in chosen])),
            },
        )


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _bag_of_words(bench: Workbench) -> float:
    train, test = bench.splits.train, bench.splits.test
    return bag_of_words(_joined(train), train.labels, _joined(test), test.labels)


def _joined(examples: TextExamples) -> list[str]:
    """Both texts of a pair as one."""
    if examples.pairs is None:
        return list(examples.texts)
    return [f"{text} {pair}" for text, pair in zip(examples.texts, examples.pairs, strict=True)]


def _load_ms(bundle: Path, threads: int) -> float:
    """Median time to verify and open the bundle, in this process and with a warm file cache."""
    elapsed = []
    for _ in range(LOADS):
        start = time.perf_counter()
        load_bundle(bundle, threads=threads).close()
        elapsed.append(1000 * (time.perf_counter() - start))
    return median(elapsed)


def _peak_rss(rows: TextExamples, bundle: Path, folder: Path) -> int:
    """Of a fresh process that runs the bundle's own ``run.py`` over some rows."""
    inputs = folder / "inputs.csv"
    with open(inputs, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "pair"] if rows.pairs else ["text"])
        writer.writerows(
            zip(rows.texts, rows.pairs, strict=True) if rows.pairs else ([text] for text in rows.texts)
        )
    command = [sys.executable, str(bundle / "run.py"), "--file", str(inputs), "--text-column", "text"]
    try:
        return peak_rss_of([*command, "--pair-column", "pair"] if rows.pairs else command)
    finally:
        inputs.unlink()


def _write_predictions(path: Path, bench: Workbench, teacher: Classes, artifact: Classes) -> None:
    """The test split with both answers, (N,) each: ``run.py`` must give the artifact's again."""
    names, test = bench.splits.label_names, bench.splits.test
    pairs = test.pairs or ("",) * len(test)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "pair", "label", "teacher", "artifact"])
        for text, pair, *indices in zip(test.texts, pairs, test.labels, teacher, artifact, strict=True):
            writer.writerow([text, pair, *(names[index] for index in indices)])
