"""What a student may learn from its teacher, each term as its paper states it: a scalar of tensors, padding left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesmith.data.examples import IGNORED_LABEL
from edgesmith.models.compact import MASK_VALUE
from edgesmith.recipe import TeachingConfig


def soft_label_loss(student: Tensor, teacher: Tensor, labels: Tensor, config: TeachingConfig) -> Tensor:
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


def regression_loss(
    student: Tensor, teacher: Tensor, targets: Tensor, known: Tensor, config: TeachingConfig
) -> Tensor:
    """Weighted sum of the squared errors to the teacher's score and to the target.

    The counterpart of `soft_label_loss` for a score, which has no distribution to soften: squared errors of outputs are
    what the soft loss becomes at a high temperature (Hinton et al. 2015, section 2.1).

    Args:
        student, teacher, targets: (B,) scores.
        known: (B,), 1 for rows that have a target; the others count in the first term only.
    """
    soft = F.mse_loss(student, teacher)
    hard = ((student - targets).pow(2) * known).sum() / len(targets)
    return (1 - config.hard_label_weight) * soft + config.hard_label_weight * hard


def consistency_loss(first: Tensor, second: Tensor) -> Tensor:
    """How far two passes over the same rows lie apart: mean of the KL divergences both ways (R-Drop, arXiv:2106.14448,
    equation 2); for a single output the mean squared difference.

    Args:
        first, second: logits (B, labels).
    """
    if first.shape[-1] == 1:
        return F.mse_loss(first, second)
    one, other = F.log_softmax(first, dim=-1), F.log_softmax(second, dim=-1)
    return ((one.exp() - other.exp()) * (one - other)).sum(dim=-1).mean() / 2


def hidden_state_loss(
    student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor, *, normalise: bool = False
) -> Tensor:
    """Mean squared error of matched hidden states over real tokens (TinyBERT, arXiv:1909.10351, equation 8).

    With the outputs of the embedding layers as the only pair it is equation 9. A student of another width is projected
    first (`match.Projections`).

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


def attention_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Mean squared error of matched attention scores over pairs of real tokens (TinyBERT, equation 7).

    Scores are compared before the softmax: the paper finds that faster to learn and better (section 3.1).

    Args:
        student, teacher: the same number of (B, heads, S, S) tensors, of as many heads, without the padding's mask.
        mask: (B, S), 1 for real tokens; a pair counts where query and key are both real.
    """
    pairs = (mask[:, :, None] * mask[:, None, :]).float()  # (B, S, S)
    errors = [
        ((ours.float() - theirs.float()).pow(2).mean(dim=1) * pairs).sum() / pairs.sum().clamp_min(1)
        for ours, theirs in zip(student, teacher, strict=True)
    ]
    return torch.stack(errors).mean()


def relation_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor, heads: int) -> Tensor:
    """KL of self-attention relations, teacher's to student's (MiniLMv2, arXiv:2012.15828, section 3.1).

    A relation is the softmax of scaled products of queries with queries, keys with keys, or values with values. Vectors
    are cut into `heads` relation heads whatever heads they came from, so that neither width nor head count has to be
    equal. KL is the mean over relation heads and real tokens, and the sum over the kinds of relation, all of weight 1.

    Args:
        student, teacher: queries, keys and values of one layer each, (B, S, width); both widths divisible by `heads`.
        mask: (B, S), 1 for real tokens: no other is looked at, and none looks.
    """
    weight = mask[:, None, :].float()  # (B, 1, S)
    count = heads * mask.float().sum().clamp_min(1)
    total = torch.zeros((), device=mask.device)
    for ours, theirs in zip(student, teacher, strict=True):
        log_q, log_p = log_relations(ours, mask, heads), log_relations(theirs, mask, heads)
        divergence = (log_p.exp() * (log_p - log_q)).sum(dim=-1)  # (B, heads, S)
        total = total + (divergence * weight).sum() / count
    return total


def log_relations(states: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Log of one relation, (B, heads, S, S), each token over the real ones; in FP32 also where training is in BF16.

    Args:
        states: (B, S, width) queries, keys or values.
        mask: (B, S), 1 for real tokens.
    """
    parts = states.float().reshape(*mask.shape, heads, -1).transpose(1, 2)  # (B, heads, S, width / heads)
    with torch.autocast(states.device.type, enabled=False):
        scores = parts @ parts.transpose(-1, -2) / math.sqrt(parts.shape[-1])
    hidden = (mask == 0)[:, None, None, :]
    return F.log_softmax(scores.masked_fill(hidden, MASK_VALUE), dim=-1)  # exp of it is 0 in FP32


def relation_heads(most: int, *widths: int) -> int:
    """The largest number up to `most` that divides every width."""
    common = math.gcd(*widths)
    return max(heads for heads in range(1, min(most, common) + 1) if common % heads == 0)


def _normalised(state: Tensor) -> Tensor:
    """(B, S, H), over H."""
    return F.layer_norm(state.float(), state.shape[-1:])
