"""What arrives at the linear layers on calibration rows and leaves them, and the range in which static INT8 tells it apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgesmith.compress.quantize import quantizable_layers, quantize_in_range, quantize_weight
from edgesmith.data.encoding import model_inputs
from edgesmith.recipe import Observer
from edgesmith.records.plan import Granularity, WeightDtype, uint8_steps

Range = tuple[float, float]

SAMPLE = 1 << 16
"""Values of a layer's inputs that are kept: 7 of them lie beyond each percentile below."""

TAIL = 1e-4
"""Share of the values that the observer ``percentile`` clips at each end."""

_LARGEST = torch.finfo(torch.float32).max

_SHRINKS = tuple(step / 20 for step in range(20, 1, -1))
"""Parts of a bound that the observer ``mse`` tries."""


@dataclass
class Inputs:
    """Of one linear layer, over all calibration rows and without padding; or its outputs, which are seen alike.

    Attributes:
        low, high: of every value.
        sample: (n,) values drawn from all of them, about `SAMPLE`.
        positions: vectors that the layer multiplied.
        computed: the same with padding, as batches have it.
    """

    low: float = math.inf
    high: float = -math.inf
    positions: int = 0
    computed: int = 0
    _parts: list[Tensor] = field(default_factory=list)

    @property
    def sample(self) -> Tensor:
        return torch.cat(self._parts)

    def add(self, vectors: Tensor, draws: int, generator: torch.Generator) -> None:
        """Takes in (positions, features); infinity counts as the largest number, so that a range is one."""
        values = vectors.flatten().clamp(-_LARGEST, _LARGEST)
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self.positions += len(vectors)
        self._parts.append(values[torch.randint(len(values), (draws,), generator=generator)])


@torch.no_grad()
def observe_inputs(
    model: PreTrainedModel, batches: Sequence[dict[str, Tensor]], seed: int = 0
) -> dict[str, Inputs]:
    """The inputs of every linear layer, by its path; layers that read the same tensor get the same sample."""
    return _observe(model, batches, seed, outputs=False)


@torch.no_grad()
def observe_outputs(
    model: PreTrainedModel, batches: Sequence[dict[str, Tensor]], seed: int = 0
) -> dict[str, Inputs]:
    """The outputs of every linear layer, by its path."""
    return _observe(model, batches, seed, outputs=True)


def _observe(
    model: PreTrainedModel, batches: Sequence[dict[str, Tensor]], seed: int, *, outputs: bool
) -> dict[str, Inputs]:
    layers = {
        name: module for name, module in quantizable_layers(model).items() if isinstance(module, nn.Linear)
    }
    found = {name: Inputs() for name in layers}
    generators = {name: torch.Generator().manual_seed(seed) for name in layers}
    draws = -(-SAMPLE // len(batches))
    for batch in batches:
        with ExitStack() as stack:
            for name, module in layers.items():
                take = partial(_take, found[name], batch.get("attention_mask"), draws, generators[name])
                register = module.register_forward_hook if outputs else module.register_forward_pre_hook
                stack.callback(register(take).remove)
            model(**model_inputs(batch))
    return found


def _take(
    inputs: Inputs,
    mask: Tensor | None,
    draws: int,
    generator: torch.Generator,
    _: nn.Module,
    arguments: tuple[Tensor],
    output: Tensor | None = None,
) -> None:
    hidden = (
        arguments[0] if output is None else output
    ).detach()  # (B, S, features), or (B, features) of a head
    inputs.computed += hidden.shape[:-1].numel()
    if mask is not None and hidden.shape[:-1] == mask.shape:
        inputs.add(hidden[mask.bool()], draws, generator)
    else:
        inputs.add(hidden.flatten(0, -2), draws, generator)


def input_range(inputs: Inputs, observer: Observer) -> Range:
    """Where static INT8 begins and ends.

    Args:
        observer: ``min_max`` takes all that was seen; ``percentile`` clips `TAIL` of the values at each end; ``mse`` moves
            one bound, then the other, to where the round trip's squared error is least.
    """
    return _OBSERVERS[observer](inputs)


def _min_max(inputs: Inputs) -> Range:
    return inputs.low, inputs.high


def _percentile(inputs: Inputs) -> Range:
    low, high = torch.quantile(inputs.sample, torch.tensor([TAIL, 1 - TAIL])).tolist()
    return low, high


def _least_error(inputs: Inputs) -> Range:
    low, high, values = inputs.low, inputs.high, inputs.sample
    high = min((high * part for part in _SHRINKS), key=lambda bound: _error(values, (low, bound)))
    low = min((low * part for part in _SHRINKS), key=lambda bound: _error(values, (bound, high)))
    return low, high


_OBSERVERS: dict[Observer, Callable[[Inputs], Range]] = {
    "min_max": _min_max,
    "percentile": _percentile,
    "mse": _least_error,
}


def _error(values: Tensor, value_range: Range) -> float:
    return float((quantize_in_range(values, value_range) - values).pow(2).mean())


def vanished_inputs(inputs: Inputs, value_range: Range) -> float:
    """Share of the values that a range's steps are too wide for: they become 0.

    Counted are those other than 0 and below half of the range's farther end: what set the range does not vanish itself.
    """
    sizes = inputs.sample.abs()
    sizes = sizes[(sizes > 0) & (sizes < max(map(abs, value_range)) / 2)]
    step, _ = uint8_steps(value_range)
    return float((sizes <= step / 2).float().mean()) if len(sizes) else 0.0


def vanished_weights(weight: Tensor, dtype: WeightDtype, granularity: Granularity) -> float:
    """Share of the weights other than 0 that become 0."""
    kept = quantize_weight(weight, dtype, granularity)[weight != 0]
    return float((kept == 0).float().mean()) if len(kept) else 0.0
