"""A student's structure: layers for distillation, then units, tokens and embedding rank for pruning."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from edgesmith.compress.importance import Batch, fisher_importance, select_units
from edgesmith.compress.structure import Bert, Encoder, factorise_embedding, keep_tokens, keep_units
from edgesmith.records import Structure

NEURON_MULTIPLE = 16
"""FFN widths are multiples of it: INT8 kernels work in blocks of 16 columns."""


def prune_units(model: Encoder, structure: Structure, batches: Sequence[Batch]) -> tuple[Encoder, list[str]]:
    """Removes the heads and neurons with the least Fisher information, over all layers together.

    Args:
        structure: where it has a share of its own for the last layer's neurons, these are ranked alone.
        batches: of labelled training rows, which the information is measured on.

    Returns:
        The smaller model, and what was removed, in words.
    """
    if structure.keeps_all_units:
        return model, ["every head and FFN neuron stays"]
    importance = fisher_importance(model, batches)
    heads = select_units(importance.heads, structure.heads, 1)
    neurons = _select_neurons(importance.neurons, structure)
    smaller = keep_units(model, heads, neurons)
    return smaller, [
        f"heads kept by layer, by Fisher information: {_counts(heads, importance.heads)}",
        f"FFN neurons kept by layer, likewise: {_counts(neurons, importance.neurons)}",
    ]


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
