"""Scale migration: the same function, its activations easier to quantize with one scale for all.

In an encoder a few features of the hidden states are far larger than the rest. The layers that read them after a norm get
them divided feature by feature, and their weights take that back:

    W x = (W diag(s)) (x / s),    s = max|x|^alpha / max|W|^(1 - alpha)

Source: SmoothQuant (arXiv:2211.10438, equation 4). What differs: the paper divides the norm's weights, as in a pre-norm model
nothing else reads it; in a post-norm encoder the residual does, so that the division is a product of its own before the layer.

Values are smaller than the queries and keys that they leave their layer with, and share their range where outputs are INT8.
Attention is linear in its values, so that a factor of a feature of them moves on into the next matrix, for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgesmith.compress.quantize import quantizable_layers
from edgesmith.data.encoding import model_inputs
from edgesmith.models.compact import CompactAttention

Model = TypeVar("Model", bound=PreTrainedModel)

ALPHA = 0.65
"""How much of the outliers moves into the weights: none at 0, all at 1. Static inputs of MiniLM's FFNs in a range of 32 sentences
leave a worst cosine of 48 others of 0.988, 0.996, 0.999 and 0.996 at 0.3, 0.5, 0.65 and 0.8 (0.987 without)."""

_LEAST = 1e-5
"""Magnitude of features and weights below which all are alike: what is always 0 gets a scale too."""


@torch.no_grad()
def migrate(model: Model, batches: Sequence[dict[str, Tensor]], alpha: float = ALPHA) -> Model:
    """A copy of the model that computes the same, with smaller outliers in what layers behind norms read, and larger values.

    Paths and shapes stay. A hook divides a layer's inputs, so that graphs hold the division, and hooks that are registered
    later see what comes out of it.

    Args:
        model: of any family; values change in compact encoders only.
        batches: of calibration rows; padding does not count.
        alpha: 0 to 1.
    """
    made = deepcopy(model)
    seen = _Seen(made, batches)
    for attention in made.modules():
        if isinstance(attention, CompactAttention):
            _even_values(attention, seen.given[attention.qkv])
    for norm, layers in seen.readers.items():
        largest = seen.given[norm].clamp_min(_LEAST)  # (features,)
        weights = torch.stack([layer.weight.abs().amax(dim=0) for layer in layers]).amax(dim=0)
        scale = largest**alpha / weights.clamp_min(_LEAST) ** (1 - alpha)
        for layer in layers:
            layer.weight.mul_(scale)
            layer.register_forward_pre_hook(partial(_divide, 1 / scale))
    return made


def _divide(inverse: Tensor, _: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return inputs[0] * inverse


def _even_values(attention: CompactAttention, largest: Tensor) -> None:
    """Values that are as large as queries and keys, their features nearer to one another.

    Args:
        largest: (3 x width,) magnitudes of queries, keys and values.
    """
    values = largest[2 * attention.width :].clamp_min(_LEAST)
    others = largest[: 2 * attention.width].amax().clamp_min(_LEAST)
    factor = (values * values.max()).sqrt() / others  # (width,)
    attention.qkv.weight[2 * attention.width :] /= factor[:, None]
    attention.qkv.bias[2 * attention.width :] /= factor
    attention.output.weight.mul_(factor)


class _Seen:
    """What norms and linear layers give on calibration rows, and which linear layers read a norm as it is.

    Attributes:
        given: (features,) largest magnitudes of a module's outputs.
        readers: of each norm; what reads it in part, as a pooler does, is none of them.
    """

    def __init__(self, model: PreTrainedModel, batches: Sequence[dict[str, Tensor]]) -> None:
        self.given: dict[nn.Module, Tensor] = {}
        self.readers: dict[nn.Module, list[nn.Linear]] = {}
        norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
        linear = [module for module in quantizable_layers(model).values() if isinstance(module, nn.Linear)]
        for batch in batches:
            outputs: dict[int, tuple[nn.Module, Tensor]] = {}  # a tensor that lives has its address to itself
            with ExitStack() as stack:
                for module in (*norms, *linear):
                    hook = partial(self._gives, batch.get("attention_mask"), outputs)
                    stack.callback(module.register_forward_hook(hook).remove)
                for module in linear:
                    stack.callback(module.register_forward_pre_hook(partial(self._reads, outputs)).remove)
                model(**model_inputs(batch))

    def _gives(
        self,
        mask: Tensor | None,
        outputs: dict[int, tuple[nn.Module, Tensor]],
        module: nn.Module,
        _: tuple[Tensor],
        output: Tensor,
    ) -> None:
        if isinstance(module, nn.LayerNorm):
            outputs[output.data_ptr()] = module, output
        has_padding = mask is not None and output.shape[:-1] == mask.shape
        real = output[mask.bool()] if mask is not None and has_padding else output.flatten(0, -2)
        largest = real.abs().amax(dim=0)
        self.given[module] = torch.maximum(self.given.get(module, largest), largest)

    def _reads(
        self, outputs: dict[int, tuple[nn.Module, Tensor]], module: nn.Linear, inputs: tuple[Tensor]
    ) -> None:
        norm, output = outputs.get(inputs[0].data_ptr(), (None, None))
        if norm is not None and output is not None and output.shape == inputs[0].shape:
            layers = self.readers.setdefault(norm, [])
            if module not in layers:
                layers.append(module)
