from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from fixtures_models import HIDDEN, random_batch, tiny_compact

from edgesmith.compress.gates import gated, unit_gates
from edgesmith.compress.importance import (
    fisher_importance,
    hidden_importance,
    select_hidden,
    select_units,
)
from edgesmith.models.coupling import sites

SLIM = {"heads_per_layer": [2, 1, 3], "ffn_per_layer": [5, 3, 4]}


def loss_of(model, batch, row, gates=None):
    """Cross-entropy of one row, without its padding; through gates, one a site."""
    length = int(batch["attention_mask"][row].sum())
    inputs = {
        name: batch[name][row : row + 1, :length]
        for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    every = gates or [torch.ones(site.units, dtype=model.dtype) for site in sites(model)]
    with gated(model, unit_gates, every):
        logits = model(**inputs).logits
    return F.cross_entropy(logits, batch["labels"][row : row + 1])


def test_fisher_information_is_that_of_single_rows():
    model, batches = tiny_compact(**SLIM), [random_batch((7, 4, 9)), random_batch((3, 5), seed=1)]
    found = fisher_importance(model, batches)
    together = [units for layer in zip(found.heads, found.neurons, strict=True) for units in layer]
    expected = [torch.zeros(len(total)) for total in together]
    for batch in batches:
        for row in range(len(batch["labels"])):
            gates = [torch.ones(len(total), requires_grad=True) for total in expected]
            gradients = torch.autograd.grad(loss_of(model, batch, row, gates), gates)
            for total, gradient in zip(expected, gradients, strict=True):
                total += gradient**2
    for ours, reference in zip(together, expected, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-3, atol=1e-7)


def test_the_gradient_of_a_gate_is_the_finite_difference():
    model, batch, step = tiny_compact(**SLIM).double(), random_batch((6,)), 1e-4
    found = fisher_importance(model.float(), [batch])
    model.double()
    for layer, unit in ((0, 1), (2, 2)):
        losses = []
        for sign in (1, -1):
            gates = [torch.ones(site.units, dtype=torch.float64) for site in sites(model)]
            gates[2 * layer][unit] += sign * step
            losses.append(float(loss_of(model, batch, 0, gates).detach()))
        slope = (losses[0] - losses[1]) / (2 * step)
        assert float(found.heads[layer][unit]) == pytest.approx(slope**2, rel=1e-2)


def test_a_unit_without_influence_has_no_information():
    model = tiny_compact(**SLIM)
    with torch.no_grad():
        model.layers[1].ffn.output.weight[:, 2] = 0
        model.layers[0].attention.output.weight[:, 8:16] = 0  # the second head
    found = fisher_importance(model, [random_batch()])
    assert found.neurons[1][2] == 0
    assert found.heads[0][1] == 0
    assert found.neurons[1][0] > 0 and found.heads[0][0] > 0


def test_parameters_get_no_gradients():
    model = tiny_compact()
    fisher_importance(model, [random_batch()])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_most_important_units_over_all_layers_stay():
    importance = [torch.tensor([9.0, 1.0, 8.0, 2.0]), torch.tensor([3.0, 7.0]), torch.tensor([0.5, 0.4])]
    kept = select_units(importance, 0.5, 1)  # 9, 8, 7, 3; every layer keeps at least one
    assert [part.tolist() for part in kept] == [[0, 2], [0, 1], [0]]


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
def test_counts_are_multiples_near_the_fraction(fraction):
    generator = torch.Generator().manual_seed(0)
    importance = [torch.rand(1536, generator=generator) * scale for scale in (1.0, 1.2, 1.1, 0.9)]
    kept = select_units(importance, fraction, 16)
    assert all(len(part) % 16 == 0 and len(part) >= 16 for part in kept)
    assert sum(map(len, kept)) == pytest.approx(fraction * 4 * 1536, abs=4 * 8)
    for part, scores in zip(kept, importance, strict=True):
        assert part.tolist() == sorted(scores.topk(len(part)).indices.tolist())


@pytest.mark.parametrize("multiple", [1, 16])
def test_a_fraction_of_one_keeps_everything(multiple):
    kept = select_units([torch.rand(40), torch.rand(7)], 1.0, multiple)
    assert [part.tolist() for part in kept] == [list(range(40)), list(range(7))]


def test_equal_units_do_not_all_stay():
    kept = select_units([torch.zeros(32), torch.zeros(32)], 0.5, 1)
    assert sum(map(len, kept)) in (32, 33)  # a layer keeps one at least


# ---- hidden units


def slope(model, batch, row, unit, step=1e-4):
    """Of one row's loss, by finite difference, in the gate of a hidden unit: it scales that entry of every norm."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
    losses = []
    for sign in (1, -1):
        with torch.no_grad():
            for norm in norms:
                norm.weight[unit] *= 1 + sign * step
                norm.bias[unit] *= 1 + sign * step
            losses.append(float(loss_of(model, batch, row)))
            for norm in norms:
                norm.weight[unit] /= 1 + sign * step
                norm.bias[unit] /= 1 + sign * step
    return (losses[0] - losses[1]) / (2 * step)


def test_a_hidden_unit_is_weighed_in_all_layers_together_and_row_by_row():
    model, batch = tiny_compact(**SLIM), random_batch((7, 4, 9))
    found = hidden_importance(model, [batch])
    assert found.shape == (HIDDEN,)
    model.double()
    for unit in (0, 13, HIDDEN - 1):
        expected = sum(slope(model, batch, row, unit) ** 2 for row in range(3))
        assert float(found[unit]) == pytest.approx(expected, rel=1e-2)


def test_weighing_hidden_units_leaves_nothing_behind():
    model, batch = tiny_compact(), random_batch()
    twice = [hidden_importance(model, [batch]), hidden_importance(model, [batch, batch])]
    torch.testing.assert_close(twice[1], 2 * twice[0])
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("fraction", "multiple", "kept"), [(0.5, 1, [1, 3, 4]), (0.5, 4, [0, 1, 3, 4]), (1.0, 4, list(range(6)))]
)
def test_the_most_important_hidden_units_stay(fraction, multiple, kept):
    importance = torch.tensor([5.0, 9.0, 1.0, 8.0, 7.0, 2.0])
    assert select_hidden(importance, fraction, multiple).tolist() == kept
