"""A student's structure: layers for distillation, then units, tokens and embedding rank for pruning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgesmith.compress.gates import Batch
from edgesmith.compress.importance import fisher_importance, select_units
from edgesmith.compress.structure import Bert, factorise_embedding, keep_at_sites, keep_tokens
from edgesmith.compress.tuning import tune_masks
from edgesmith.models.compact import CompactEncoder
from edgesmith.records import Structure

Encoder = TypeVar("Encoder", bound=CompactEncoder)

Rearrange = Callable[[npt.NDArray[np.floating[Any]], npt.NDArray[np.int64]], npt.NDArray[np.int64]]
"""(units, units) Fisher information and the kept indices -> as many others."""

NEURON_MULTIPLE = 16
"""FFN widths are multiples of it: INT8 kernels work in blocks of 16 columns."""


def prune_units(
    model: Encoder,
    structure: Structure,
    batches: Sequence[Batch],
    *,
    rearrange: Rearrange | None = None,
    is_tuned: bool = False,
) -> tuple[Encoder, list[str]]:
    """Removes the heads and neurons with the least Fisher information, over all layers together.

    Args:
        structure: where it has a share of its own for the last layer's neurons, these are ranked alone.
        batches: of labelled training rows, which the information is measured on.
        rearrange: chooses as many units of one site again, by its block of the Fisher information.
        is_tuned: what stays is rescaled so that layers give what those of the whole model give on the rows.

    Returns:
        The smaller model, and what was removed, in words.
    """
    if structure.keeps_all_units:
        return model, ["every head and FFN neuron stays"]
    importance = fisher_importance(model, batches)
    heads = select_units(importance.heads, structure.heads, 1)
    neurons = _select_neurons(importance.neurons, structure)
    reasons = [
        f"heads kept by layer, by Fisher information: {_counts(heads, importance.heads)}",
        f"FFN neurons kept by layer, likewise: {_counts(neurons, importance.neurons)}",
    ]
    kept = [units for layer in zip(heads, neurons, strict=True) for units in layer]
    if rearrange is not None:
        kept = [_rearranged(rearrange, *site) for site in zip(importance.gradients, kept, strict=True)]
        reasons.append("rearranged in each layer by what they carry together")
    smaller = keep_at_sites(model, kept)
    if is_tuned:
        tune_masks(smaller, model, batches)
        reasons.append("what stays was rescaled, layer by layer, to give what the whole model's layers give")
    return smaller, reasons


def _rearranged(rearrange: Rearrange, gradients: Tensor, kept: Tensor) -> Tensor:
    rows = gradients.double()
    return torch.from_numpy(rearrange((rows.T @ rows).numpy(), kept.numpy()))


def _select_neurons(importance: Sequence[Tensor], structure: Structure) -> list[Tensor]:
    if structure.last_neurons is None:
        return select_units(importance, structure.neurons, NEURON_MULTIPLE)
    *others, last = importance
    kept = select_units(others, structure.neurons, NEURON_MULTIPLE) if others else []
    return [*kept, *select_units([last], structure.last_neurons, NEURON_MULTIPLE)]


def prune_embedding(model: Bert, structure: Structure, kept_ids: Sequence[int]) -> tuple[Bert, list[str]]:
    """Keeps some rows of the word table and factorises what is left."""
    before = model.config.vocab_size
    smaller = keep_tokens(model, kept_ids)
    reasons = [f"vocabulary {before} -> {len(kept_ids)} tokens, all characters among them"]
    if structure.embedding_rank is not None and structure.embedding_rank < model.config.hidden_size:
        smaller = factorise_embedding(smaller, structure.embedding_rank)
        reasons.append(
            f"word table factorised to rank {structure.embedding_rank} of {model.config.hidden_size}"
        )
    return smaller, reasons


def _counts(kept: Sequence[Tensor], whole: Sequence[Tensor]) -> str:
    return ", ".join(f"{len(part)} of {len(total)}" for part, total in zip(kept, whole, strict=True))
