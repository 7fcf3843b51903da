"""Trainings that give the same weights in one process or several; as a script, what torchrun starts: SCRIPT FOLDER."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from fixtures_models import tiny_compact, toy_rows
from safetensors.torch import save_file
from torch import Tensor, nn

from edgesmith.compress import training
from edgesmith.compress.distill import GeneralLoss
from edgesmith.compress.training import Loss, TrainingResult, hard_label_loss, train
from edgesmith.models import CompactEncoder
from edgesmith.recipe import MatchConfig, TrainingConfig
from edgesmith.records import SilentProgress
from edgesmith.runtime.judge import ACCURACY

PER_PROCESS = 8
"""Rows of a step of one of two processes."""

STEPS = 12
KILLED_AFTER = 6  # steps; the last checkpoint is that of step 4


class Listener(SilentProgress):
    """Notes the steps that it is told."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def advance(self, done: int, note: str = "") -> None:
        self.steps.append(done)


class Broken:
    """The cross-entropy, until the plug is pulled."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def __call__(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, object]:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return hard_label_loss(model, batch)


def learn_labels(
    folder: Path, batch_size: int, *, dropout: float = 0.0, loss: Loss = hard_label_loss
) -> tuple[CompactEncoder, TrainingResult, list[int]]:
    """A tiny model learns the labels of 96 rows; the steps that the progress was told come last."""
    model = tiny_compact(type_vocab_size=0, hidden_dropout_prob=dropout)
    listener = Listener()
    result = train(
        model,
        toy_rows(96, seed=1),
        toy_rows(41, seed=2),
        TrainingConfig(epochs=2, learning_rate=1e-3, batch_size=batch_size, evaluations=3),
        folder=folder / "checkpoints",
        seed=0,
        progress=listener,
        title="learning",
        loss=loss,
        judge=ACCURACY,
    )
    return model, result, listener.steps


def learn_generally(folder: Path, batch_size: int) -> tuple[CompactEncoder, TrainingResult]:
    """A tiny model learns a wider one's hidden states and relations on 96 rows of one length; its head is left out.

    Of one length, since these losses are means over tokens, and those of two processes may have more and less.
    """
    rows = toy_rows(96 * 7, seed=1)
    rows = rows.take([row for row, length in enumerate(rows.lengths) if length == 8])
    model = tiny_compact(type_vocab_size=0, hidden_dropout_prob=0.0)
    teacher = tiny_compact(seed=1, type_vocab_size=0, hidden_size=48)
    config = MatchConfig(
        hidden_weight=1.0,
        relation_weight=1.0,
        epochs=2,
        learning_rate=1e-3,
        batch_size=batch_size,
        evaluations=3,
    )
    loss = GeneralLoss(model, teacher, config)
    result = train(
        model,
        rows,
        toy_rows(41, seed=2),
        config,
        folder=folder / "checkpoints",
        seed=0,
        progress=SilentProgress(),
        title="learning",
        loss=loss,
        judge=None,
        beside=loss.beside,
    )
    return model, result


def main(folder: Path) -> None:
    """All of it in this process, one of two, and what came out in files with the process's number."""
    rank, told = int(os.environ["RANK"]), {}

    def keep(name: str, model: CompactEncoder, result: TrainingResult) -> None:
        save_file(model.state_dict(), folder / f"{name}-{rank}.safetensors")
        told[name] = {"score": result.score, "curve": result.curve}

    model, result, told["steps"] = learn_labels(folder, PER_PROCESS)
    keep("labels", model, result)
    keep("general", *learn_generally(folder, PER_PROCESS))
    model, result, _ = learn_labels(folder, PER_PROCESS, dropout=0.1)
    keep("whole", model, result)
    told["seed"] = torch.initial_seed()
    try:
        learn_labels(folder, PER_PROCESS, dropout=0.1, loss=Broken(KILLED_AFTER))
    except KeyboardInterrupt:
        told["left"] = sorted(path.name for path in folder.glob("checkpoints/*"))
    model, result, told["resumed steps"] = learn_labels(folder, PER_PROCESS, dropout=0.1)
    keep("resumed", model, result)
    told["left at the end"] = (folder / "checkpoints").exists()
    (folder / f"told-{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    training.use_bf16 = lambda: False  # FP32, whatever this processor has
    main(Path(sys.argv[1]))
