from __future__ import annotations

import copy

import pytest
import torch
from fixtures_models import logits_of, random_batch, tiny_compact, toy_rows

from edgesmith.compress.distill import TaskLoss, predict_logits
from edgesmith.compress.qat import fake_quantized, straight_through
from edgesmith.compress.quantize import (
    executed,
    is_small_table,
    layer_kind,
    mean_divergence,
    quantizable_layers,
    scheme_layer,
)
from edgesmith.compress.quantize_ranges import input_range, observe_inputs
from edgesmith.compress.training import train
from edgesmith.data.encoding import model_inputs
from edgesmith.errors import StepError
from edgesmith.models.compact import label_loss
from edgesmith.recipe import QatConfig
from edgesmith.records import LayerPlan, Scheme, SilentProgress

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
        label_loss(model(**model_inputs(BATCH)).logits, BATCH["labels"]).backward()
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


# ---- training

TEACHER = tiny_compact(type_vocab_size=0)
ROWS, VALIDATION = toy_rows(160, seed=1), toy_rows(80, seed=2)
CONFIG = QatConfig(epochs=6, learning_rate=5e-3, batch_size=16, evaluations=1, augmented_rows=0.0)


def divergence(model, entries) -> float:
    """From the teacher, on rows that were not trained on."""
    with executed(model, entries):
        return mean_divergence([predict_logits(TEACHER, VALIDATION)], [predict_logits(model, VALIDATION)])


def trained(student, entries, folder, teacher_logits):
    loss = TaskLoss(student, TEACHER, teacher_logits, CONFIG)
    with fake_quantized(student, entries):
        return train(
            student, ROWS, VALIDATION, CONFIG, folder=folder, seed=0, progress=SilentProgress(), title="training the plan",
            loss=loss, beside=loss.beside,
        )  # fmt: skip


def test_a_plan_that_is_trained_is_nearer_to_the_teacher(tmp_path):
    student = copy.deepcopy(TEACHER)
    entries = planned(student, "int4 blocks")
    before = divergence(student, entries)
    trained(student, entries, tmp_path, predict_logits(TEACHER, ROWS))
    assert 0 < divergence(student, entries) < before / 2
    moved = quantizable_layers(student)
    for name, module in quantizable_layers(TEACHER).items():
        assert not torch.equal(moved[name].weight, module.weight), name


def test_a_loss_that_is_no_number_is_named(tmp_path):
    student = copy.deepcopy(TEACHER)
    logits = torch.full((len(ROWS), 2), float("nan"))
    with pytest.raises(
        StepError, match=r"training the plan: the loss became nan at step 1 of 60. Try a lower learning_rate"
    ):
        trained(student, planned(student, "int4"), tmp_path, logits)
