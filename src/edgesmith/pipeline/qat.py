"""Training of a plan: the model as it will be rounded learns from the teacher in FP32."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

from edgesmith.compress.distill import TaskLoss
from edgesmith.compress.qat import fake_quantized
from edgesmith.compress.training import train
from edgesmith.models import CompactEncoder
from edgesmith.pipeline.bench import MODEL_FOLDER, Workbench
from edgesmith.recipe import QatConfig
from edgesmith.records import Plan, PlanTraining


def train_plan(
    bench: Workbench,
    student: CompactEncoder,
    plan: Plan,
    config: QatConfig,
    folder: Path,
    *,
    before: float,
    loss: Callable[[CompactEncoder], float],
    trimmed: bool,
    per_token: bool = False,
) -> PlanTraining:
    """Trains a copy of a student under its plan. Where it then loses less, it lies in the folder's `MODEL_FOLDER`.

    Args:
        folder: where checkpoints go too; a training that was stopped there goes on.
        before: what the student loses under the plan.
        loss: of quality, of a model under the plan.
        trimmed: the student went through `Modality.trim`.
        per_token: dynamic inputs have one scale a token.

    Raises:
        StepError: the training's loss became infinite or NaN.
    """
    rows = bench.student_lesson_rows if trimmed else bench.lesson_rows
    trained = copy.deepcopy(student)
    lesson = TaskLoss(
        trained,
        bench.teacher,
        bench.teacher_logits,
        config,
        bench.augmentation(config, trimmed=trimmed),
        seed=bench.recipe.seed,
    )
    with fake_quantized(trained, plan.layers, per_token=per_token):
        result = train(
            trained,
            rows,
            bench.student_validation_rows if trimmed else bench.validation_rows,
            config,
            folder=folder / "checkpoints",
            seed=bench.recipe.seed,
            progress=bench.progress,
            title="training the plan",
            judge=bench.judge,
            loss=lesson,
            beside=lesson.beside,
        )
    after = loss(trained)
    if after < before:
        bench.modality.save(trained, folder / MODEL_FOLDER, trimmed=trimmed)
    return PlanTraining(
        before=before,
        after=after,
        is_kept=after < before,
        epochs=config.epochs,
        rows=len(rows),
        steps=result.steps,
        wall_s=round(result.wall_s, 2),
    )
