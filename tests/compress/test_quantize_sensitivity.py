from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fixtures_models import random_batch, tiny_compact
from torch import nn

from edgesmith.compress.quantize import Divergence, executed, is_small_table, quantizable_layers, scheme_layer
from edgesmith.compress.quantize_ranges import input_range, observe_inputs, observe_outputs
from edgesmith.compress.quantize_sensitivity import sensitivities
from edgesmith.measure.guards import vanished
from edgesmith.records import NO_NUMBER, Plan, Scheme
from edgesmith.targets import integer_schemes

BATCHES = [random_batch((9, 5), seed=1), random_batch((12, 3, 7), seed=2)]
ROWS = 5


@pytest.fixture(scope="module")
def model():
    return tiny_compact()


@pytest.fixture(scope="module")
def divergence(model):
    return Divergence(model, BATCHES)


@pytest.fixture(scope="module")
def measured(model, divergence):
    """Ranges, and the sensitivities by layer."""
    inputs = observe_inputs(model, BATCHES)
    ranges = {name: input_range(seen, "min_max") for name, seen in inputs.items()}
    schemes = {kind: integer_schemes("onnxruntime", kind) for kind in ("linear", "embedding")}
    told = []
    found = sensitivities(
        model, divergence, schemes, inputs, ranges, ROWS, lambda done, name: told.append((done, name))
    )
    assert told == [(done, layer.layer) for done, layer in enumerate(found, 1)]
    return ranges, {layer.layer: layer for layer in found}


def test_every_layer_but_the_small_tables_is_measured(model, measured):
    layers = quantizable_layers(model)
    assert list(measured[1]) == [name for name in layers if not is_small_table(name)]
    for name, layer in measured[1].items():
        assert layer.parameters == layers[name].weight.numel()
        assert set(layer.weights) == (
            {"int8 per_channel", "int8 per_block", "int4 per_block"}
            if isinstance(layers[name], nn.Linear)
            else {"int8 per_channel", "int4 per_block"}
        )
        assert set(layer.activations) == (
            {"dynamic", "static", "dynamic per_block"} if layer.kind == "linear" else set()
        )


def test_each_part_is_measured_alone(model, divergence, measured):
    name = "layers.0.ffn.output"
    module, (ranges, layers) = model.get_submodule(name), measured

    def alone(scheme):
        return divergence([scheme_layer(name, module, scheme, input_range=ranges[name])])

    layer = layers[name]
    assert layer.weights["int8 per_channel"] == alone(Scheme("int8")) > 0
    assert layer.weights["int4 per_block"] == alone(Scheme("int4", "per_block"))
    assert layer.activations["static"] == alone(Scheme("fp32", activation="static_int8")) > 0
    assert layer.under(Scheme("int4", "per_block", "dynamic_int8")) == (
        layer.weights["int4 per_block"] + layer.activations["dynamic per_block"]
    )
    assert layer.under(Scheme("fp16")) == 0


def test_macs_are_those_of_the_tokens_that_are_computed(measured):
    """A mean of 36 / 5 tokens a row; the last layer's FFN computes one."""
    layers, tokens = measured[1], (9 + 5 + 12 + 3 + 7) / ROWS
    assert layers["layers.0.ffn.output"].macs == pytest.approx(32 * 48 * tokens)
    assert layers["layers.2.ffn.output"].macs == pytest.approx(32 * 20)
    assert layers["embeddings.word"].macs == 0


def test_outputs_that_are_no_numbers_diverge_without_bound(model, divergence):
    module = model.get_submodule("pooler")
    kept = module.weight.data
    module.weight.data = torch.full_like(kept, float("nan"))
    assert divergence([scheme_layer("pooler", module, Scheme("fp32"))]) == NO_NUMBER
    module.weight.data = kept


def test_the_model_is_as_before(model):
    batch, names = BATCHES[0], ("layers.0.ffn.output", "pooler")
    before = model(**{key: batch[key] for key in ("input_ids", "attention_mask")}).logits
    entries = [scheme_layer(name, model.get_submodule(name), Scheme("int4", "per_block")) for name in names]
    with executed(model, entries):
        inside = model(**{key: batch[key] for key in ("input_ids", "attention_mask")}).logits
    after = model(**{key: batch[key] for key in ("input_ids", "attention_mask")}).logits
    assert torch.equal(before, after) and not torch.equal(before, inside)


def test_outputs_count_where_static_layers_give_int8(model, divergence, measured):
    name = "layers.0.ffn.output"
    module, ranges = model.get_submodule(name), measured[0]
    seen = observe_outputs(model, BATCHES)
    low, high = seen[name].low, seen[name].high
    static = Scheme("fp32", activation="static_int8")
    with executed(
        model, [scheme_layer(name, module, static, input_range=ranges[name], output_range=(low, high))]
    ):
        given = module(torch.linspace(-1, 1, 48).view(1, 1, 48))
    steps = given / ((high - low) / 255)
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    found = {
        layer.layer: layer
        for layer in sensitivities(
            model, divergence, {"linear": [Scheme("int8", activation="static_int8")], "embedding": []},
            observe_inputs(model, BATCHES), ranges, ROWS, outputs=seen, output_ranges={name: (low, high)},
        )
    }  # fmt: skip
    assert found[name].output_range == (low, high) and found[name].vanished_outputs < 0.2
    assert found[name].activations["static"] != measured[1][name].activations["static"]
    assert found["pooler"].output_range is None
    assert found["pooler"].activations["static"] == measured[1]["pooler"].activations["static"]


class TalkingHeads(nn.Module):
    """Two heads that mix their masked scores (arXiv:2003.02436), so that the mask's constant reaches a linear layer."""

    def __init__(self, mask: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.word, self.mask = nn.Embedding(97, 8), mask
        self.mix = nn.Linear(2, 2)
        self.mix.weight.data = torch.tensor([[0.9, 0.05], [0.05, 0.9]])
        self.classifier = nn.Linear(8, 2)

    def forward(self, input_ids, attention_mask, **_):
        hidden = self.word(input_ids).unflatten(2, (2, 4)).transpose(1, 2)  # (B, 2, S, 4)
        scores = (
            hidden @ hidden.transpose(2, 3) + (1 - attention_mask)[:, None, None] * self.mask
        )  # (B, 2, S, S)
        mixed = self.mix(scores.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        context = (mixed.softmax(dim=3) @ hidden).transpose(1, 2).flatten(2)  # (B, S, 8)
        return SimpleNamespace(logits=self.classifier(context[:, 0]))


@pytest.mark.parametrize("gives_int8", [False, True])
@pytest.mark.parametrize(("mask", "is_poisoned"), [(-3.4e38, True), (-1.0e4, True), (-20.0, False)])
def test_a_mask_that_poisons_a_range_is_caught_and_named(mask, is_poisoned, gives_int8):
    model, scheme = TalkingHeads(mask).eval(), Scheme("int8", activation="static_int8")
    inputs = observe_inputs(model, BATCHES)
    outputs = observe_outputs(model, BATCHES) if gives_int8 else {}
    ranges, output_ranges = (
        {name: input_range(one, "min_max") for name, one in seen.items()} for seen in (inputs, outputs)
    )
    found = sensitivities(
        model, Divergence(model, BATCHES), {"linear": [scheme], "embedding": []}, inputs, ranges, ROWS,
        outputs=outputs, output_ranges=output_ranges,
    )  # fmt: skip
    entry = scheme_layer(
        "mix", model.mix, scheme, input_range=ranges["mix"], output_range=output_ranges.get("mix")
    )
    told = vanished(Plan(layers=(entry,)), found)
    if not is_poisoned:
        assert told == []
        return
    assert len(told) == 1 + gives_int8
    for side, sentence in zip(("inputs", "outputs"), told, strict=False):
        assert f"of the {side} of mix become 0" in sentence
        assert "a constant of the attention mask reaches it" in sentence
    suffers = {layer.layer: layer.activations["static"] for layer in found if layer.activations}
    assert suffers["mix"] > 10 * suffers["classifier"]
