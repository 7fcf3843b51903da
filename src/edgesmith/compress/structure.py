"""Structural edits of a compact encoder: which layers, heads, neurons, tokens and positions stay.

Layers, heads and neurons are those of texts and of images alike; tokens and positions are a text encoder's.

Every function returns a new, smaller, dense model; the one it was given is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from edgesmith.models.compact import (
    CompactAttention,
    CompactBert,
    CompactEncoder,
    CompactFFN,
)
from edgesmith.models.families import compact_config, shape_of
from edgesmith.records import EncoderShape

Encoder = TypeVar("Encoder", bound=CompactEncoder)
Bert = TypeVar("Bert", bound=CompactBert)


def keep_layers(model: Encoder, layers: Sequence[int]) -> Encoder:
    """The model with only the layers at the given indices, in that order."""
    shape = shape_of(model.config)
    smaller = _empty(
        model,
        replace(
            shape,
            heads=tuple(shape.heads[i] for i in layers),
            neurons=tuple(shape.neurons[i] for i in layers),
        ),
    )
    _copy_outside(model, smaller)
    for target, index in zip(smaller.layers, layers, strict=True):
        target.load_state_dict(model.layers[index].state_dict())
    return smaller


def keep_units(model: Encoder, heads: Sequence[Tensor], neurons: Sequence[Tensor]) -> Encoder:
    """The model with only some heads and FFN neurons in each layer.

    Args:
        heads: for each layer, the indices of the heads that stay.
        neurons: for each layer, the indices of the neurons that stay.
    """
    shape = shape_of(model.config)
    smaller = _empty(
        model,
        replace(
            shape, heads=tuple(len(kept) for kept in heads), neurons=tuple(len(kept) for kept in neurons)
        ),
    )
    _copy_outside(model, smaller)
    for index, layer in enumerate(model.layers):
        target = smaller.layers[index]
        target.attention_norm.load_state_dict(layer.attention_norm.state_dict())
        target.ffn_norm.load_state_dict(layer.ffn_norm.state_dict())
        _slice_attention(layer.attention, target.attention, heads[index])
        _slice_ffn(layer.ffn, target.ffn, neurons[index])
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


def keep_hidden(model: Bert, units: Sequence[int]) -> Bert:
    """The model with only some units of its hidden state: unit ``i`` of the new width is ``units[i]`` of the old.

    A hidden unit is one coupled group: a column of everything that reads the residual stream, a row of everything that
    writes to it, and an entry of every norm. The pooler's outputs are cut by the same units. Heads keep their size and
    FFN layers their neurons.

    All units in any order give the same logits. With fewer, everything linear is exactly what the whole model computes
    with the other units at 0, but a norm takes mean and variance over the units that are left, so that the logits are
    those of the whole model only where its norms do so too; training has to make up for the rest.
    """
    shape, kept = shape_of(model.config), torch.as_tensor(units)
    state, table = model.state_dict(), "embeddings.word.weight"
    multiplies_out = len(kept) <= shape.embedding_rank  # the factors would save nothing
    if multiplies_out:
        state[table] = _word_table(model)
        state.pop("embeddings.projection.weight", None)
    rank = len(kept) if multiplies_out else shape.embedding_rank
    smaller = _empty(model, replace(shape, hidden=len(kept), embedding_rank=rank))
    for name, axes in _hidden_axes(model, is_factorised=not multiplies_out).items():
        for axis in axes:
            if name in state:
                state[name] = state[name].index_select(axis, kept)
    smaller.load_state_dict(state)
    return smaller


def _hidden_axes(model: CompactBert, *, is_factorised: bool) -> dict[str, tuple[int, ...]]:
    """Parameter -> the axes that the hidden state runs along."""
    word = {"embeddings.projection.weight": (0,)} if is_factorised else {"embeddings.word.weight": (1,)}
    axes: dict[str, tuple[int, ...]] = {
        **word,
        "embeddings.position.weight": (1,),
        "embeddings.token_type.weight": (1,),
        "embeddings.norm.weight": (0,),
        "embeddings.norm.bias": (0,),
        "pooler.weight": (0, 1),
        "pooler.bias": (0,),
        "classifier.weight": (1,),
    }
    for layer in range(len(model.layers)):
        for reads in ("attention.qkv", "ffn.intermediate"):
            axes[f"layers.{layer}.{reads}.weight"] = (1,)
        for writes in ("attention.output", "attention_norm", "ffn.output", "ffn_norm"):
            axes[f"layers.{layer}.{writes}.weight"] = axes[f"layers.{layer}.{writes}.bias"] = (0,)
    return axes


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


def _word_table(model: CompactBert) -> Tensor:
    """(V, H) table of word vectors, multiplied out where it is factorised."""
    word, projection = model.embeddings.word.weight, model.embeddings.projection
    return (word if projection is None else word @ projection.weight.T).detach()


def _empty(model: Encoder, shape: EncoderShape, *, pad_token_id: int | None = None) -> Encoder:
    """An encoder of another shape that computes as `model` does, its weights still to be filled.

    Args:
        pad_token_id: where the padding token moved to; None where it stays.
    """
    config = compact_config(model.config, shape)
    if pad_token_id is not None:
        config.pad_token_id = pad_token_id
    with model.device:
        empty = type(model)(config)
    empty.eval()  # type: ignore[no-untyped-call]
    return empty


def _copy_outside(model: Encoder, target: Encoder) -> None:
    """Copies everything outside the layers."""
    for name, module in model.named_children():
        if name != "layers":
            target.get_submodule(name).load_state_dict(module.state_dict())


def _slice_attention(source: CompactAttention, target: CompactAttention, heads: Tensor) -> None:
    """Copies the QKV rows and output columns of the given heads."""
    dim = source.head_dim
    columns = (heads[:, None] * dim + torch.arange(dim)).flatten()  # (kept x head_dim,)
    rows = torch.cat([columns + part * source.width for part in range(3)])
    _copy_linear(target.qkv, source.qkv.weight[rows], source.qkv.bias[rows])
    _copy_linear(target.output, source.output.weight[:, columns], source.output.bias)


def _slice_ffn(source: CompactFFN, target: CompactFFN, neurons: Tensor) -> None:
    """Copies the rows of the first and the columns of the second matrix of the given neurons."""
    _copy_linear(target.intermediate, source.intermediate.weight[neurons], source.intermediate.bias[neurons])
    _copy_linear(target.output, source.output.weight[:, neurons], source.output.bias)


def _copy_linear(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
