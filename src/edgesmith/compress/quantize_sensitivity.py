"""What the outputs suffer from each layer, and in it from weights and from activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
    *,
    outputs: Mapping[str, Inputs] | None = None,
    output_ranges: Mapping[str, Range] | None = None,
) -> tuple[LayerSensitivity, ...]:
    """Of every layer but the small tables.

    Args:
        divergence: of the model.
        schemes: integer ones, in which linear layers and tables may be stored.
        inputs, ranges: of every linear layer, on rows that they were observed on.
        outputs, output_ranges: the same where static layers give INT8.
        rows: how many these were; MACs are of one.
        on_layer: told how many layers are done, and which was the last.
    """
    found = []
    layers = {name: module for name, module in quantizable_layers(model).items() if not is_small_table(name)}
    for done, (name, module) in enumerate(layers.items(), 1):
        sides = _Sides(
            inputs.get(name), ranges.get(name), (outputs or {}).get(name), (output_ranges or {}).get(name)
        )
        found.append(_measure(name, module, divergence, schemes[layer_kind(module)], sides, rows))
        on_layer(done, name)
    return tuple(found)


@dataclass(frozen=True)
class _Sides:
    """What a linear layer read and gave; None of a table."""

    inputs: Inputs | None
    input_range: Range | None
    outputs: Inputs | None
    output_range: Range | None


def _vanished(seen: Inputs | None, value_range: Range | None) -> float:
    return vanished_inputs(seen, value_range) if seen is not None and value_range is not None else 0.0


def _measure(
    name: str,
    module: nn.Linear | nn.Embedding,
    divergence: Divergence,
    schemes: Sequence[Scheme],
    sides: _Sides,
    rows: int,
) -> LayerSensitivity:
    stored = {scheme.stored: Scheme(scheme.weight, scheme.granularity) for scheme in schemes}
    arriving = {
        scheme.arriving: Scheme("fp32", scheme.granularity, scheme.activation)
        for scheme in schemes
        if scheme.activation != "none"
    }

    def alone(scheme: Scheme) -> float:
        entry = scheme_layer(
            name, module, scheme, input_range=sides.input_range, output_range=sides.output_range
        )
        return divergence([entry])

    return LayerSensitivity(
        layer=name,
        kind=layer_kind(module),
        parameters=module.weight.numel(),
        macs=module.weight.numel() * sides.inputs.positions / rows if sides.inputs else 0.0,
        weights={key: alone(scheme) for key, scheme in stored.items()},
        activations={key: alone(scheme) for key, scheme in arriving.items()},
        vanished_weights={
            key: vanished_weights(module.weight.data, scheme.weight, scheme.granularity)
            for key, scheme in stored.items()
        },
        vanished_inputs=_vanished(sides.inputs, sides.input_range),
        input_range=sides.input_range,
        vanished_outputs=_vanished(sides.outputs, sides.output_range),
        output_range=sides.output_range,
    )
