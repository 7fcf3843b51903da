"""The sixth step: the bundle against the teacher on the test split, and everything it is weighed by."""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgesmith.data.encoding import EncodedRows
from edgesmith.measure.guards import run_guards
from edgesmith.measure.latency import time_interleaved
from edgesmith.measure.memory import peak_rss_of
from edgesmith.measure.quality import compare
from edgesmith.measure.size import Sizes, folder_bytes, fp32_safetensors_bytes, model_bytes
from edgesmith.measure.verdict import Evidence
from edgesmith.pipeline.artifacts import Baseline, answer_with_runtime, feeds_of_examples, run_each
from edgesmith.pipeline.bench import Workbench
from edgesmith.pipeline.runs import StepResult
from edgesmith.records import Latencies, metrics_of
from edgesmith.report.units import counted
from edgesmith.runtime.bundle import open_bundle
from edgesmith.runtime.judge import Answers, Judge
from edgesmith.runtime.load import load_bundle
from edgesmith.runtime.predictor import open_session
from edgesmith.runtime.settings import Settings

EAGER = "eager"
LOADS = 5


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What is validated.

    Attributes:
        runtime: what runs it.
        bundle: its folder.
        baseline: the teacher whole, for the same runtime.
        stored: layer -> dtype, read back from the bundle's model.
        validation_drop: what it lost on validation rows.
    """

    runtime: str
    bundle: Path
    baseline: Baseline
    stored: dict[str, str]
    validation_drop: float


def validate(bench: Workbench, artifacts: Sequence[Artifact], folder: Path) -> StepResult:
    """Touches the test split, once, and measures everything that the verdict speaks of, for every runtime."""
    test, settings = bench.splits.test, bench.recipe.validate
    rows = bench.modality.encode(test)
    bench.progress.say(f"{len(test):,} test rows: teacher, artifact and the teacher in INT8")
    teacher = bench.answers(bench.teacher, rows)
    outputs = {artifact.runtime: _answer(bench, artifact) for artifact in artifacts}
    timed = rows.sample_examples(settings.inputs, bench.recipe.seed)
    latencies = _time(bench, artifacts, rows, timed)
    bow_baseline = bench.modality.linear_baseline()
    facts = {}
    for artifact in artifacts:
        (answers, logits), own = outputs[artifact.runtime], latencies[artifact.runtime]
        rss = _peak_rss(bench, timed, artifact.bundle)
        facts[artifact.runtime] = {
            "evidence": _weigh(bench, artifact, teacher, answers, logits, own, rows, bow_baseline, rss),
            "latencies": own,
            "int8_model_size_bytes": model_bytes(artifact.baseline.int8),
        }
        file = folder / predictions_name(artifact.runtime)
        _write_predictions(file, bench, rows.truth, teacher, answers)
    return StepResult(
        {"runtimes": facts},
        (
            f"all {len(test):,} rows of the test split, through the bundle's own preprocessing and runtime",
            f"{len(timed)} real inputs timed in {settings.rounds} interleaved rounds, {counted(settings.threads, 'thread')}",
        ),
    )


def predictions_name(runtime: str) -> str:
    """File of the test split with both answers."""
    return f"predictions-{runtime}.csv"


def _answer(bench: Workbench, artifact: Artifact) -> tuple[Answers, NDArray[np.float32]]:
    """Answers of the bundle to the test split, (N,), and the logits that they were read from, (M, labels)."""
    with load_bundle(artifact.bundle, threads=bench.recipe.validate.threads) as predictor:
        return bench.modality.answer(predictor, bench.splits.test)


def _weigh(
    bench: Workbench,
    artifact: Artifact,
    teacher: Answers,
    answers: Answers,
    logits: NDArray[np.float32],
    latencies: Latencies,
    rows: EncodedRows,
    bow_baseline: float,
    peak_rss_bytes: int,
) -> Evidence:
    """Everything that was measured about one bundle.

    Args:
        teacher: (N,) its answers to the test split.
        answers, logits: of the bundle, as `_answer` has them.
        rows: the test split as the teacher reads it.
    """
    settings, truth, bundle = bench.recipe.validate, rows.truth, open_bundle(artifact.bundle)
    quality = compare(
        teacher,
        answers,
        truth,
        judge=bench.judge,
        resamples=settings.resamples,
        seed=bench.recipe.seed,
        clusters=bench.modality.clusters(bench.splits.test),
    )
    sizes = Sizes(
        device=folder_bytes(artifact.bundle),
        model=model_bytes(bundle.model_path),
        baseline=fp32_safetensors_bytes(bench.teacher_folder),
    )
    guards = run_guards(
        logits,
        bench.judge.units(answers),
        bench.judge.units(truth),
        agreement=quality.agreement,
        min_agreement=settings.min_agreement,
        sizes=sizes,
        latencies=latencies,
        plan=bundle.manifest.plan,
        stored=artifact.stored,
    )
    title = f"the teacher in INT8 on {artifact.runtime}"
    int8 = answer_with_runtime(bench, artifact.runtime, artifact.baseline.int8, rows, title)
    return Evidence(
        runtime=artifact.runtime,
        quality=quality,
        sizes=sizes,
        latencies=latencies,
        guards=tuple(guards),
        int8_baseline=bench.quality(int8, rows),
        bow_baseline=bow_baseline,
        validation_drop=artifact.validation_drop,
        test_is_held_out=bench.splits.test_is_held_out,
        load_ms=_load_ms(artifact.bundle, settings.threads),
        peak_rss_bytes=peak_rss_bytes,
        bundle="",
        wall_s={},
        other_metrics=_other_metrics(bench, teacher, answers, truth),
        coverage=bench.modality.coverage(teacher, answers, truth),
    )


def _other_metrics(
    bench: Workbench, teacher: Answers, answers: Answers, truth: Answers
) -> dict[str, tuple[float, float]]:
    """Of teacher and artifact, by the task's metrics that do not judge."""
    task = bench.recipe.task
    names = set(metrics_of(task, len(bench.splits.label_names))) - {bench.judge.metric}
    judges = {name: Judge.of(task, name) for name in sorted(names)}
    return {
        name: (judge.quality(teacher, truth), judge.quality(answers, truth)) for name, judge in judges.items()
    }


def _time(
    bench: Workbench, artifacts: Sequence[Artifact], rows: EncodedRows, chosen: list[int]
) -> dict[str, Latencies]:
    """Artifact, FP32 and INT8 teacher on every runtime, and the teacher in PyTorch: same inputs, one interleaved run.

    The artifact is opened with its bundle's settings, the teacher with the defaults.

    Args:
        rows: of the test split, as the teacher reads them.
        chosen: which of its examples are timed.

    Returns:
        Runtime -> its own three and ``eager``.
    """
    settings = bench.recipe.validate
    student = bench.modality.encode_for_student(bench.splits.test.take(chosen))
    trimmed = feeds_of_examples(student, range(len(chosen)))
    whole = feeds_of_examples(rows, chosen)
    tensors = [
        [{name: torch.from_numpy(part) for name, part in row.items()} for row in each] for each in whole
    ]
    runs: dict[str, Callable[[Any], object]] = {EAGER: run_each(lambda inputs: bench.model(**inputs))}
    inputs: dict[str, list[Any]] = {EAGER: tensors}
    for artifact in artifacts:
        bundle = open_bundle(artifact.bundle)
        files: dict[str, tuple[Path, Settings]] = {
            "artifact": (bundle.model_path, bundle.manifest.session),
            "fp32": (artifact.baseline.fp32, {}),
            "int8": (artifact.baseline.int8, {}),
        }
        for name, (file, own) in files.items():
            key = f"{artifact.runtime}/{name}"
            session = open_session(artifact.runtime, file, threads=settings.threads, settings=own)
            runs[key] = run_each(session.run)
            inputs[key] = trimmed if name == "artifact" else whole
    lengths = rows.example_lengths
    bench.progress.say(f"timing on {len(chosen)} test inputs, {settings.rounds} interleaved rounds")
    with _torch_threads(settings.threads), torch.inference_mode():
        timed = time_interleaved(
            runs,
            inputs,
            rounds=settings.rounds,
            threads=settings.threads,
            seed=bench.recipe.seed,
            mean_tokens={
                "artifact": float(np.mean(student.example_lengths)),
                "fp32": float(np.mean([lengths[example] for example in chosen])),
            },
        )
    return {artifact.runtime: _of_runtime(timed, artifact.runtime) for artifact in artifacts}


def _of_runtime(timed: Latencies, runtime: str) -> Latencies:
    """Its samples, and PyTorch's, under their short names."""
    own = {
        key.removeprefix(f"{runtime}/"): sample
        for key, sample in timed.samples.items()
        if key == EAGER or key.startswith(f"{runtime}/")
    }
    return replace(timed, samples=own)


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _load_ms(bundle: Path, threads: int) -> float:
    """Median time to verify and open the bundle, in this process and with a warm file cache."""
    elapsed = []
    for _ in range(LOADS):
        start = time.perf_counter()
        load_bundle(bundle, threads=threads).close()
        elapsed.append(1000 * (time.perf_counter() - start))
    return median(elapsed)


def _peak_rss(bench: Workbench, rows: list[int], bundle: Path) -> int:
    """Of a fresh process that runs the bundle's own ``run.py`` over some rows of the test split."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = bench.modality.write_inputs(bench.splits.test.take(rows), Path(folder))
        return peak_rss_of([sys.executable, str(bundle / "run.py"), *arguments])


def _write_predictions(
    path: Path, bench: Workbench, truth: Answers, teacher: Answers, artifact: Answers
) -> None:
    """The test split with the truth and both answers, (N,) each: ``run.py`` must give the artifact's again."""
    columns = bench.modality.describe(bench.splits.test)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "label", "teacher", "artifact"])
        answers = (bench.modality.written(values) for values in (truth, teacher, artifact))
        writer.writerows(zip(*columns.values(), *answers, strict=True))
