"""Precision: how much the outputs suffer when a layer is quantized, and the plan that follows.

The arithmetic is that of the artifact at batch 1: weights symmetric with one scale an output channel (or a table's
row), or a block of one; activations asymmetric with one scale an input, found as it arrives, or one scale for all, and
then outputs too where the runtime's are INT8.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgesmith.data.encoding import choices, model_inputs
from edgesmith.records import NO_NUMBER, LayerPlan, Plan
from edgesmith.records.plan import (
    BITS,
    BLOCK,
    INTEGERS,
    Granularity,
    LayerKind,
    Scheme,
    WeightDtype,
    uint8_steps,
)


def quantizable_layers(model: PreTrainedModel) -> dict[str, nn.Linear | nn.Embedding]:
    """Every linear layer and embedding table by its path."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Embedding)
    }


def uniform_plan(model: PreTrainedModel, reason: str) -> Plan:
    """INT8 in every layer whose weights count; small tables (positions, token types) and convolutions stay as they are."""
    return Plan(
        layers=tuple(
            plan_layer(name, module, "int8", reason=reason)
            for name, module in quantizable_layers(model).items()
            if not is_small_table(name)
        )
    )


def is_small_table(layer: str) -> bool:
    """Whether a layer is the position or token-type table: a slice of it is read as it is, INT8 would cost operators."""
    return layer.rsplit(".", 1)[-1] in (
        "position",
        "position_embeddings",
        "token_type",
        "token_type_embeddings",
    )


def layer_kind(module: nn.Module) -> LayerKind:
    return "linear" if isinstance(module, nn.Linear) else "embedding"


def plan_layer(
    name: str, module: nn.Module, weight: WeightDtype, *, sensitivity: float | None = None, reason: str = ""
) -> LayerPlan:
    """A plan entry for a module, with one scale a channel and, for integers, inputs quantized as they arrive."""
    is_dynamic = isinstance(module, nn.Linear) and weight in INTEGERS
    scheme = Scheme(weight, "per_channel", "dynamic_int8" if is_dynamic else "none")
    return scheme_layer(name, module, scheme, sensitivity=sensitivity, reason=reason)


def scheme_layer(
    name: str,
    module: nn.Module,
    scheme: Scheme,
    *,
    input_range: tuple[float, float] | None = None,
    output_range: tuple[float, float] | None = None,
    sensitivity: float | None = None,
    reason: str = "",
) -> LayerPlan:
    """A plan entry for a module under any scheme.

    Args:
        input_range, output_range: of the module's inputs and outputs; kept where the scheme's activation is static.
    """
    is_static = scheme.activation == "static_int8"
    return LayerPlan(
        layer=name,
        kind=layer_kind(module),
        weight=scheme.weight,
        granularity=scheme.granularity,
        activation=scheme.activation,
        input_range=input_range if is_static else None,
        output_range=output_range if is_static else None,
        sensitivity=sensitivity,
        reason=reason,
    )


def quantize_weight(
    weight: Tensor, dtype: WeightDtype = "int8", granularity: Granularity = "per_channel"
) -> Tensor:
    """Weight after a round trip: integers symmetric, with one scale a row or block; FP16 rounded; FP32 as it is.

    Args:
        weight: (rows, columns); a row is an output channel of a linear layer or a token of a table.
    """
    if dtype == "fp32":
        return weight
    if dtype == "fp16":
        return weight.half().to(weight.dtype)
    if granularity == "per_block":
        return _quantize_blocks(weight, dtype)
    largest = (1 << (BITS[dtype] - 1)) - 1
    scale = (weight.abs().amax(dim=1, keepdim=True) / largest).clamp_min(torch.finfo(torch.float32).tiny)
    return (weight / scale).round().clamp(-largest, largest) * scale


def _quantize_blocks(weight: Tensor, dtype: WeightDtype) -> Tensor:
    """As ONNX Runtime's block quantizer has it: the value of largest magnitude becomes the lowest integer."""
    lowest = -(1 << (BITS[dtype] - 1))
    blocks = _in_blocks(weight)  # (rows, blocks, BLOCK)
    low, high = blocks.amin(dim=2, keepdim=True), blocks.amax(dim=2, keepdim=True)
    scale = torch.where(high.abs() > low.abs(), high, low) / lowest
    steps = (blocks / torch.where(scale == 0, 1.0, scale)).round().clamp(lowest, -lowest - 1)
    return (steps * scale).flatten(1)[:, : weight.shape[1]]


def _in_blocks(values: Tensor) -> Tensor:
    """(..., columns) -> (..., blocks, BLOCK); the last block is filled with 0."""
    return F.pad(values, (0, -values.shape[-1] % BLOCK)).view(*values.shape[:-1], -1, BLOCK)


def weight_bytes(weight: Tensor, scheme: Scheme) -> int:
    """Bytes that a weight takes under a scheme: a scale and a zero point a channel, or a scale a block."""
    rows, columns = weight.shape
    stored = rows * columns * BITS[scheme.weight] // 8
    if not scheme.is_integer:
        return stored
    return stored + (4 * rows * -(-columns // BLOCK) if scheme.granularity == "per_block" else 5 * rows)


def quantize_activation(hidden: Tensor) -> Tensor:
    """Activation after a round trip through UINT8, asymmetric, one scale an input (ONNX DynamicQuantizeLinear).

    Args:
        hidden: (B, ..., features); each of the B inputs has its own scale, as at batch 1.
    """
    rows = hidden.flatten(1)
    low, high = rows.amin(dim=1).clamp_max(0), rows.amax(dim=1).clamp_min(0)
    shape = (-1, *[1] * (hidden.dim() - 1))
    scale = ((high - low) / 255).clamp_min(torch.finfo(torch.float32).tiny).view(shape)
    zero_point = (-low.view(shape) / scale).round()
    return ((hidden / scale).round() + zero_point).clamp(0, 255).sub(zero_point) * scale


def quantize_tokens(hidden: Tensor) -> Tensor:
    """Activation after a round trip through INT8, asymmetric, one scale a token (XNNPACK's dynamically quantized layers).

    Args:
        hidden: (..., features).
    """
    return quantize_activation(hidden.flatten(0, -2)).view_as(hidden)


def quantize_blocks(hidden: Tensor) -> Tensor:
    """Activation after a round trip through INT8, symmetric, one scale for `BLOCK` features (ONNX Runtime's MatMulNBits)."""
    blocks = _in_blocks(hidden)  # (B, ..., blocks, BLOCK)
    scale = (blocks.abs().amax(dim=-1, keepdim=True) / 127).clamp_min(torch.finfo(torch.float32).tiny)
    return ((blocks / scale).round() * scale).flatten(-2)[..., : hidden.shape[-1]]


def quantize_in_range(hidden: Tensor, input_range: tuple[float, float]) -> Tensor:
    """Activation after a round trip through UINT8 with the same scale for every input (ONNX QuantizeLinear)."""
    scale, zero_point = uint8_steps(input_range)
    return ((hidden / scale).round() + zero_point).clamp(0, 255).sub(zero_point) * scale


@contextmanager
def executed(
    model: PreTrainedModel, entries: Iterable[LayerPlan], *, per_token: bool = False
) -> Iterator[None]:
    """Within it, the planned layers compute as a runtime does; afterwards the model is as before.

    Args:
        per_token: dynamic inputs have one scale a token, not one an input.
    """
    modules = quantizable_layers(model)
    weights: list[tuple[nn.Linear | nn.Embedding, Tensor]] = []
    hooks = []
    try:
        for entry in entries:
            module = modules[entry.layer]
            weights.append((module, module.weight.data))
            module.weight.data = quantize_weight(module.weight.data, entry.weight, entry.granularity)
            if entry.activation != "none":
                hooks.append(module.register_forward_pre_hook(partial(_quantize_input, entry, per_token)))
            if entry.output_range is not None:
                hooks.append(module.register_forward_hook(partial(_quantize_output, entry.output_range)))
        yield
    finally:
        for changed, weight in weights:
            changed.weight.data = weight
        for hook in hooks:
            hook.remove()


def _quantize_input(entry: LayerPlan, per_token: bool, _: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return quantize_input(entry, inputs[0], per_token=per_token)


def quantize_input(entry: LayerPlan, hidden: Tensor, *, per_token: bool = False) -> Tensor:
    """A planned layer's input after its round trip; of an entry whose activation is quantized."""
    if entry.input_range is not None:
        return quantize_in_range(hidden, entry.input_range)
    if entry.granularity == "per_block":
        return quantize_blocks(hidden)
    return quantize_tokens(hidden) if per_token else quantize_activation(hidden)


def _quantize_output(
    output_range: tuple[float, float], _: nn.Module, inputs: tuple[Tensor], output: Tensor
) -> Tensor:
    return quantize_in_range(output, output_range)


def mean_divergence(reference: Sequence[Tensor], logits: Sequence[Tensor]) -> float:
    """Mean over rows, or over the choices of a row (`choices`), of KL(reference || candidate) in nats.

    A score counts as a normal distribution around it, with the variance of all reference scores: the KL is then half the
    squared difference over that variance.

    Args:
        reference, logits: of the candidate; one (B, labels) tensor a batch each.
    """
    if reference[0].shape[-1] == 1:
        wanted, given = (torch.cat([batch.float() for batch in batches]) for batches in (reference, logits))
        return float((given - wanted).pow(2).mean() / (2 * wanted.var(correction=0)))
    total = sum(
        map(_divergence, reference, logits)
    )  # of places, batches have as many labels as their rows tokens
    return total / sum(map(len, reference))


def _divergence(reference: Tensor, logits: Tensor) -> float:
    """Sum of KL over the rows of a batch, (B, labels) both."""
    wanted, given = F.log_softmax(reference.float(), dim=-1), F.log_softmax(logits.float(), dim=-1)
    return float(F.kl_div(given, wanted, log_target=True, reduction="sum"))


class Divergence:
    """KL divergence to the reference outputs when some layers are quantized; the reference is computed once.

    Args:
        batches: of calibration rows.
        per_token: dynamic inputs have one scale a token.
    """

    def __init__(
        self, model: PreTrainedModel, batches: Sequence[dict[str, Tensor]], *, per_token: bool = False
    ) -> None:
        self._model, self._batches, self._per_token = model.eval(), batches, per_token
        self._reference = self._logits()

    def __call__(self, entries: Iterable[LayerPlan]) -> float:
        """Mean KL in nats a row, or a token that counts, with the planned layers; `NO_NUMBER` where an output is none."""
        with executed(self._model, entries, per_token=self._per_token):
            divergence = mean_divergence(self._reference, self._logits())
        return divergence if math.isfinite(divergence) else NO_NUMBER

    @torch.no_grad()
    def _logits(self) -> list[Tensor]:
        return [choices(self._model(**model_inputs(batch)).logits.float(), batch) for batch in self._batches]
