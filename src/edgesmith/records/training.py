"""What a training of one model by itself reached."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Training:
    """What `edgesmith finetune` or `edgesmith distill` did.

    Attributes:
        start: what the weights were before, in words.
        teacher: what the model learnt from beside the labels; None for nothing.
        folder: where the model lies.
        model_class: what opens it: a class of `transformers`, or of ours where its shape is irregular.
        quality: of the metric on validation rows, with the weights that were kept.
        curve: (step, metric) at each evaluation.
        parameters: counted in the weights.
        macs: of the encoder, on an input of `tokens`.
        general_loss: on texts held out, after a stage on texts without labels; None for no such stage.
    """

    model: str
    start: str
    teacher: str | None
    folder: str
    model_class: str
    metric: str
    validation_rows: int
    quality: float
    teacher_quality: float | None
    curve: tuple[tuple[int, float], ...]
    parameters: int
    teacher_parameters: int | None
    tokens: int
    macs: int
    teacher_macs: int | None
    wall_s: float
    general_loss: float | None = None
    schema_version: int = 1
