"""What distillation is worth: none, one stage or two, at four sizes of student, on GLUE. Writes results/distillation.md.

    python benchmarks/distillation.py [folder] [workers]

Every cell is a training run of its own and leaves a file in the folder, so that a run goes on where it was stopped.
Students of one size and seed start from the same slice of all-MiniLM-L6-v2 and take the same steps on a task. Learning
rates are chosen on validation rows; GLUE's dev rows are scored once, by what is trained.

The data is not part of the project: it is looked for in ../shared/data/glue, or where GLUE_DATA says, and SQuAD's texts for
the general stage in ../squad beside it.
"""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from distillation_table import read, write_results
from glue_texts import other_texts, package_texts, sst2_texts, write_texts
from jobs import minilm
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import set_seed

from edgesmith.compress.distill import GeneralLoss, TaskLoss, predict_logits
from edgesmith.compress.importance import magnitude_importance
from edgesmith.compress.match import layer_map
from edgesmith.compress.structure import keep_at_sites, keep_layers
from edgesmith.compress.training import TrainingResult, hard_label_loss, train
from edgesmith.data.encoding import encode
from edgesmith.data.unlabelled import load_unlabelled
from edgesmith.models import CompactEncoder
from edgesmith.models.device import prepare_torch
from edgesmith.pipeline.tasks import Opened, open_task
from edgesmith.recipe import DataConfig, DistillConfig, FinetuneConfig, GeneralConfig, Recipe, TrainingConfig
from edgesmith.records import GLUE_METRICS, SilentProgress, Task, write_text
from edgesmith.report.progress import RichProgress
from edgesmith.runtime import Judge

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("GLUE_DATA", ROOT.parent / "shared" / "data" / "glue"))

Arm = Literal["none", "one stage", "two stages"]
ARMS: tuple[Arm, ...] = ("none", "one stage", "two stages")


@dataclass(frozen=True)
class GlueTask:
    """How long a task is trained for.

    Attributes:
        is_studied: at every size.
        rates_of: the task whose learning rates it takes over; None tunes its own.
    """

    epochs: float
    batch_size: int
    is_studied: bool = True
    rates_of: str | None = None
    kind: Task = "text-classification"
    max_rows: int | None = None


TASKS = {
    "SST-2": GlueTask(2, 64, max_rows=20_000),
    "MRPC": GlueTask(3, 32),
    "STS-B": GlueTask(4, 32, kind="text-regression"),
    "RTE": GlueTask(3, 32, is_studied=False, rates_of="MRPC"),
    "CoLA": GlueTask(3, 64, is_studied=False, rates_of="SST-2"),
}


@dataclass(frozen=True)
class Size:
    """A student: layers, and the heads and neurons that stay in each."""

    layers: int
    heads: int
    neurons: int


SIZES = {2: Size(3, 12, 1536), 4: Size(3, 6, 768), 6: Size(2, 6, 768), 10: Size(2, 4, 432)}
"""By about how many times fewer parameters their layers have than the teacher's."""
MAIN = 4
"""The size that is repeated and whose learning rates are tuned; the other sizes take them over."""
SEEDS = (0, 1, 2)
RATES: dict[Arm, tuple[float, ...]] = {
    "none": (2e-4, 6e-4),
    "one stage": (3e-4, 1e-3),
    "two stages": (3e-4, 1e-3),
}
GENERAL = GeneralConfig(epochs=1.0, batch_size=64, learning_rate=4e-4, evaluations=4, relation_heads=12)


@dataclass(frozen=True)
class Cell:
    """One training of a student."""

    task: str
    size: int
    arm: Arm
    rate: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.task}-{self.size}-{self.arm.replace(' ', '-')}-{self.rate:g}-{self.seed}"


# ---- what a worker does


def train_teacher(folder: Path, task: str) -> None:
    """all-MiniLM-L6-v2, fine-tuned."""
    opened, settings = _open(task), TASKS[task]
    config = FinetuneConfig(epochs=settings.epochs, batch_size=settings.batch_size, learning_rate=7e-5)
    tuned = copy.deepcopy(opened.model)
    set_seed(0)
    _reset_head(tuned)
    result = _train(tuned, opened, config, folder / "training" / task, 0, hard_label_loss)
    model = opened.modality.compact(tuned)
    save_file(model.state_dict(), folder / "teachers" / f"{task}.safetensors")
    _write(folder / "teachers" / f"{task}.json", _scores(opened, model, result))


def teach_generally(folder: Path, size: int) -> None:
    """A student of one size learns from all-MiniLM-L6-v2 on texts without labels; it serves every task and seed."""
    opened = _open("SST-2")
    model = opened.modality.compact(opened.model)
    student = _slice(model, size)
    texts = load_unlabelled(GeneralConfig(data=str(folder / "texts.txt")), opened.modality.splits, 0)
    rows, held = (
        encode(opened.modality.reader, part, opened.modality.max_length)
        for part in (texts.train, texts.validation)
    )  # fmt: skip
    loss = GeneralLoss(student, model, GENERAL)
    result = train(
        student, rows, held, GENERAL,
        folder=folder / "training" / f"general-{size}", seed=0, progress=SilentProgress(), title="", loss=loss, judge=None,
        beside=loss.beside,
    )  # fmt: skip
    save_file(_body(student), folder / "general" / f"{size}.safetensors")
    facts = {"loss": result.score, "texts": len(rows), "steps": result.steps, "wall_s": result.wall_s}
    _write(folder / "general" / f"{size}.json", facts)


def train_student(folder: Path, cell: Cell) -> None:
    """One cell."""
    opened, settings = _open(cell.task), TASKS[cell.task]
    set_seed(cell.seed)
    _reset_head(opened.model)
    whole = opened.modality.compact(opened.model)
    student = _slice(whole, cell.size)
    if cell.arm == "two stages":
        student.load_state_dict(load_file(folder / "general" / f"{cell.size}.safetensors"), strict=False)
    epochs, batch_size = settings.epochs, settings.batch_size
    common = {"epochs": epochs, "batch_size": batch_size, "learning_rate": cell.rate, "evaluations": 2}
    place = folder / "training" / cell.name
    if cell.arm == "none":
        for module in student.modules():
            if isinstance(module, nn.Dropout):
                module.p = opened.model.config.hidden_dropout_prob
        result = _train(student, opened, TrainingConfig(**common), place, cell.seed, hard_label_loss)
    else:
        teacher, logits = _teacher(folder, cell.task)
        config = DistillConfig(**common)
        augment = opened.modality.augmentation(config, teacher, trimmed=False)
        loss = TaskLoss(student, teacher, logits, config, augment, seed=cell.seed)
        result = _train(student, opened, config, place, cell.seed, loss, beside=loss.beside)
    facts = _scores(opened, student, result)
    facts |= {"encoder_ratio": _layer_parameters(whole) / _layer_parameters(student)}
    _write(_file(folder, cell), facts)


@cache
def _open(task: str) -> Opened:
    settings = TASKS[task]
    data = DataConfig(path=str(DATA / task), max_rows=settings.max_rows)
    return open_task(
        Recipe(model=str(minilm()), data=data, task=settings.kind, metric=GLUE_METRICS[task][0] if task == "CoLA" else None)
    )  # fmt: skip


@cache
def _teacher(folder: Path, task: str) -> tuple[CompactEncoder, Tensor]:
    """The fine-tuned model and its logits of the training rows."""
    opened = _open(task)
    teacher = opened.modality.compact(opened.model)
    teacher.load_state_dict(load_file(folder / "teachers" / f"{task}.safetensors"))
    return teacher, predict_logits(teacher, opened.modality.train_rows)


def _reset_head(model: Any) -> None:
    """Random weights from torch's generator, as a new head has."""
    nn.init.normal_(model.classifier.weight, std=0.02)
    nn.init.zeros_(model.classifier.bias)


def _slice(model: CompactEncoder, size: int) -> CompactEncoder:
    """Evenly spaced layers, and in each the heads and neurons of the largest weights."""
    shape = SIZES[size]
    student = keep_layers(model, layer_map(len(model.layers), shape.layers))
    counts = (shape.heads, shape.neurons) * shape.layers
    kept = [
        scores.topk(count).indices.sort().values
        for scores, count in zip(magnitude_importance(student), counts, strict=True)
    ]
    return keep_at_sites(student, kept)


def _body(model: CompactEncoder) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if not name.startswith("classifier.")}


def _layer_parameters(model: CompactEncoder) -> int:
    return sum(weight.numel() for layer in model.layers for weight in layer.parameters())


def _train(
    model: Any, opened: Opened, config: TrainingConfig, folder: Path, seed: int, loss: Any,
    beside: nn.Module | None = None,
) -> TrainingResult:  # fmt: skip
    rows = opened.modality
    return train(
        model, rows.train_rows, rows.validation_rows, config,
        folder=folder, seed=seed, progress=SilentProgress(), title=folder.name, loss=loss, judge=rows.judge, beside=beside,
    )  # fmt: skip


def _scores(opened: Opened, model: CompactEncoder, result: TrainingResult) -> dict[str, Any]:
    """GLUE's metrics on dev, and what the training says of itself."""
    modality, task = opened.modality, Path(opened.modality.recipe.data.path).name
    rows = modality.encode(modality.splits.test)
    answers = rows.answers(predict_logits(model, rows).numpy(), modality.judge)
    kind = modality.recipe.task
    dev = {name: Judge.of(kind, name).quality(answers, rows.truth) for name in GLUE_METRICS[task]}
    return {"validation": result.score, "dev": dev, "n_dev": len(rows), "n_train": len(modality.train_rows),
            "n_validation": len(modality.validation_rows), "steps": result.steps, "wall_s": result.wall_s}  # fmt: skip


def _file(folder: Path, cell: Cell) -> Path:
    return folder / "cells" / f"{cell.name}.json"


def _write(path: Path, facts: dict[str, Any]) -> None:
    write_text(path, json.dumps(facts, indent=1) + "\n")


# ---- what is done, and in which order


def tuning_cells() -> list[Cell]:
    tuned = [name for name, task in TASKS.items() if task.rates_of is None]
    return [Cell(task, MAIN, arm, rate, SEEDS[0]) for task in tuned for arm in ARMS for rate in RATES[arm]]


def chosen_rates(folder: Path) -> dict[tuple[str, Arm], float]:
    """For each task and arm the learning rate of the best validation score."""
    best: dict[tuple[str, Arm], tuple[float, float]] = {}
    for cell in tuning_cells():
        score = read(_file(folder, cell))["validation"]
        key = (cell.task, cell.arm)
        best[key] = max(best.get(key, (-1.0, 0.0)), (score, cell.rate))
    found = {key: rate for key, (_, rate) in best.items()}
    borrowed = {
        (name, arm): found[task.rates_of, arm]
        for name, task in TASKS.items()
        if task.rates_of
        for arm in ARMS
    }
    return found | borrowed


def study_cells(rates: dict[tuple[str, Arm], float]) -> list[Cell]:
    """Every cell of the tables: the main size with all seeds on all tasks, the other sizes on the studied ones."""
    repeated = [(task, MAIN, seed) for seed in SEEDS for task in TASKS]
    others = [
        (task, size, SEEDS[0]) for size in SIZES if size != MAIN for task in TASKS if TASKS[task].is_studied
    ]
    return [
        Cell(task, size, arm, rates[task, arm], seed)
        for task, size, seed in repeated + others
        for arm in ARMS
    ]


def work(do: Callable[[Path, Any], None], files: Mapping[Any, Path], folder: Path, workers: int) -> None:
    """Does what has left no file yet, some side by side on one thread each, the first ones first."""
    left = [what for what, file in files.items() if not file.exists()]
    with (
        RichProgress(Console(stderr=True)) as progress,
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _prepare) as pool,
    ):
        progress.start(do.__name__.replace("_", " "), len(left))
        running = {pool.submit(do, folder, what): what for what in left}
        for number, one in enumerate(as_completed(running), 1):
            one.result()
            progress.advance(number, str(running[one]))
        progress.finish()


def _prepare() -> None:
    prepare_torch()
    torch.set_num_threads(1)


def main(folder: Path, workers: int) -> None:
    if not DATA.is_dir():
        raise SystemExit(
            f"{DATA} is not there. Set GLUE_DATA to a folder with GLUE's tasks, each with train.tsv and dev.tsv."
        )
    os.environ["HF_HUB_OFFLINE"] = "1"
    for name in ("teachers", "general", "cells"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if not (folder / "texts.txt").exists():
        texts = (*sst2_texts(DATA, 20_000), *other_texts(DATA), *package_texts())
        write_texts(folder / "texts.txt", texts, range(3, 61))
    work(train_teacher, {task: folder / "teachers" / f"{task}.json" for task in TASKS}, folder, workers)
    sizes = sorted(SIZES, key=lambda size: size != MAIN)
    work(teach_generally, {size: folder / "general" / f"{size}.json" for size in sizes}, folder, workers)
    work(train_student, {cell: _file(folder, cell) for cell in tuning_cells()}, folder, workers)
    study = study_cells(chosen_rates(folder))
    work(train_student, {cell: _file(folder, cell) for cell in study}, folder, workers)
    print(write_results(ROOT / "results", folder, study, MAIN))


if __name__ == "__main__":
    main(
        Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "runs" / "distillation",
        int(sys.argv[2]) if len(sys.argv) > 2 else len(os.sched_getaffinity(0)),
    )
