"""Distillation: a student learns its teacher's logits, and in the first stage its hidden states too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgesmith.compress.training import Loss
from edgesmith.data.encoding import EncodedExamples
from edgesmith.recipe import DistillConfig


@torch.no_grad()
def predict_logits(model: PreTrainedModel, rows: EncodedExamples, *, batch_size: int = 64) -> Tensor:
    """FP32 logits (N, labels) of every row, in the rows' order."""
    model.eval()
    logits = torch.empty(len(rows), model.config.num_labels)
    for batch in rows.batches(batch_size):
        features = {name: value for name, value in batch.items() if name not in ("labels", "row")}
        logits[batch["row"]] = model(**features).logits.float()
    return logits


def soft_label_loss(student: Tensor, teacher: Tensor, labels: Tensor, config: DistillConfig) -> Tensor:
    """Weighted sum of KL to the teacher's softened distribution and cross-entropy with the labels.

    The KL term is multiplied by T^2, so that its gradient keeps its size when T changes (Hinton et al. 2015,
    arXiv:1503.02531, section 2.1).

    Args:
        student, teacher: logits (B, labels).
        labels: (B,) int64.
    """
    temperature = config.temperature
    soft = F.kl_div(
        F.log_softmax(student / temperature, dim=-1),
        F.log_softmax(teacher / temperature, dim=-1),
        log_target=True,
        reduction="batchmean",
    )
    hard = F.cross_entropy(student, labels)
    return (1 - config.hard_label_weight) * temperature**2 * soft + config.hard_label_weight * hard


def hidden_state_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Mean squared error of matched hidden states over real tokens (TinyBERT, arXiv:1909.10351, equation 8).

    No projection is learnt, since our students keep the teacher's width.

    Args:
        student, teacher: the same number of (B, S, H) tensors.
        mask: (B, S), 1 for real tokens.
    """
    weight = mask[..., None].float()  # (B, S, 1)
    errors = [
        ((ours.float() - theirs.float()).pow(2) * weight).mean(dim=-1).sum() / weight.sum()
        for ours, theirs in zip(student, teacher, strict=True)
    ]
    return torch.stack(errors).mean()


def logit_distillation(teacher_logits: Tensor, config: DistillConfig) -> Loss:
    """Loss that reads the teacher's logits from a table, (N, labels) in the training rows' order."""

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Any]:
        output = model(**{name: value for name, value in batch.items() if name not in ("labels", "row")})
        return soft_label_loss(output.logits.float(), teacher_logits[batch["row"]], batch["labels"], config), output

    return loss


def hidden_distillation(
    teacher: PreTrainedModel, teacher_logits: Tensor, layers: Sequence[int], config: DistillConfig
) -> Loss:
    """Logit distillation plus hidden states; the teacher runs beside the student.

    Args:
        layers: the teacher's layer that each student layer follows, from 0.
    """
    teacher.eval()

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Any]:
        features = {name: value for name, value in batch.items() if name not in ("labels", "row")}
        with torch.no_grad():
            reference = teacher(**features, output_hidden_states=True).hidden_states
        output = model(**features, output_hidden_states=True)
        hidden = hidden_state_loss(
            output.hidden_states[1:], [reference[layer + 1] for layer in layers], batch["attention_mask"]
        )
        logits = soft_label_loss(output.logits.float(), teacher_logits[batch["row"]], batch["labels"], config)
        return logits + config.hidden_weight * hidden, output

    return loss
