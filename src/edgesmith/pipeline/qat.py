"""Training of a plan: the model as it will be rounded learns from the one that came."""

from __future__ import annotations

from pathlib import Path

from edgesmith.compress.distill import TaskLoss
from edgesmith.compress.qat import fake_quantized
from edgesmith.compress.training import TrainingResult, train
from edgesmith.models import CompactEncoder
from edgesmith.pipeline.bench import Workbench
from edgesmith.recipe import QatConfig
from edgesmith.records import Plan


def train_plan(
    bench: Workbench, student: CompactEncoder, plan: Plan, config: QatConfig, folder: Path, *, trimmed: bool
) -> TrainingResult:
    """Trains a model under its plan, in place; the workbench's teacher, in FP32, is what it learns from.

    Args:
        folder: where checkpoints go; a training that was stopped there goes on.
        trimmed: the student went through `Modality.trim`.

    Raises:
        StepError: the loss became infinite or NaN.
    """
    loss = TaskLoss(
        student,
        bench.teacher,
        bench.teacher_logits,
        config,
        bench.augmentation(config, trimmed=trimmed),
        seed=bench.recipe.seed,
    )
    with fake_quantized(student, plan.layers):
        return train(
            student,
            bench.student_lesson_rows if trimmed else bench.lesson_rows,
            bench.student_validation_rows if trimmed else bench.validation_rows,
            config,
            folder=folder / "checkpoints",
            seed=bench.recipe.seed,
            progress=bench.progress,
            title="training the plan",
            judge=bench.judge,
            loss=loss,
            beside=loss.beside,
        )
