"""Structural edits: which layers, heads, neurons, hidden units, tokens and positions of a model stay.

Layers, heads, neurons and hidden units are those of every family; tokens and positions are a compact text encoder's.

Every function returns a new, smaller, dense model; the one it was given is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from edgesmith.models.compact import CompactBert, CompactEncoder
from edgesmith.models.compact_mobilebert import (
    CompactMobileBertForSequenceClassification,
    CompactMobileBertForTokenClassification,
)
from edgesmith.models.coupling import (
    Shape,
    hidden_axes,
    layers_path,
    prunable_config,
    prunable_shape,
    sites,
    with_hidden,
    with_layers,
    with_units,
)
from edgesmith.models.families import shape_of

Bert = TypeVar("Bert", bound=CompactBert)
Model = TypeVar(
    "Model",
    bound=CompactEncoder
    | CompactMobileBertForSequenceClassification
    | CompactMobileBertForTokenClassification,
)


def keep_layers(model: Model, layers: Sequence[int]) -> Model:
    """The model with only the layers at the given indices, in that order."""
    smaller = _empty(model, with_layers(prunable_shape(model.config), layers))
    path, source = f"{layers_path(model)}.", model.state_dict()
    state = {name: tensor for name, tensor in source.items() if not name.startswith(path)}
    for target, index in enumerate(layers):
        old = f"{path}{index}."
        state |= {
            f"{path}{target}.{name.removeprefix(old)}": tensor
            for name, tensor in source.items()
            if name.startswith(old)
        }
    smaller.load_state_dict(state)
    return smaller


def keep_at_sites(model: Model, kept: Sequence[Tensor]) -> Model:
    """The model with only some units at each site: rows of what makes them, columns of what reads them.

    Args:
        kept: for each of `coupling.sites`, the indices of the units that stay.
    """
    places, state = sites(model), model.state_dict()
    shape = with_units(prunable_shape(model.config), places, [len(units) for units in kept])
    smaller = _empty(model, shape)
    for site, units in zip(places, kept, strict=True):
        columns = (units[:, None] * site.width + torch.arange(site.width)).flatten()  # (kept x width,)
        whole = site.units * site.width
        for maker in site.makers:
            blocks = len(state[f"{maker}.bias"]) // whole
            rows = torch.cat([columns + block * whole for block in range(blocks)])
            for kind in ("weight", "bias"):
                state[f"{maker}.{kind}"] = state[f"{maker}.{kind}"][rows]
        state[f"{site.reader}.weight"] = state[f"{site.reader}.weight"][:, columns]
    smaller.load_state_dict(state)
    return smaller


def keep_tokens(model: Bert, token_ids: Sequence[int]) -> Bert:
    """The model with only some rows of the word table; row ``i`` of the new table is row ``token_ids[i]`` of the old.

    Raises:
        ValueError: the padding token is not among `token_ids`.
    """
    pad_token_id = list(token_ids).index(model.config.pad_token_id)
    smaller = _empty(model, replace(shape_of(model.config), vocab=len(token_ids)), pad_token_id=pad_token_id)
    state = model.state_dict()
    state["embeddings.word.weight"] = state["embeddings.word.weight"][torch.as_tensor(token_ids)]
    smaller.load_state_dict(state)
    return smaller


def keep_positions(model: Bert, positions: int) -> Bert:
    """The model with the first `positions` rows of its position table: longer inputs are no longer possible."""
    smaller = _empty(model, replace(shape_of(model.config), positions=positions))
    state = model.state_dict()
    state["embeddings.position.weight"] = state["embeddings.position.weight"][:positions]
    smaller.load_state_dict(state)
    return smaller


def keep_hidden(model: Model, units: Sequence[int]) -> Model:
    """The model with only some units of its hidden state: unit ``i`` of the new width is ``units[i]`` of the old.

    A hidden unit is one coupled group: a column of everything that reads the residual stream, a row of everything that
    writes to it, and an entry of every norm. The pooler's outputs are cut by the same units. Heads keep their size and
    FFN layers their neurons.

    All units in any order give the same logits. With fewer, everything linear is exactly what the whole model computes
    with the other units at 0, but a norm takes mean and variance over the units that are left, so that the logits are
    those of the whole model only where its norms do so too (MobileBERT's take neither); training has to make up for the
    rest.
    """
    shape, kept = prunable_shape(model.config), torch.as_tensor(units)
    state, axes = model.state_dict(), hidden_axes(model)
    smaller = _empty(model, with_hidden(shape, len(kept)))
    projection = "embeddings.projection.weight"
    if isinstance(model, CompactBert) and projection in state and not smaller.config.is_factorised:
        state["embeddings.word.weight"] = _word_table(model)
        del state[projection], axes[projection]
        axes["embeddings.word.weight"] = (1,)
    for name, along in axes.items():
        for axis in along:
            parts = state[name].shape[axis] // shape.hidden  # a head may read two states side by side
            index = torch.cat([kept + part * shape.hidden for part in range(parts)])
            state[name] = state[name].index_select(axis, index)
    smaller.load_state_dict(state)
    return smaller


def fold_token_types(model: Bert) -> Bert:
    """The same function of single sentences without a token-type table: its row 0 moves into the positions."""
    if model.embeddings.token_type is None:
        return model
    smaller = _empty(model, replace(shape_of(model.config), type_vocab=0))
    state = model.state_dict()
    first = state.pop("embeddings.token_type.weight")[0]  # (H,)
    state["embeddings.position.weight"] = state["embeddings.position.weight"] + first
    smaller.load_state_dict(state)
    return smaller


def factorise_embedding(model: Bert, rank: int) -> Bert:
    """The model with its word table replaced by the best product of the given rank, E ~ A B (truncated SVD).

    No other product of that rank is nearer to E: the squared error is the sum of the squared singular values left out
    (Eckart and Young 1936). The values kept are shared evenly, ``A = U sqrt(S)`` and ``B = sqrt(S) V``, so that both
    factors have a range that INT8 and one learning rate suit. Source: ALBERT's factorised parameterisation
    (arXiv:1909.11942, section 3.1); the SVD start is ours.

    Args:
        rank: columns of A. The model itself is returned where its table has no more columns than that.
    """
    if rank >= model.config.embedding_size:
        return model
    table = _word_table(model).double()  # (V, H)
    # Eigenvectors of the (H, H) Gram matrix give the right singular vectors without an SVD of the tall table.
    values, vectors = torch.linalg.eigh(table.T @ table)
    top = vectors[:, -rank:]  # (H, R)
    scale = values[-rank:].clamp_min(1e-12).sqrt().sqrt()  # sqrt of the singular values, (R,)
    smaller = _empty(model, replace(shape_of(model.config), embedding_rank=rank))
    factors = {"embeddings.word.weight": table @ top / scale, "embeddings.projection.weight": top * scale}
    smaller.load_state_dict(model.state_dict() | factors)
    return smaller


def embedding_energy(model: CompactBert) -> list[float]:
    """For each rank from 1 on, the share of the word table's squared singular values that `factorise_embedding` keeps."""
    table = _word_table(model).double()  # (V, H)
    values = torch.linalg.eigvalsh(table.T @ table).flip(0).clamp_min(0)  # (H,), the squares, largest first
    shares: list[float] = (values.cumsum(0) / values.sum()).tolist()
    return shares


def _word_table(model: CompactBert) -> Tensor:
    """(V, H) table of word vectors, multiplied out where it is factorised."""
    word, projection = model.embeddings.word.weight, model.embeddings.projection
    return (word if projection is None else word @ projection.weight.T).detach()


def _empty(model: Model, shape: Shape, *, pad_token_id: int | None = None) -> Model:
    """A model of another shape that computes as `model` does, its weights still to be filled.

    Args:
        pad_token_id: where the padding token moved to; None where it stays.
    """
    config = prunable_config(model.config, shape)
    if pad_token_id is not None:
        config.pad_token_id = pad_token_id
    with model.device:
        empty: Model = type(model)(config)  # type: ignore[arg-type]
    empty.eval()  # type: ignore[no-untyped-call]
    return empty
