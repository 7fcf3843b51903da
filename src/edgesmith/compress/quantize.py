"""Precision: how much the outputs suffer when a layer is quantized, and the plan that follows.

The arithmetic is that of the artifact at batch 1: weights symmetric with one scale an output channel (or a table's
row), activations asymmetric with one scale an input, found as it arrives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgesmith.data.encoding import choices, model_inputs
from edgesmith.records import LayerPlan, Plan
from edgesmith.records.plan import BITS, INTEGERS, LayerKind, WeightDtype


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
    """A plan entry for a module."""
    kind = layer_kind(module)
    return LayerPlan(
        layer=name,
        kind=kind,
        weight=weight,
        activation="dynamic_int8" if kind == "linear" and weight in INTEGERS else "none",
        sensitivity=sensitivity,
        reason=reason,
    )


def quantize_weight(weight: Tensor, dtype: WeightDtype = "int8") -> Tensor:
    """Weight after a round trip: integers symmetric, with one scale a row; FP16 rounded; FP32 as it is.

    Args:
        weight: (rows, columns); a row is an output channel of a linear layer or a token of a table.
    """
    if dtype == "fp32":
        return weight
    if dtype == "fp16":
        return weight.half().to(weight.dtype)
    largest = (1 << (BITS[dtype] - 1)) - 1
    scale = (weight.abs().amax(dim=1, keepdim=True) / largest).clamp_min(torch.finfo(torch.float32).tiny)
    return (weight / scale).round().clamp(-largest, largest) * scale


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


@contextmanager
def simulated(model: PreTrainedModel, dtypes: Mapping[str, WeightDtype]) -> Iterator[None]:
    """Within it, the named layers compute as a runtime does that stores them so; afterwards the model is as before."""
    modules = quantizable_layers(model)
    chosen = [modules[name] for name in dtypes]
    weights = [module.weight.data for module in chosen]
    hooks = [
        module.register_forward_pre_hook(_quantize_input)
        for module, dtype in zip(chosen, dtypes.values(), strict=True)
        if isinstance(module, nn.Linear) and dtype in INTEGERS
    ]
    try:
        for module, weight, dtype in zip(chosen, weights, dtypes.values(), strict=True):
            module.weight.data = quantize_weight(weight, dtype)
        yield
    finally:
        for module, weight in zip(chosen, weights, strict=True):
            module.weight.data = weight
        for hook in hooks:
            hook.remove()


def _quantize_input(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return quantize_activation(inputs[0])


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
    """

    def __init__(self, model: PreTrainedModel, batches: Sequence[dict[str, Tensor]]) -> None:
        self._model, self._batches = model.eval(), batches
        self._reference = self._logits()

    def __call__(self, dtypes: Mapping[str, WeightDtype]) -> float:
        """Mean KL in nats a row, or a token that counts, with the named layers stored so."""
        with simulated(self._model, dtypes):
            return mean_divergence(self._reference, self._logits())

    @torch.no_grad()
    def _logits(self) -> list[Tensor]:
        return [choices(self._model(**model_inputs(batch)).logits.float(), batch) for batch in self._batches]
