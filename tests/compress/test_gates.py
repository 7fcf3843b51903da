"""A model whose gates are closed computes what the pruned one does, for every family and every kind of unit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from fixtures_images import random_pixels, tiny_compact_vit
from fixtures_models import random_batch, tiny_compact
from fixtures_prunable import FAMILIES, ORIGINS, answers, batch_of
from torch import nn

from edgesmith.compress.gates import gate_gradients, gated, hidden_gates, layer_gates, unit_gates
from edgesmith.compress.importance import from_gradients, magnitude_importance
from edgesmith.compress.structure import keep_at_sites, keep_hidden, keep_layers
from edgesmith.models.coupling import hidden_norms, sites, to_prunable

TOLERANCE = {"rtol": 0, "atol": 1e-5}


def chosen(units: int, seed: int) -> torch.Tensor:
    """About half of them, one at least, in order."""
    return (
        torch.randperm(units, generator=torch.Generator().manual_seed(seed))[: max(1, units // 2)]
        .sort()
        .values
    )


def closed(units: int, kept: torch.Tensor) -> torch.Tensor:
    return torch.zeros(units).index_fill(0, kept, 1.0)


@FAMILIES
@pytest.mark.parametrize("kinds", [("heads",), ("neurons",), ("heads", "neurons")])
def test_pruned_heads_and_neurons_equal_closed_gates(family, kinds):
    model, batch = to_prunable(ORIGINS[family]()), batch_of(family)
    kept = [
        chosen(site.units, seed) if site.kind in kinds else torch.arange(site.units)
        for seed, site in enumerate(sites(model))
    ]
    gates = [closed(site.units, units) for site, units in zip(sites(model), kept, strict=True)]
    with gated(model, unit_gates, gates):
        masked = answers(model, batch)
    torch.testing.assert_close(answers(keep_at_sites(model, kept), batch), masked, **TOLERANCE)
    assert (masked - answers(model, batch)).abs().max() > 1e-3  # and the gates are gone again


@pytest.mark.parametrize(
    ("make", "batch"), [(tiny_compact, random_batch()), (tiny_compact_vit, random_pixels(size=(16, 12)))]
)
def test_gates_of_one_change_nothing_and_a_gate_of_zero_removes_its_unit(make, batch):
    """Of models whose layers differ in width."""
    model = make()
    expected = answers(model, batch)
    gates = [torch.ones(site.units) for site in sites(model)]
    with gated(model, unit_gates, gates):
        torch.testing.assert_close(answers(model, batch), expected, **TOLERANCE)
    gates[0][2] = gates[3][3] = 0  # a head of the first layer, a neuron of the second
    with gated(model, unit_gates, gates):
        found = answers(model, batch)
    with torch.no_grad():
        model.layers[0].attention.output.weight[:, 2 * 8 : 3 * 8] = 0
        model.layers[1].ffn.output.weight[:, 3] = 0
    torch.testing.assert_close(found, answers(model, batch), **TOLERANCE)
    assert (found - expected).abs().max() > 1e-3


@FAMILIES
@pytest.mark.parametrize("layer", [0, 1])
def test_a_dropped_layer_equals_a_closed_gate(family, layer):
    model, batch = to_prunable(ORIGINS[family]()), batch_of(family)
    depth = sites(model)[-1].layer + 1
    kept = [index for index in range(depth) if index != layer]
    with gated(model, layer_gates, [torch.tensor([float(index in kept)]) for index in range(depth)]):
        masked = answers(model, batch)
    torch.testing.assert_close(answers(keep_layers(model, kept), batch), masked, **TOLERANCE)
    assert (masked - answers(model, batch)).abs().max() > 1e-3


class KeptNorm(nn.Module):
    """A LayerNorm that sees some units only, behind which the others are 0."""

    def __init__(self, norm: nn.LayerNorm, kept: torch.Tensor) -> None:
        super().__init__()
        self.norm, self.kept = norm, kept

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        part = F.layer_norm(
            hidden[..., self.kept],
            self.kept.shape,
            self.norm.weight[self.kept],
            self.norm.bias[self.kept],
            self.norm.eps,
        )
        return torch.zeros_like(hidden).index_copy(-1, self.kept, part)


@FAMILIES
def test_pruned_hidden_units_equal_closed_gates_where_norms_see_what_is_left(family):
    model, batch = to_prunable(ORIGINS[family]()), batch_of(family)
    kept = chosen(model.config.hidden_size, 3)
    masked = to_prunable(model)
    for norm in hidden_norms(model):
        path = next(name for name, module in model.named_modules() if module is norm)
        if isinstance(norm, nn.LayerNorm):
            parent, _, name = path.rpartition(".")
            setattr(masked.get_submodule(parent), name, KeptNorm(norm, kept))
    gate = closed(model.config.hidden_size, kept)
    if getattr(masked, "pooler", None) is not None:  # its outputs are cut like the units
        masked.classifier.weight.data *= gate
    if family.startswith("mobilebert"):  # its norms take no statistics: gates alone do
        with gated(masked, hidden_gates, [gate]):
            wanted = answers(masked, batch)
    else:
        wanted = answers(masked, batch)
    torch.testing.assert_close(answers(keep_hidden(model, kept), batch), wanted, **TOLERANCE)
    assert (wanted - answers(model, batch)).abs().max() > 1e-3


@FAMILIES
def test_the_gradient_of_a_gate_is_the_finite_difference_row_by_row(family):
    model, batch = to_prunable(ORIGINS[family]()), batch_of(family)
    counts = [site.units for site in sites(model)]
    found = gate_gradients(model, [batch], unit_gates, counts)
    assert [tuple(rows.shape) for rows in found] == [(4, units) for units in counts]
    model.double()
    doubled = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    for place in (0, 1, len(counts) - 1):
        gates = [torch.ones(units, dtype=torch.float64) for units in counts]
        losses = []
        for step in (1e-4, -1e-4):
            gates[place][0] = 1 + step
            with gated(model, unit_gates, gates):
                losses.append(F.cross_entropy(answers(model, doubled), batch["labels"], reduction="none"))
        slope = (losses[0] - losses[1]) / 2e-4
        torch.testing.assert_close(found[place][:, 0].double(), slope, rtol=1e-2, atol=1e-4)


def test_importances_by_hand():
    gradients = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
    assert from_gradients(gradients, "fisher").tolist() == [1 + 9, 4 + 0.25]
    assert from_gradients(gradients, "taylor").tolist() == [1 + 3, 2 + 0.5]


@FAMILIES
def test_magnitudes_are_the_weights_that_go_with_a_unit(family):
    model = to_prunable(ORIGINS[family]())
    found, places = magnitude_importance(model), sites(model)
    for index in (0, 1):
        site, unit = places[index], places[index].units - 1
        kept = [torch.arange(place.units) for place in places]
        kept[index] = kept[index][:-1]
        smaller, total = keep_at_sites(model, kept), 0.0
        for name in (*site.makers, site.reader):
            before, after = (each.get_submodule(name).weight.detach().double() for each in (model, smaller))
            total += float(before.pow(2).sum() - after.pow(2).sum())
        assert float(found[index][unit]) == pytest.approx(total, rel=1e-4)
