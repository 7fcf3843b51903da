from __future__ import annotations

import pytest
import torch
from fixtures_models import logits_of, random_batch, tiny_bert, tiny_compact, tiny_distilbert
from torch import nn

from edgesmith.compress.migrate import migrate
from edgesmith.compress.quantize import quantizable_layers
from edgesmith.compress.quantize_ranges import observe_inputs

BATCHES = [random_batch((9, 5), seed=1), random_batch((12, 3, 7), seed=2)]


@pytest.fixture(scope="module")
def outlying():
    """A compact encoder of which one feature leaves every norm 60 times as large."""
    model = tiny_compact()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.data[3] *= 60
    return model


def linear_layers(model):
    return {
        name: module for name, module in quantizable_layers(model).items() if isinstance(module, nn.Linear)
    }


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("make", [tiny_compact, tiny_bert, tiny_distilbert])
def test_the_function_stays(make, alpha):
    model, batch = make(), random_batch((11, 4, 8), seed=5)
    migrated = migrate(model, BATCHES, alpha)
    torch.testing.assert_close(logits_of(migrated, batch), logits_of(model, batch), rtol=1e-5, atol=1e-5)


def test_layers_behind_norms_change_and_the_given_model_does_not(outlying):
    before = {name: value.clone() for name, value in outlying.state_dict().items()}
    migrated = migrate(outlying, BATCHES)
    changed = {
        name
        for name, module in linear_layers(migrated).items()
        if not torch.equal(module.weight, before[f"{name}.weight"])
    }
    parts = ("attention.qkv", "attention.output", "ffn.intermediate")  # values are read by the output
    assert changed == {f"layers.{layer}.{part}" for layer in range(3) for part in parts}
    assert all(torch.equal(value, before[name]) for name, value in outlying.state_dict().items())
    assert set(migrated.state_dict()) == set(before)


def test_inputs_and_weights_share_the_outlier(outlying):
    """At 0.5 both have the largest magnitude sqrt(max|x| max|W|) of each feature (equation 4 of the paper)."""
    name, migrated = "layers.0.attention.qkv", migrate(outlying, BATCHES, 0.5)
    was, now = (observe_inputs(model, BATCHES)[name] for model in (outlying, migrated))
    assert now.high - now.low < (was.high - was.low) / 3
    weight = migrated.get_submodule(name).weight.detach().abs().amax(dim=0)
    assert max(-now.low, now.high) == pytest.approx(float(weight.max()), rel=1e-4)


def test_values_become_as_large_as_queries_and_keys():
    model = tiny_compact()
    model.layers[0].attention.qkv.weight.data[64:] /= 20
    model.layers[0].attention.qkv.bias.data[64:] /= 20
    migrated = migrate(model, BATCHES)
    given = {}
    for one in (model, migrated):
        one.layers[0].attention.qkv.register_forward_hook(
            lambda _, inputs, output, one=one: given.update({one: output})
        )
        logits_of(one, BATCHES[0])
    was, now = (
        given[one][BATCHES[0]["attention_mask"].bool()].abs().amax(dim=0) for one in (model, migrated)
    )
    assert was[64:].max() < was[:64].max() / 5
    torch.testing.assert_close(now[:64], was[:64])
    assert 0.5 < now[64:].max() / now[:64].max() <= 1.001
    assert now[64:].max() / now[64:].median() < was[64:].max() / was[64:].median()


def test_layers_that_read_one_norm_share_its_scales():
    model = tiny_bert()
    migrated = linear_layers(migrate(model, BATCHES))
    names = [name for name in migrated if "layer.1.attention.self." in name]
    assert len(names) == 3
    factors = [migrated[name].weight[0] / linear_layers(model)[name].weight[0] for name in names]
    torch.testing.assert_close(factors[0], factors[1])
    torch.testing.assert_close(factors[0], factors[2])
