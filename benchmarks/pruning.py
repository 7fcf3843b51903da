"""Heads and neurons cut from MiniLM and DINOv2-small at three shares of their MACs: accuracy stage by stage, and what is
faster by the clock. Resumable.

    python benchmarks/pruning.py [SST-2] [MRPC] [CIFAR-10]      # writes results/pruning.md

A model is fine-tuned from all-MiniLM-L6-v2 or DINOv2-small, and `edgesmith prune --recover one-shot` cuts it and lets what is
left learn from it. Validation rows are carved from train, in groups; GLUE's dev and CIFAR-10's test rows are scored at the
end. The data is not part of the project: it is looked for in ../shared/data (glue, cifar10), or where GLUE_DATA and
CIFAR10_DATA say; DINOv2-small in ../shared/models, or where DINOV2 says.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jobs import minilm
from rich.console import Console
from study import PRECISIONS, ROOT, arguments, cell, feeds, write_files, write_page
from transformers import ViTImageProcessorPil

from edgesmith import pipeline
from edgesmith.analyze.cost import macs
from edgesmith.analyze.operators import is_of_images
from edgesmith.compress.distill import predict_logits
from edgesmith.measure.latency import time_interleaved
from edgesmith.models.coupling import check_is_prunable, prunable_shape, to_prunable
from edgesmith.models.device import prepare_torch
from edgesmith.pipeline.tasks import open_finetuned
from edgesmith.recipe import CutConfig, DataConfig, FinetuneConfig, PruneConfig, Recipe, RecoveryConfig
from edgesmith.records import (
    STEP_RECORD_NAME,
    Progress,
    Pruning,
    Schedule,
    StepRecord,
    Task,
    Training,
    from_dict,
    read_json,
)
from edgesmith.report.facts import NONE, Table
from edgesmith.report.progress import RichProgress
from edgesmith.runtime.predictor import open_session

SHARED = ROOT.parent / "shared"
GLUE = Path(os.environ.get("GLUE_DATA", SHARED / "data" / "glue"))
CIFAR10 = Path(os.environ.get("CIFAR10_DATA", SHARED / "data" / "cifar10"))
DINOV2 = Path(os.environ.get("DINOV2", SHARED / "models" / "dinov2-small-fp16"))
SIDE = 98
"""Pixels that CIFAR-10's 32 are enlarged to: 7 x 7 patches of DINOv2."""
SHARES = (0.7, 0.5, 0.3)
"""Of the encoder's MACs, that stay."""
LENGTHS = (128, 32)
STAGES = ("search", "rearrangement", "tuning", "recovery")


@dataclass(frozen=True)
class Setting:
    """How a task is learnt.

    Attributes:
        model: that it starts from; called where it is needed.
        gradual: shares that are also reached in two cuts.
    """

    data: DataConfig
    finetune: FinetuneConfig
    recovery: RecoveryConfig
    model: Callable[[], Path] = minilm
    task: Task = "text-classification"
    shares: tuple[float, ...] = SHARES
    gradual: tuple[float, ...] = ()


def dinov2() -> Path:
    """The encoder with an image processor of `SIDE` pixels."""
    folder = ROOT / "runs" / "dinov2-small"
    if not (folder / "preprocessor_config.json").is_file():
        shutil.copytree(DINOV2, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
        ViTImageProcessorPil(
            size={"height": SIDE, "width": SIDE},
            image_mean=[0.485, 0.456, 0.406],
            image_std=[0.229, 0.224, 0.225],
        ).save_pretrained(folder)
    return folder


SETTINGS = {
    "SST-2": Setting(
        DataConfig(path=str(GLUE / "SST-2")),
        FinetuneConfig(epochs=3, batch_size=64, learning_rate=7e-5),
        RecoveryConfig(epochs=3, batch_size=64, learning_rate=2e-4, evaluations=4),
        gradual=(0.3,),
    ),
    "MRPC": Setting(
        DataConfig(path=str(GLUE / "MRPC")),
        FinetuneConfig(epochs=5, batch_size=32, learning_rate=1e-4),
        RecoveryConfig(epochs=8, batch_size=32, learning_rate=2e-4, evaluations=4),
    ),
    "CIFAR-10": Setting(
        DataConfig(path=str(CIFAR10), max_rows=3_000, validation_rows=1_500),
        FinetuneConfig(epochs=2, batch_size=32, learning_rate=5e-5),
        RecoveryConfig(epochs=4, batch_size=32, learning_rate=1e-4, evaluations=2),
        model=dinov2,
        task="image-classification",
        shares=(0.5,),
    ),
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("tasks", nargs="*", default=list(SETTINGS), metavar="TASK", help=", ".join(SETTINGS))
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    tables = []
    for task in asked.tasks:
        folder = asked.runs / "pruning" / task
        with RichProgress(Console(stderr=True)) as progress:
            make(task, folder, progress)
        timed = cell(folder / "latency.json", partial(clock, task, folder, asked.rounds))
        tables += [accuracies(task, folder), speed(task, timed)]
    write_page(
        asked.results,
        "pruning",
        "Heads and neurons cut from MiniLM and DINOv2-small",
        "Made by `python benchmarks/pruning.py`. Everything is measured: accuracy on validation rows carved from train and on GLUE's "
        "dev or CIFAR-10's test rows, p50 on ONNX Runtime at batch 1 and one thread, all models of a table in turns.",
        tables,
        [],
    )  # fmt: skip


def name(share: float, schedule: Schedule = "one-shot") -> str:
    return f"{share:.0%} of MACs" + ("" if schedule == "one-shot" else ", in two cuts")


# ---- models


def recipe(task: str, model: Path | str) -> Recipe:
    setting = SETTINGS[task]
    return Recipe(
        model=str(model),
        task=setting.task,
        data=setting.data,
        finetune=setting.finetune,
        prune=PruneConfig(recovery=setting.recovery),
    )


def variants(task: str) -> dict[str, CutConfig]:
    """Name of each pruned model -> what makes it."""
    setting = SETTINGS[task]
    length = None if setting.task == "image-classification" else LENGTHS[0]
    asked: list[tuple[float, Schedule]] = [(share, "one-shot") for share in setting.shares]
    asked += [(share, "gradual") for share in setting.gradual]
    return {
        name(share, schedule): CutConfig(macs=share, length=length, schedule=schedule)
        for share, schedule in asked
    }


def make(task: str, folder: Path, progress: Progress) -> None:
    """Every model that is not there yet: ``teacher``, and of each variant ``recovered``."""
    teacher = folder / "teacher"
    folder.mkdir(parents=True, exist_ok=True)
    if not teacher.exists():
        pipeline.finetune(recipe(task, SETTINGS[task].model()), teacher, progress)
    for variant, config in variants(task).items():
        place = folder / variant / "recovered"
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            pipeline.prune(recipe(task, teacher), config, place, progress)


def test(task: str, folder: Path) -> tuple[float, int]:
    """Accuracy on GLUE's dev or CIFAR-10's test rows, and how many."""
    opened = open_finetuned(recipe(task, folder), check_is_prunable)
    rows = opened.modality.encode(opened.modality.splits.test)
    answers = rows.answers(predict_logits(to_prunable(opened.model), rows).numpy(), opened.modality.judge)
    return opened.modality.judge.quality(answers, rows.truth), len(rows)


# ---- time


def clock(task: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Length -> model -> p50 in milliseconds by precision, and MACs of its encoder."""
    prepare_torch(1)
    models = {"whole": folder / "teacher"} | {
        variant: folder / variant / "recovered" for variant, config in variants(task).items() if config.schedule == "one-shot"
    }  # fmt: skip
    built = {
        model: to_prunable(open_finetuned(recipe(task, place), check_is_prunable).model)
        for model, place in models.items()
    }
    shapes = {model: prunable_shape(one.config) for model, one in built.items()}
    whole = shapes["whole"]
    lengths = (whole.positions,) if is_of_images(whole) else LENGTHS
    found: dict[str, Any] = {str(length): {} for length in lengths}
    with tempfile.TemporaryDirectory() as temporary:
        runs: dict[str, Any] = {}
        for number, (model, one) in enumerate(built.items()):
            files = {precision: Path(temporary) / f"{number}-{precision}" for precision in PRECISIONS}
            write_files(one, "onnxruntime", files, max(lengths))
            runs |= {
                f"{model} {precision}": open_session("onnxruntime", file, threads=1).run
                for precision, file in files.items()
            }
        for length in lengths:
            inputs = dict.fromkeys(runs, feeds(whole, length))
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
    teacher = from_dict(Training, facts(folder / "teacher"))
    whole, n = test(task, folder / "teacher")
    rows = [
        (
            "whole",
            *[NONE] * (len(STAGES) - 1),
            percent(teacher.quality),
            "0.00",
            percent(whole),
            "0.00",
            NONE,
            NONE,
        )
    ]
    for variant in variants(task):
        place = folder / variant / "recovered"
        found = from_dict(Pruning, facts(place))
        told = [percent(found.quality[stage]) if stage in found.quality else NONE for stage in STAGES]
        after, _ = test(task, place)
        spent = [one.wall_s for one in (*found.earlier, found)]
        searched = sum(
            sum(seconds.get(stage, 0.0) for stage in ("importance", *STAGES[:-1])) for seconds in spent
        )
        learnt = sum(seconds["recovery"] for seconds in spent)
        rows.append(
            (variant, *told, f"{100 * (teacher.quality - found.quality['recovery']):.2f}", percent(after),
             f"{100 * (whole - after):.2f}", f"{searched:.0f} s", f"{learnt:.0f} s")
        )  # fmt: skip
    rest = "test" if SETTINGS[task].task == "image-classification" else "dev"
    return Table(
        title=f"{task}: accuracy",
        columns=("model", *STAGES, "points lost", rest, "points lost there", "search", "recovery"),
        align="l" + "r" * (len(STAGES) + 5),
        rows=tuple(rows),
        notes=(
            f"on {teacher.validation_rows:,} validation rows, {n:,} {rest} rows; one seed. Search: importance, masks, "
            "rearrangement and tuning; of two cuts, the stages are those of the second.",
        ),
    )  # fmt: skip


def speed(task: str, timed: dict[str, Any]) -> Table:
    """How much of what MACs promise the clock shows."""
    rows = []
    for length, models in timed.items():
        whole = models["whole"]
        for model, one in models.items():
            if model != "cpu_share":
                promised = whole["macs"] / one["macs"]
                told = [f"{promised:.2f}x"]
                for precision in PRECISIONS:
                    gained = whole[precision] / one[precision]
                    told += [f"{one[precision]:.3f}", f"{gained:.2f}x", f"{gained / promised:.2f}"]
                rows.append((model, length, *told))
    shares = ", ".join(f"{models['cpu_share']:.0%}" for models in timed.values())
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
