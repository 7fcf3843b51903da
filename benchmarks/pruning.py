"""MiniLM with 30, 50 and 70 % fewer encoder MACs: accuracy stage by stage, and what is faster by the clock. Resumable.

    python benchmarks/pruning.py [SST-2] [MRPC]      # writes results/pruning.md

A teacher is fine-tuned from all-MiniLM-L6-v2, `edgesmith prune` cuts heads and neurons from it, and `edgesmith distill` lets
what is left learn from it. Validation rows are carved from train, in groups; GLUE's dev rows are scored at the end. The data
is not part of the project: it is looked for in ../shared/data/glue, or where GLUE_DATA says.
"""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from jobs import minilm
from rich.console import Console
from study import PRECISIONS, ROOT, arguments, cell, feeds, write_files, write_page

from edgesmith import pipeline
from edgesmith.analyze.cost import macs
from edgesmith.compress.distill import predict_logits
from edgesmith.measure.latency import time_interleaved
from edgesmith.models.coupling import check_is_prunable, prunable_shape, to_prunable
from edgesmith.models.device import prepare_torch
from edgesmith.pipeline.tasks import open_finetuned
from edgesmith.recipe import CutConfig, DataConfig, DistillConfig, FinetuneConfig, Recipe, StudentConfig
from edgesmith.records import STEP_RECORD_NAME, Progress, StepRecord, read_json
from edgesmith.report.facts import NONE, Table
from edgesmith.report.progress import RichProgress
from edgesmith.runtime.predictor import open_session

DATA = Path(os.environ.get("GLUE_DATA", ROOT.parent / "shared" / "data" / "glue"))
SHARES = (0.7, 0.5, 0.3)
"""Of the encoder's MACs, that stay."""
LENGTHS = (128, 32)
TASKS = {
    "SST-2": (
        FinetuneConfig(epochs=3, batch_size=64, learning_rate=7e-5),
        DistillConfig(epochs=3, batch_size=64, learning_rate=2e-4),
    ),
    "MRPC": (
        FinetuneConfig(epochs=5, batch_size=32, learning_rate=1e-4),
        DistillConfig(epochs=8, batch_size=32, learning_rate=2e-4),
    ),
}
STAGES = ("search", "rearrangement", "tuning")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("tasks", nargs="*", default=list(TASKS), metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    tables = []
    for task in asked.tasks:
        folder = asked.runs / "pruning" / task
        with RichProgress(Console(stderr=True)) as progress:
            make(task, folder, progress)
        models = {"whole": folder / "teacher"} | {
            name(share): folder / name(share) / "recovered" for share in SHARES
        }
        timed = cell(folder / "latency.json", partial(clock, task, models, asked.rounds))
        tables += [accuracies(task, folder), speed(task, timed)]
    write_page(
        asked.results,
        "pruning",
        "Heads and neurons cut from MiniLM",
        "Made by `python benchmarks/pruning.py`. Everything is measured: accuracy on validation rows carved from train and on GLUE's "
        "dev rows, p50 on ONNX Runtime at batch 1 and one thread, all models of a table in turns.",
        tables,
        [],
    )  # fmt: skip


def name(share: float) -> str:
    return f"{share:.0%} of MACs"


# ---- models


def recipe(task: str, model: Path | str) -> Recipe:
    finetune, distill = TASKS[task]
    return Recipe(
        model=str(model), data=DataConfig(path=str(DATA / task)), finetune=finetune, distill=distill
    )


def make(task: str, folder: Path, progress: Progress) -> None:
    """Every model that is not there yet: ``teacher``, and for each share ``pruned`` and ``recovered``."""
    teacher = folder / "teacher"
    folder.mkdir(parents=True, exist_ok=True)
    if not teacher.exists():
        pipeline.finetune(recipe(task, minilm()), teacher, progress)
    for share in SHARES:
        place = folder / name(share)
        place.mkdir(exist_ok=True)
        pruned, recovered = place / "pruned", place / "recovered"
        if not pruned.exists():
            pipeline.prune(recipe(task, teacher), CutConfig(macs=share, length=LENGTHS[0]), pruned, progress)
        if not recovered.exists():
            pipeline.distill(recipe(task, teacher), StudentConfig(model=str(pruned)), recovered, progress)


def dev(task: str, folder: Path) -> tuple[float, int]:
    """Accuracy on GLUE's dev rows, and how many."""
    opened = open_finetuned(recipe(task, folder), check_is_prunable)
    rows = opened.modality.encode(opened.modality.splits.test)
    answers = rows.answers(predict_logits(to_prunable(opened.model), rows).numpy(), opened.modality.judge)
    return opened.modality.judge.quality(answers, rows.truth), len(rows)


# ---- time


def clock(task: str, models: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Length -> model -> p50 in milliseconds by precision; and MACs of each model's encoder under the same key."""
    prepare_torch(1)
    found: dict[str, Any] = {str(length): {} for length in LENGTHS}
    with tempfile.TemporaryDirectory() as temporary:
        opened, shapes = {}, {}
        for model, folder in models.items():
            built = to_prunable(open_finetuned(recipe(task, folder), check_is_prunable).model)
            shapes[model] = prunable_shape(built.config)
            files = {precision: Path(temporary) / f"{model}-{precision}" for precision in PRECISIONS}
            write_files(built, "onnxruntime", files, max(LENGTHS))
            opened |= {
                (model, precision): open_session("onnxruntime", file, threads=1)
                for precision, file in files.items()
            }
        runs = {f"{model} {precision}": session.run for (model, precision), session in opened.items()}
        for length in LENGTHS:
            inputs = dict.fromkeys(runs, feeds(shapes["whole"], length))
            timed = time_interleaved(runs, inputs, rounds=rounds, threads=1, mean_tokens={})
            for model in models:
                found[str(length)][model] = {"macs": macs(shapes[model], length)} | {
                    precision: timed.samples[f"{model} {precision}"].p50 for precision in PRECISIONS
                }
            found[str(length)]["cpu_share"] = timed.cpu_share
    return found


# ---- tables


def facts(folder: Path) -> dict[str, Any]:
    """Of the record that `edgesmith` left beside a model."""
    return read_json(StepRecord, folder / STEP_RECORD_NAME).facts


def accuracies(task: str, folder: Path) -> Table:
    """A row a model: what each stage keeps."""
    teacher = folder / "teacher"
    whole, (whole_dev, n) = facts(teacher)["quality"], dev(task, teacher)
    rows = [("whole", *[NONE] * len(STAGES), percent(whole), percent(whole_dev), "0.00", NONE, NONE)]
    for share in SHARES:
        place = folder / name(share)
        pruned, recovered = facts(place / "pruned"), facts(place / "recovered")
        told = [percent(pruned["quality"][stage]) for stage in STAGES]
        searched = sum(seconds for stage, seconds in pruned["wall_s"].items() if stage != "evaluation")
        lost = 100 * (whole - recovered["quality"])
        rows.append(
            (name(share), *told, percent(recovered["quality"]), percent(dev(task, place / "recovered")[0]), f"{lost:.2f}",
             f"{searched:.0f} s", f"{recovered['wall_s']:.0f} s")
        )  # fmt: skip
    validation = facts(teacher)["validation_rows"]
    return Table(
        title=f"{task}: accuracy",
        columns=("model", *STAGES, "recovered", "recovered, dev", "points lost", "search", "recovery"),
        align="l" + "r" * (len(STAGES) + 5),
        rows=tuple(rows),
        notes=(f"on {validation:,} validation rows, {n:,} dev rows; one seed. Search: importance, masks, rearrangement and tuning.",),
    )  # fmt: skip


def speed(task: str, timed: dict[str, Any]) -> Table:
    """How much of what MACs promise the clock shows."""
    rows = []
    for length in map(str, LENGTHS):
        whole = timed[length]["whole"]
        for model in ("whole", *map(name, SHARES)):
            one = timed[length][model]
            promised = whole["macs"] / one["macs"]
            told = [f"{promised:.2f}x"]
            for precision in PRECISIONS:
                gained = whole[precision] / one[precision]
                told += [f"{one[precision]:.3f}", f"{gained:.2f}x", f"{gained / promised:.2f}"]
            rows.append((model, length, *told))
    shares = ", ".join(f"{timed[length]['cpu_share']:.0%}" for length in map(str, LENGTHS))
    return Table(
        title=f"{task}: speed",
        columns=("model", "tokens", "MACs", "FP32 ms", "faster", "of MACs", "INT8 ms", "faster", "of MACs"),
        align="l" + "r" * 8,
        rows=tuple(rows),
        notes=(f"p50, ONNX Runtime, batch 1, one thread; {shares} of a core in the timed runs.",),
    )


def percent(value: float) -> str:
    return f"{100 * value:.2f}"


if __name__ == "__main__":
    main()
