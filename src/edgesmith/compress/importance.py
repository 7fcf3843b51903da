"""What matters in a model: its heads, FFN neurons and hidden units, ranked on training rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from edgesmith.compress.gates import Batch, gate_gradients, hidden_gates, unit_gates
from edgesmith.models.compact import CompactEncoder
from edgesmith.models.coupling import Prunable, sites

GradientImportance = Literal["fisher", "taylor"]


@dataclass(frozen=True)
class Importance:
    """Diagonal Fisher information of each unit's gate.

    Attributes:
        heads: one (heads,) tensor a layer.
        neurons: one (neurons,) tensor a layer.
        gradients: (N, units) of each site, whose squares these are the sums of.
    """

    heads: list[Tensor]
    neurons: list[Tensor]
    gradients: list[Tensor]


def fisher_importance(model: CompactEncoder, batches: Iterable[Batch]) -> Importance:
    """Sum over rows of the squared gradient of the loss with respect to each unit's gate.

    Squared gradients are per sample as in Kwon et al. 2022 (arXiv:2204.09656, section 4.1, equation 5), not the square
    of a batch's sum.

    Args:
        batches: of labelled training rows.
    """
    places = sites(model)
    gradients = gate_gradients(model, batches, unit_gates, [site.units for site in places])
    fisher = [from_gradients(rows, "fisher") for rows in gradients]
    return Importance(fisher[::2], fisher[1::2], gradients)


def hidden_importance(model: Prunable, batches: Iterable[Batch]) -> Tensor:
    """Diagonal Fisher information of each hidden unit, (H,): of one gate that closes it in the whole residual stream.

    The unit's gate scales it after every norm, so that its gradient is the sum over all places that read the unit: what
    is removed together is weighed together. Per sample and squared as in `fisher_importance`; that a gate spans all
    layers is ours.

    Args:
        batches: of labelled training rows.
    """
    (gradients,) = gate_gradients(model, batches, hidden_gates, [model.config.hidden_size])
    return gradients.pow(2).sum(dim=0)


def from_gradients(gradients: Tensor, kind: GradientImportance) -> Tensor:
    """Importance of each unit, (units,), from the gradients of its gate, (N, units).

    ``fisher`` is the sum of their squares (arXiv:2204.09656, equation 5): the loss of second order, where the gate closes.
    ``taylor`` is the sum of their absolute values (Michel et al. 2019, arXiv:1905.10650, equation 2): that of first order.
    """
    return gradients.pow(2).sum(dim=0) if kind == "fisher" else gradients.abs().sum(dim=0)


def magnitude_importance(model: Prunable) -> list[Tensor]:
    """Of each unit at each site, (units,): the squared weights of its rows and columns. No data are asked."""
    state, found = model.state_dict(), []
    for site in sites(model):
        rows = [
            state[f"{maker}.weight"].pow(2).sum(dim=1).view(-1, site.units, site.width)
            for maker in site.makers
        ]
        columns = state[f"{site.reader}.weight"].pow(2).sum(dim=0).view(1, site.units, site.width)
        found.append(torch.cat([*rows, columns]).sum(dim=(0, 2)))
    return found


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
