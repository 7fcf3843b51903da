"""What matters in a model: its heads and FFN neurons, ranked on training rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgesmith.data.encoding import model_inputs
from edgesmith.models.compact import CompactEncoder, label_loss

Batch = dict[str, Tensor]
"""What `EncodedRows.collate` makes."""


@dataclass(frozen=True)
class Importance:
    """Diagonal Fisher information of each unit's gate.

    Attributes:
        heads: one (heads,) tensor a layer.
        neurons: one (neurons,) tensor a layer.
    """

    heads: list[Tensor]
    neurons: list[Tensor]


def fisher_importance(model: CompactEncoder, batches: Iterable[Batch]) -> Importance:
    """Sum over rows of the squared gradient of the loss with respect to each unit's gate.

    Gates have a row for every sample, so that the squared gradients are per sample as in Kwon et al. 2022
    (arXiv:2204.09656, section 4.1, equation 5), not the square of a batch's sum.

    Args:
        batches: of labelled training rows.
    """
    model.eval()
    heads = [torch.zeros(layer.attention.heads) for layer in model.layers]
    neurons = [torch.zeros(layer.ffn.intermediate.out_features) for layer in model.layers]
    for batch in batches:
        rows = len(batch["labels"])
        head_gates = [torch.ones(rows, len(total), requires_grad=True) for total in heads]
        neuron_gates = [torch.ones(rows, 1, len(total), requires_grad=True) for total in neurons]
        logits = model(**model_inputs(batch), head_gates=head_gates, neuron_gates=neuron_gates).logits
        loss = label_loss(logits, batch["labels"], reduction="sum")
        gradients = torch.autograd.grad(loss, [*head_gates, *neuron_gates])
        for total, gradient in zip([*heads, *neurons], gradients, strict=True):
            total += gradient.detach().pow(2).sum(dim=0).flatten()
    return Importance(heads, neurons)


def select_units(importance: Sequence[Tensor], fraction: float, multiple: int) -> list[Tensor]:
    """Indices of the units that stay, the most important over all layers together.

    Args:
        importance: one tensor a layer.
        fraction: of all units that stay, in (0, 1].
        multiple: a layer's count is rounded to it (matrix kernels work in blocks), and is at least that.

    Returns:
        For each layer the sorted indices.
    """
    together = torch.cat(list(importance))
    layer_of = torch.cat([torch.full((len(scores),), layer) for layer, scores in enumerate(importance)])
    best = together.topk(max(1, round(len(together) * fraction))).indices
    counts = torch.bincount(layer_of[best], minlength=len(importance)).tolist()
    return [
        scores.topk(_rounded(count, multiple, len(scores))).indices.sort().values
        for scores, count in zip(importance, counts, strict=True)
    ]


def _rounded(count: int, multiple: int, whole: int) -> int:
    """`count` to the nearest multiple, at least one multiple, at most the `whole`, which itself is left alone."""
    return whole if count == whole else min(whole, max(multiple, round(count / multiple) * multiple))
