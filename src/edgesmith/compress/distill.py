"""Distillation: a student learns its teacher's logits, and in the first stage its hidden states too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgesmith.compress.augment import IGNORED_LABEL, TextAugmentation
from edgesmith.compress.training import Loss
from edgesmith.data.encoding import EncodedRows, model_inputs
from edgesmith.models.compact import CompactEncoder
from edgesmith.models.families import shape_of
from edgesmith.recipe import DistillConfig


@torch.no_grad()
def predict_logits(model: PreTrainedModel, rows: EncodedRows, *, batch_size: int = 64) -> Tensor:
    """FP32 logits (N, labels) of every row, in the rows' order."""
    model.eval()
    logits = torch.empty(len(rows), shape_of(model.config).labels)
    for batch in rows.batches(batch_size):
        logits[batch["row"]] = model(**model_inputs(batch)).logits.float()
    return logits


def soft_label_loss(student: Tensor, teacher: Tensor, labels: Tensor, config: DistillConfig) -> Tensor:
    """Weighted sum of KL to the teacher's softened distribution and cross-entropy with the labels.

    The KL term is multiplied by T^2, so that its gradient keeps its size when T changes (Hinton et al. 2015,
    arXiv:1503.02531, section 2.1).

    Args:
        student, teacher: logits (B, labels).
        labels: (B,) int64; rows whose label is `IGNORED_LABEL` count in the first term only.
    """
    temperature = config.temperature
    soft = F.kl_div(
        F.log_softmax(student / temperature, dim=-1),
        F.log_softmax(teacher / temperature, dim=-1),
        log_target=True,
        reduction="batchmean",
    )
    hard = F.cross_entropy(student, labels, ignore_index=IGNORED_LABEL, reduction="sum") / len(labels)
    return (1 - config.hard_label_weight) * temperature**2 * soft + config.hard_label_weight * hard


def hidden_state_loss(
    student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor, *, normalise: bool = False
) -> Tensor:
    """Mean squared error of matched hidden states over real tokens (TinyBERT, arXiv:1909.10351, equation 8).

    No projection is learnt, since our students keep the teacher's width.

    Args:
        student, teacher: the same number of (B, S, H) tensors.
        mask: (B, S), 1 for real tokens.
        normalise: each token's state first, to mean 0 and variance 1: those of a pre-norm encoder grow with depth.
    """
    weight = mask[..., None].float()  # (B, S, 1)
    if normalise:
        student, teacher = ([_normalised(state) for state in states] for states in (student, teacher))
    errors = [
        ((ours.float() - theirs.float()).pow(2) * weight).mean(dim=-1).sum() / weight.sum().clamp_min(1)
        for ours, theirs in zip(student, teacher, strict=True)
    ]
    return torch.stack(errors).mean()


def _normalised(state: Tensor) -> Tensor:
    """(B, S, H), over H."""
    return F.layer_norm(state.float(), state.shape[-1:])


def distillation_loss(
    teacher: CompactEncoder,
    teacher_logits: Tensor,
    depth: int,
    config: DistillConfig,
    augment: TextAugmentation | None = None,
) -> Loss:
    """Loss of a student against its teacher: logits from a table, all else from the teacher beside it.

    Student layer i follows teacher layer (i + 1) x L / depth, so that the last follows the last (TinyBERT's uniform
    map, arXiv:1909.10351, section 3.1). With `config.hidden_weight` 0 and no augmentation the teacher does not run.

    Args:
        teacher_logits: (N, labels) in the training rows' order.
        depth: the student's layers.
        augment: applied to each training batch first.
    """
    teacher.eval()
    followed = layer_map(len(teacher.layers), depth)
    with_hidden = config.hidden_weight > 0

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Any]:
        logits = teacher_logits[batch["row"]]
        if augment is not None:
            batch = augment(batch)
        output = model(**model_inputs(batch), output_hidden_states=with_hidden)
        if with_hidden or augment is not None:
            reference = _answer(teacher, batch)
        if augment is not None:
            logits = torch.where(batch["changed"][:, None], reference.logits.float(), logits)
        total = soft_label_loss(output.logits.float(), logits, batch["labels"], config)
        if with_hidden:
            followed_states = [reference.hidden_states[layer + 1] for layer in followed]
            hidden = hidden_state_loss(
                output.hidden_states[1:],
                followed_states,
                _comparable(batch, followed_states[0]),
                normalise=not teacher.has_normed_states,
            )
            total = total + config.hidden_weight * hidden
        return total, output

    return loss


def _comparable(batch: dict[str, Tensor], states: Tensor) -> Tensor:
    """(B, S), 1 for the tokens that teacher and student both see; all of an image's.

    Args:
        states: (B, S, H).
    """
    mask = batch.get("attention_mask", torch.ones(states.shape[:2]))
    return mask * batch["aligned"][:, None] if "aligned" in batch else mask


@torch.no_grad()
def _answer(teacher: CompactEncoder, batch: dict[str, Tensor]) -> Any:
    """Logits and hidden states that the teacher gives a batch, under its own ids where those are others."""
    inputs = model_inputs(batch)
    if "teacher_input_ids" in batch:
        inputs["input_ids"] = batch["teacher_input_ids"]
    return teacher(**inputs, output_hidden_states=True)


def layer_map(teacher_depth: int, student_depth: int) -> list[int]:
    """The teacher's layer, from 0, that each student layer follows."""
    return [round((index + 1) * teacher_depth / student_depth) - 1 for index in range(student_depth)]
