from __future__ import annotations

import pytest
import torch
from fixtures_models import logits_of, random_batch, tiny_compact

from edgesmith.compress.qat import fake_quantized, straight_through
from edgesmith.compress.quantize import executed, is_small_table, layer_kind, quantizable_layers, scheme_layer
from edgesmith.compress.quantize_ranges import input_range, observe_inputs
from edgesmith.records import LayerPlan, Scheme

BATCH = random_batch((9, 5, 12, 1))
SCHEMES = {
    "int8": (Scheme("int8", activation="dynamic_int8"), Scheme("int8")),
    "int8 static": (Scheme("int8", activation="static_int8"), Scheme("int8")),
    "int8 blocks": (Scheme("int8", "per_block", "dynamic_int8"), Scheme("int8")),
    "int4": (Scheme("int4", activation="dynamic_int8"), Scheme("int4")),
    "int4 blocks": (Scheme("int4", "per_block", "dynamic_int8"), Scheme("int4", "per_block")),
    "int8 weights": (Scheme("int8"), Scheme("fp32")),
}
"""Of linear layers and of tables."""


def planned(model, name: str) -> list[LayerPlan]:
    linear, table = SCHEMES[name]
    inputs = observe_inputs(model, [BATCH])
    return [
        scheme_layer(
            layer,
            module,
            linear if layer_kind(module) == "linear" else table,
            input_range=input_range(inputs[layer], "percentile") if layer in inputs else None,
        )
        for layer, module in quantizable_layers(model).items()
        if not is_small_table(layer)
    ]


@pytest.mark.parametrize("name", SCHEMES)
def test_training_computes_what_the_plan_is_measured_by(name):
    model = tiny_compact()
    entries, whole = planned(model, name), logits_of(model, BATCH)
    with executed(model, entries):
        wanted = logits_of(model, BATCH)
    with fake_quantized(model, entries):
        assert torch.equal(logits_of(model, BATCH), wanted)
    assert not torch.equal(wanted, whole)
    assert torch.equal(logits_of(model, BATCH), whole)  # and leaves the model as it was


def test_floating_point_layers_compute_as_they_are():
    model = tiny_compact()
    entries = [
        scheme_layer(name, module, Scheme("fp16")) for name, module in quantizable_layers(model).items()
    ]
    with fake_quantized(model, entries):
        assert all("forward" not in vars(module) for module in model.modules())


@pytest.mark.parametrize("name", SCHEMES)
def test_a_gradient_reaches_every_weight_and_its_name_stays(name):
    model = tiny_compact()
    names = list(model.state_dict())
    with fake_quantized(model, planned(model, name)):
        model(
            **{key: BATCH[key] for key in ("input_ids", "attention_mask", "token_type_ids")},
            labels=BATCH["labels"],
        ).loss.backward()
        assert list(model.state_dict()) == names
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, path


def test_the_gradient_goes_past_the_rounding():
    """Of f(x) = (3 round(x))^2 it is 18 round(x): what rounding itself would leave is 0."""
    value = torch.tensor([1.3, -2.6], requires_grad=True)
    (3 * straight_through(value, value.detach().round())).pow(2).sum().backward()
    assert value.grad.tolist() == [18.0, -54.0]


def test_an_input_beyond_a_static_range_has_no_gradient():
    linear = torch.nn.Linear(3, 2)
    model = torch.nn.Sequential(linear)
    scheme = Scheme("int8", activation="static_int8")
    entry = scheme_layer("0", linear, scheme, input_range=(-1.0, 1.0))
    hidden = torch.tensor([[0.5, 1.5, -2.0]], requires_grad=True)
    with fake_quantized(model, [entry]):
        model(hidden).sum().backward()
    weight = linear.weight.detach().sum(dim=0)
    assert hidden.grad[0, 0] == pytest.approx(float(weight[0]), rel=0.02)  # of the rounded weight
    assert hidden.grad[0, 1:].tolist() == [0.0, 0.0]
