"""What matters in a model: its heads, FFN neurons and hidden units, ranked on training rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from edgesmith.data.encoding import choices, model_inputs
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
        loss = label_loss(choices(logits, batch), choices(batch["labels"], batch), reduction="sum")
        gradients = torch.autograd.grad(loss, [*head_gates, *neuron_gates])
        for total, gradient in zip([*heads, *neurons], gradients, strict=True):
            total += gradient.detach().pow(2).sum(dim=0).flatten()
    return Importance(heads, neurons)


def hidden_importance(model: CompactEncoder, batches: Iterable[Batch]) -> Tensor:
    """Diagonal Fisher information of each hidden unit, (H,): of one gate that closes it in the whole residual stream.

    The unit's gate scales it after every norm, so that its gradient is the sum over all places that read the unit: what
    is removed together is weighed together. Per sample and squared as in `fisher_importance`; that a gate spans all
    layers is ours.

    Args:
        batches: of labelled training rows.
    """
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    total = torch.zeros(model.config.hidden_size)
    for batch in batches:
        gates = torch.ones(len(batch["labels"]), 1, len(total), requires_grad=True)
        hooks = [norm.register_forward_hook(partial(_scaled, gates)) for norm in norms]
        try:
            logits = model(**model_inputs(batch)).logits
        finally:
            for hook in hooks:
                hook.remove()
        loss = label_loss(choices(logits, batch), choices(batch["labels"], batch), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, [gates])
        total += gradient.pow(2).sum(dim=(0, 1))
    return total


def _scaled(gates: Tensor, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    """A hook: (B, S, H) times gates, (B, 1, H); also (B, H)."""
    return output * (gates if output.dim() == 3 else gates[:, 0])


def select_hidden(importance: Tensor, fraction: float, multiple: int) -> Tensor:
    """The sorted indices of the hidden units that stay, the most important.

    Args:
        importance: (H,).
        fraction: of the units that stay, in (0, 1].
        multiple: their number is rounded to it, and is at least that.
    """
    count = _rounded(max(1, round(len(importance) * fraction)), multiple, len(importance))
    return importance.topk(count).indices.sort().values


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
