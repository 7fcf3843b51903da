"""Scale migration: the same function, its activations easier to quantize with one scale for all.

In an encoder a few features of the hidden states are far larger than the rest. The layers that read them after a norm get
them divided feature by feature, and their weights take that back:

    W x = (W diag(s)) (x / s),    s = max|x|^alpha / max|W|^(1 - alpha)

Source: SmoothQuant (arXiv:2211.10438, equation 4). What differs: the paper divides the norm's weights, as in a pre-norm model
nothing else reads it; in a post-norm encoder the residual does, so that the division is a product of its own before the layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgesmith.compress.quantize import quantizable_layers
from edgesmith.data.encoding import model_inputs

Model = TypeVar("Model", bound=PreTrainedModel)

ALPHA = 0.5
"""How much of the outliers moves into the weights: none at 0, all at 1. The paper's default."""

_LEAST = 1e-5
"""Magnitude of features and weights below which all are alike: what is always 0 gets a scale too."""


@dataclass
class _Group:
    """Linear layers that read one norm.

    Attributes:
        largest: (features,) of the magnitudes of what they read.
    """

    readers: dict[str, nn.Linear] = field(default_factory=dict)
    largest: Tensor | float = 0.0


@torch.no_grad()
def migrate(model: Model, batches: Sequence[dict[str, Tensor]], alpha: float = ALPHA) -> Model:
    """A copy of the model that computes the same, with smaller outliers in the inputs of layers behind norms.

    Paths and shapes stay. A hook divides a layer's inputs, so that graphs hold the division, and hooks that are registered
    later see what comes out of it.

    Args:
        batches: of calibration rows; padding does not count.
        alpha: 0 to 1.
    """
    made = deepcopy(model)
    for group in _groups(made, batches):
        weights = torch.stack([module.weight.abs().amax(dim=0) for module in group.readers.values()])
        largest = torch.as_tensor(group.largest).clamp_min(_LEAST)
        scale = largest**alpha / weights.amax(dim=0).clamp_min(_LEAST) ** (1 - alpha)  # (features,)
        for module in group.readers.values():
            module.weight.mul_(scale)
            module.register_forward_pre_hook(partial(_divide, 1 / scale))
    return made


def _divide(inverse: Tensor, _: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return inputs[0] * inverse


def _groups(model: PreTrainedModel, batches: Sequence[dict[str, Tensor]]) -> Iterator[_Group]:
    """What reads each norm's output as it is; what is read in part, as by a pooler, is none of it."""
    groups: dict[nn.Module, _Group] = {}
    owners: dict[int, nn.Module] = {}
    kept: list[Tensor] = []  # as long as they live, no other tensor has their address

    def gives(norm: nn.Module, _: tuple[Tensor], output: Tensor) -> None:
        owners[output.data_ptr()] = norm
        kept.append(output)

    def reads(name: str, mask: Tensor | None, module: nn.Linear, inputs: tuple[Tensor]) -> None:
        hidden = inputs[0]
        norm = owners.get(hidden.data_ptr())
        if norm is None or hidden.dim() < 3:
            return
        real = (
            hidden[mask.bool()]
            if mask is not None and hidden.shape[:-1] == mask.shape
            else hidden.flatten(0, -2)
        )
        group = groups.setdefault(norm, _Group())
        group.readers[name] = module
        group.largest = torch.maximum(torch.as_tensor(group.largest), real.abs().amax(dim=0))

    for batch in batches:
        with ExitStack() as stack:
            for module in model.modules():
                if isinstance(module, nn.LayerNorm):
                    stack.callback(module.register_forward_hook(gives).remove)
            for name, module in quantizable_layers(model).items():
                if isinstance(module, nn.Linear):
                    hook = partial(reads, name, batch.get("attention_mask"))
                    stack.callback(module.register_forward_pre_hook(hook).remove)
            model(**model_inputs(batch))
        owners.clear()
        kept.clear()
    yield from groups.values()
