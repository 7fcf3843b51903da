"""Quantization-aware training: a model computes as its plan says, and the gradients go past the rounding.

Fake quantization of arXiv:1712.05877, section 3, with the straight-through estimator of arXiv:1308.3432. Weights stay in
FP32 and are rounded in every pass by the functions that rounded them when the plan was made, so that a runtime's file holds
what was trained. Scales follow the weights, and dynamic inputs, in every pass; the range of a static input is the plan's.
Here they are not learnt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgesmith.compress.quantize import quantizable_layers, quantize_in_range, quantize_input, quantize_weight
from edgesmith.records import LayerPlan


@contextmanager
def fake_quantized(
    model: PreTrainedModel, entries: Iterable[LayerPlan], *, per_token: bool = False
) -> Iterator[None]:
    """Within it, the layers that are planned in integers compute as `executed` has them, and can be trained.

    Parameters keep their names and FP32 values, so that checkpoints are those of the model. What is planned in FP16 stays in
    FP32: that rounding is finer than what training moves.

    Args:
        per_token: as in `executed`.
    """
    modules = quantizable_layers(model)
    changed = []
    try:
        for entry in entries:
            if entry.scheme.is_integer:
                module: Any = modules[entry.layer]  # mypy lets no method be assigned
                is_table = entry.kind == "embedding"
                module.forward = (
                    partial(_embedding, module, entry)
                    if is_table
                    else partial(_linear, module, entry, per_token)
                )
                changed.append(module)
        yield
    finally:
        for module in changed:
            del module.forward  # the class's own is back


def straight_through(value: Tensor, rounded: Tensor) -> Tensor:
    """The rounded value, exactly, with the gradient of the value itself."""
    return rounded.detach() + (value - value.detach())


def _linear(module: nn.Linear, entry: LayerPlan, per_token: bool, hidden: Tensor) -> Tensor:
    weight = straight_through(module.weight, _rounded(entry, module.weight.detach()))
    output = F.linear(_input(entry, per_token, hidden), weight, module.bias)
    if entry.output_range is None:
        return output
    output = output.float()
    return _within(entry.output_range, output, quantize_in_range(output.detach(), entry.output_range))


def _input(entry: LayerPlan, per_token: bool, hidden: Tensor) -> Tensor:
    if entry.activation == "none":
        return hidden
    hidden = hidden.float()
    return _within(entry.input_range, hidden, quantize_input(entry, hidden.detach(), per_token=per_token))


def _within(value_range: tuple[float, float] | None, value: Tensor, rounded: Tensor) -> Tensor:
    """`straight_through`, without a gradient of what is beyond a range: it moves nothing."""
    return straight_through(value if value_range is None else value.clamp(*value_range), rounded)


def _embedding(module: nn.Embedding, entry: LayerPlan, ids: Tensor) -> Tensor:
    """Only of the rows that are looked up: no two rows share a scale."""
    rows = F.embedding(ids, module.weight, module.padding_idx)  # (B, S, E)
    rounded = _rounded(entry, rows.detach().flatten(0, -2))  # (B S, E)
    return straight_through(rows, rounded.view_as(rows))


def _rounded(entry: LayerPlan, weight: Tensor) -> Tensor:
    return quantize_weight(weight, entry.weight, entry.granularity)
