"""What the outputs suffer from each layer, and in it from weights and from activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import nn
from transformers import PreTrainedModel

from edgesmith.compress.quantize import (
    Divergence,
    is_small_table,
    layer_kind,
    quantizable_layers,
    scheme_layer,
)
from edgesmith.compress.quantize_ranges import Inputs, Range, vanished_inputs, vanished_weights
from edgesmith.records import LayerSensitivity
from edgesmith.records.plan import LayerKind, Scheme


def sensitivities(
    model: PreTrainedModel,
    divergence: Divergence,
    schemes: Mapping[LayerKind, Sequence[Scheme]],
    inputs: Mapping[str, Inputs],
    ranges: Mapping[str, Range],
    rows: int,
    on_layer: Callable[[int, str], None] = lambda done, name: None,
) -> tuple[LayerSensitivity, ...]:
    """Of every layer but the small tables.

    Args:
        divergence: of the model.
        schemes: integer ones, in which linear layers and tables may be stored.
        inputs, ranges: of every linear layer, on rows that they were observed on.
        rows: how many these were; MACs are of one.
        on_layer: told how many layers are done, and which was the last.
    """
    found = []
    layers = {name: module for name, module in quantizable_layers(model).items() if not is_small_table(name)}
    for done, (name, module) in enumerate(layers.items(), 1):
        found.append(_measure(name, module, divergence, schemes[layer_kind(module)], inputs, ranges, rows))
        on_layer(done, name)
    return tuple(found)


def _measure(
    name: str,
    module: nn.Linear | nn.Embedding,
    divergence: Divergence,
    schemes: Sequence[Scheme],
    inputs: Mapping[str, Inputs],
    ranges: Mapping[str, Range],
    rows: int,
) -> LayerSensitivity:
    stored = {scheme.stored: Scheme(scheme.weight, scheme.granularity) for scheme in schemes}
    arriving = {
        scheme.arriving: Scheme("fp32", scheme.granularity, scheme.activation)
        for scheme in schemes
        if scheme.activation != "none"
    }

    def alone(scheme: Scheme) -> float:
        return divergence([scheme_layer(name, module, scheme, input_range=ranges.get(name))])

    return LayerSensitivity(
        layer=name,
        kind=layer_kind(module),
        parameters=module.weight.numel(),
        macs=module.weight.numel() * inputs[name].positions / rows if name in inputs else 0.0,
        weights={key: alone(scheme) for key, scheme in stored.items()},
        activations={key: alone(scheme) for key, scheme in arriving.items()},
        vanished_weights={
            key: vanished_weights(module.weight.data, scheme.weight, scheme.granularity)
            for key, scheme in stored.items()
        },
        vanished_inputs=vanished_inputs(inputs[name], ranges[name]) if name in inputs else 0.0,
        input_range=ranges.get(name),
    )
