"""Rows a second of a distillation: in a bare loop, by our `train`, and without a table of the teacher's answers.

    python benchmarks/training.py

MiniLM of three layers learns the guard's rows from MiniLM; each way in turn, several rounds. Writes results/training.md.
"""

from __future__ import annotations

import datetime
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from jobs import guard_rows, minilm
from torch import Tensor, nn
from transformers.trainer_pt_utils import LengthGroupedSampler

from edgesmith.compress.distill import TaskLoss, predict_logits
from edgesmith.compress.losses import soft_label_loss
from edgesmith.compress.structure import keep_layers
from edgesmith.compress.training import Loss, train
from edgesmith.data.encoding import EncodedRows, model_inputs
from edgesmith.models import CompactEncoder
from edgesmith.models.device import prepare_torch, use_bf16
from edgesmith.pipeline.tasks import open_task
from edgesmith.recipe import DataConfig, DistillConfig, Recipe
from edgesmith.records import SilentProgress, describe_environment

ROUNDS, STEPS, BATCH = 4, 340, 32
LIBRARIES = ("torch", "transformers", "accelerate")
RESULT = Path(__file__).parents[1] / "results" / "training.md"


def main() -> None:
    prepare_torch()
    torch.set_num_threads(1)
    rows, validation, teacher = _guard()
    steps = min(STEPS, len(rows) // BATCH)
    rows = rows.take(rows.sample(steps * BATCH, 0))
    config = DistillConfig(epochs=1.0, batch_size=BATCH, evaluations=1, hidden_weight=0.0, augmented_rows=0.0)
    table = predict_logits(teacher, rows)

    def student() -> CompactEncoder:
        return keep_layers(teacher, [1, 3, 5])

    def looked_up(model: CompactEncoder) -> Loss:
        return TaskLoss(model, teacher, table, config)

    def asked(model: CompactEncoder) -> Loss:
        def loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Any]:
            with torch.no_grad():
                theirs = teacher(**model_inputs(batch)).logits.float()
            output = model(**model_inputs(batch))
            return soft_label_loss(output.logits.float(), theirs, batch["labels"], config), output

        return loss

    def trained(make: Callable[[CompactEncoder], Loss]) -> float:
        model = student()
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            train(
                model, rows, validation, config,
                folder=Path(folder) / "checkpoints", seed=0, progress=SilentProgress(), title="", loss=make(model),
            )  # fmt: skip
            return time.perf_counter() - started

    def bare() -> float:
        model = student()
        loss = looked_up(model)
        started = time.perf_counter()
        _loop(model, rows, config, loss)
        return time.perf_counter() - started

    ways = {
        "bare loop, table": bare,
        "train, table": lambda: trained(looked_up),
        "train, the teacher reads every batch": lambda: trained(asked),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, run in ways.items():
            seconds[way].append(run())
            print(way, f"{seconds[way][-1]:.1f} s", flush=True)
    RESULT.write_text(_table(seconds, len(rows)), encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


def _guard() -> tuple[EncodedRows, EncodedRows, CompactEncoder]:
    """Training rows and 16 validation rows of the guard, and MiniLM as their teacher, its head random."""
    opened = open_task(
        Recipe(
            model=str(minilm()),
            data=DataConfig(path=str(guard_rows())),
        )
    )
    validation = opened.modality.validation_rows
    return (
        opened.modality.train_rows,
        validation.take(validation.sample(16, 0)),
        opened.modality.compact(opened.model),
    )


def _loop(model: CompactEncoder, rows: EncodedRows, config: DistillConfig, loss: Loss) -> None:
    """The same batches, padded alike, by the same optimiser and schedule, with nothing around it."""
    total = math.ceil(len(rows) / config.batch_size)
    warmup = round(total * config.warmup)
    optimiser = torch.optim.AdamW(model.parameters(), config.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / max(1, warmup), (total - step) / max(1, total - warmup))
    )
    model.train()
    order = list(LengthGroupedSampler(config.batch_size, lengths=rows.lengths, generator=torch.Generator()))
    for number in torch.randperm(total).tolist():
        chosen = order[number * config.batch_size : (number + 1) * config.batch_size]
        batch = rows.collate([rows[row] for row in chosen])
        with torch.autocast("cpu", torch.bfloat16, enabled=use_bf16()):
            value, _ = loss(model, batch)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()


def _table(seconds: dict[str, list[float]], rows: int) -> str:
    reference = seconds["bare loop, table"]
    machine = describe_environment(LIBRARIES)
    lines = [
        "# Rows a second of a distillation",
        "",
        f"{datetime.date.today()}; MiniLM of three layers from MiniLM, the guard's rows; {rows:,} rows in batches of {BATCH}, "
        f"{ROUNDS} interleaved rounds, one thread; {machine.processor}; "
        + ", ".join(f"{name} {version}" for name, version in machine.packages.items())
        + ". `train` includes what it does around its steps: one evaluation on 16 rows, one checkpoint. "
        "From `python benchmarks/training.py`.",
        "",
        "| way | rows/s, median | time against the bare loop, median of rounds | least to most |",
        "| --- | ---: | ---: | ---: |",
    ]
    for way, times in seconds.items():
        ratios = [mine / bare for mine, bare in zip(times, reference, strict=True)]
        lines.append(
            f"| {way} | {rows / median(times):.0f} | {median(ratios):.3f} | {min(ratios):.3f} to {max(ratios):.3f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
