"""Gates: factors on units of a model that stays whole, to mask them or to ask what the loss makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from edgesmith.data.encoding import choices, model_inputs
from edgesmith.models.compact import label_loss
from edgesmith.models.coupling import Prunable, hidden_norms, layers_path, sites

Batch = dict[str, Tensor]
"""What `EncodedRows.collate` makes."""

Gated = Callable[[Prunable, Sequence[Tensor]], list[RemovableHandle]]
"""Hangs gates, each (units,) or (B, units), on a model until the handles are removed."""


def unit_gates(model: Prunable, gates: Sequence[Tensor]) -> list[RemovableHandle]:
    """One gate a site: on what enters the linear layer that reads the units."""
    return [
        model.get_submodule(site.reader).register_forward_pre_hook(partial(_scale_input, gate, site.width))
        for site, gate in zip(sites(model), gates, strict=True)
    ]


def layer_gates(model: Prunable, gates: Sequence[Tensor]) -> list[RemovableHandle]:
    """One gate a layer, of one unit: a closed layer gives out what it was given."""
    return [
        model.get_submodule(f"{layers_path(model)}.{index}").register_forward_hook(partial(_pass_by, gate))
        for index, gate in enumerate(gates)
    ]


def hidden_gates(model: Prunable, gates: Sequence[Tensor]) -> list[RemovableHandle]:
    """A single gate, of all hidden units: on every norm over the residual stream."""
    (gate,) = gates
    return [norm.register_forward_hook(partial(_scale_output, gate)) for norm in hidden_norms(model)]


@contextmanager
def gated(model: Prunable, hang: Gated, gates: Sequence[Tensor]) -> Iterator[None]:
    """The model computes through gates inside the context."""
    handles = hang(model, gates)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def gate_gradients(
    model: Prunable,
    batches: Iterable[Batch],
    hang: Gated,
    units: Sequence[int],
    *,
    on_batch: Callable[[int], None] = lambda done: None,
) -> list[Tensor]:
    """Of every row's loss with respect to every gate, at 1: one (N, units) tensor a gate.

    Gates have a row for every sample, so that no batch's sum is taken.

    Args:
        batches: of labelled rows.
        hang: what the gates are on.
        units: of each gate.
        on_batch: told how many batches are done.
    """
    model.eval()  # type: ignore[no-untyped-call]
    found: list[list[Tensor]] = [[] for _ in units]
    for done, batch in enumerate(batches, 1):
        gates = [torch.ones(len(batch["labels"]), count, requires_grad=True) for count in units]
        with gated(model, hang, gates):
            logits = model(**model_inputs(batch)).logits
        loss = label_loss(choices(logits, batch), choices(batch["labels"], batch), reduction="sum")
        for rows, gradient in zip(found, torch.autograd.grad(loss, gates), strict=True):
            rows.append(gradient)
        on_batch(done)
    return [torch.cat(rows) for rows in found]


def _wide(gate: Tensor, like: Tensor) -> Tensor:
    """(units,) as it is; (B, units) over the tokens of `like`, (B, ..., units)."""
    if gate.dim() > 1:
        gate = gate.view(len(gate), *[1] * (like.dim() - 2), -1)
    return gate


def _scale_input(gate: Tensor, width: int, _module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    columns = gate.repeat_interleave(width, dim=-1)
    return (inputs[0] * _wide(columns, inputs[0]), *inputs[1:])


def _scale_output(gate: Tensor, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return output * _wide(gate, output)


def _pass_by(gate: Tensor, _module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    given: Tensor = inputs[0][:, : output.shape[1]]  # a last layer may compute the first token only
    return given + _wide(gate, output) * (output - given)
