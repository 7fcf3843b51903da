"""Distillation: a student learns its teacher's logits, and what its teacher computes on the way to them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgesmith.compress.augment import TextAugmentation
from edgesmith.compress.losses import regression_loss, soft_label_loss
from edgesmith.compress.match import Match
from edgesmith.data.encoding import EncodedRows, choices, model_inputs
from edgesmith.models.compact import CompactEncoder
from edgesmith.models.coupling import Prunable
from edgesmith.recipe import MatchConfig, TeachingConfig


@torch.no_grad()
def predict_logits(model: PreTrainedModel, rows: EncodedRows, *, batch_size: int = 64) -> Tensor:
    """FP32 logits of every row, in the rows' order: (N, labels), or of tokens (N, longest row, labels), padding 0."""
    model.eval()
    logits, longest, labels = torch.empty(0), max(rows.lengths), len(model.config.id2label or ())
    for batch in rows.batches(batch_size):
        found = model(**model_inputs(batch)).logits.float()
        has_tokens = found.dim() == 3
        if not len(logits):
            logits = torch.zeros(len(rows), longest, labels) if has_tokens else torch.empty(len(rows), labels)
        if has_tokens:
            found = found * batch["attention_mask"][..., None]
        logits[batch["row"], : found.shape[1]] = found
    return logits


class TaskLoss:
    """Loss of a student against its teacher on the task: logits from a table, all else from the teacher beside it.

    A model of one output is taken to give a score, and learns by squared errors. Where no insides are matched and no
    words replaced, the teacher does not run.

    Args:
        student: before its training; what of it is compared follows from its shape.
        teacher_logits: (N, labels), or (N, S, labels) of tokens, in the training rows' order; a student reads the rows
            as the same tokens.
        augment: applied to each training batch first.
        seed: of the projections between two widths.

    Attributes:
        beside: what is trained beside the student; None for nothing.

    Raises:
        RecipeError: as `Match`.
    """

    def __init__(
        self,
        student: Prunable,
        teacher: CompactEncoder,
        teacher_logits: Tensor,
        config: TeachingConfig,
        augment: TextAugmentation | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self._match = Match(student, teacher, config, seed=seed)
        self._logits, self._config, self._augment = teacher_logits, config, augment
        self.beside = self._match.projections

    def __call__(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Any]:
        logits = self._logits[batch["row"]]
        if logits.dim() == 3:
            logits = logits[:, : batch["input_ids"].shape[1]]
        if self._augment is not None:
            batch = self._augment(batch)
        seen = self._match.run_student(model, model_inputs(batch))
        if self._config.matches or self._augment is not None:
            reference = self._match.run_teacher(_teacher_inputs(batch))
        if self._augment is not None:
            changed = batch["changed"].view(-1, *[1] * (logits.dim() - 1))
            logits = torch.where(changed, reference.output.logits.float(), logits)
        total = _answer_loss(seen.output.logits.float(), logits, batch, self._config)
        if self._config.matches:
            mask = _comparable(batch, reference.output.hidden_states[0])
            total = total + self._match.loss(seen, reference, mask)
        return total, seen.output


class GeneralLoss:
    """Loss of a student against its teacher on texts without labels: what both compute inside, and nothing else.

    The general stage of TinyBERT (arXiv:1909.10351, section 3.2), which has no logits to learn from either.

    Args:
        student: before its training; what of it is compared follows from its shape.
        seed: of the projections between two widths.

    Attributes:
        beside: what is trained beside the student; None for nothing.

    Raises:
        RecipeError: as `Match`.
    """

    def __init__(
        self, student: Prunable, teacher: CompactEncoder, config: MatchConfig, *, seed: int = 0
    ) -> None:
        self._match = Match(student, teacher, config, seed=seed)
        self.beside = self._match.projections

    def __call__(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Any]:
        seen = self._match.run_student(model, model_inputs(batch))
        reference = self._match.run_teacher(_teacher_inputs(batch))
        mask = _comparable(batch, reference.output.hidden_states[0])
        return self._match.loss(seen, reference, mask), seen.output


def _answer_loss(
    student: Tensor, teacher: Tensor, batch: dict[str, Tensor], config: TeachingConfig
) -> Tensor:
    """Of logits (B, labels), of scores (B, 1), or of tokens (B, S, labels)."""
    student, teacher, labels = (choices(values, batch) for values in (student, teacher, batch["labels"]))
    if student.shape[1] > 1:
        return soft_label_loss(student, teacher, labels, config)
    known = ~batch["changed"] if "changed" in batch else torch.ones(len(labels))
    return regression_loss(student[:, 0], teacher[:, 0], labels, known, config)


def _comparable(batch: dict[str, Tensor], states: Tensor) -> Tensor:
    """(B, S), 1 for the tokens that teacher and student both see; all of an image's.

    Args:
        states: (B, S, H).
    """
    mask = batch.get("attention_mask", torch.ones(states.shape[:2]))
    return mask * batch["aligned"][:, None] if "aligned" in batch else mask


def _teacher_inputs(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the teacher reads of a batch: its own ids where those are others."""
    inputs = model_inputs(batch)
    if "teacher_input_ids" in batch:
        inputs["input_ids"] = batch["teacher_input_ids"]
    return inputs
