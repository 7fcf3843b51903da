"""The edits, losses and measures of texts, on a vision transformer."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from fixtures_images import image_logits, random_pixels, tiny_compact_vit, tiny_vit
from fixtures_models import entries_of

from edgesmith.compress.distill import TaskLoss
from edgesmith.compress.gates import gated, unit_gates
from edgesmith.compress.importance import fisher_importance
from edgesmith.compress.losses import hidden_state_loss
from edgesmith.compress.match import layer_map
from edgesmith.compress.migrate import migrate
from edgesmith.compress.prune import prune_units
from edgesmith.compress.quantize import Divergence, is_small_table, quantizable_layers, uniform_plan
from edgesmith.compress.structure import keep_at_sites, keep_layers
from edgesmith.models import to_compact_vit
from edgesmith.models.coupling import sites
from edgesmith.recipe import DistillConfig
from edgesmith.records import Structure

SIZE = (16, 12)


def test_a_layer_that_is_left_out_is_skipped():
    model, batch = tiny_compact_vit(), random_pixels(size=SIZE)
    smaller = keep_layers(model, [0, 2])
    assert smaller.config.heads_per_layer == [4, 3]
    with torch.no_grad():  # a pre-norm layer whose outputs are 0 adds nothing
        for part in (model.layers[1].attention.output, model.layers[1].ffn.output):
            part.weight.zero_()
            part.bias.zero_()
    torch.testing.assert_close(image_logits(smaller, batch), image_logits(model, batch), atol=1e-5, rtol=0)


def test_units_that_are_left_out_are_those_whose_gates_are_closed():
    model, batch = tiny_compact_vit(), random_pixels(size=SIZE)
    heads = [torch.tensor([0, 3]), torch.tensor([0]), torch.tensor([1, 2])]
    neurons = [torch.arange(0, 48, 2), torch.arange(16), torch.arange(5)]
    kept = [units for layer in zip(heads, neurons, strict=True) for units in layer]
    gates = [
        torch.zeros(site.units).index_fill(0, part, 1.0)
        for site, part in zip(sites(model), kept, strict=True)
    ]
    with gated(model, unit_gates, gates):
        wanted = image_logits(model, batch)
    smaller = keep_at_sites(model, kept)
    assert type(smaller) is type(model)
    torch.testing.assert_close(image_logits(smaller, batch), wanted, atol=1e-5, rtol=0)


def test_importance_finds_the_head_that_does_nothing():
    model = tiny_compact_vit()
    with torch.no_grad():  # head 2 of the first layer: its columns of the output matrix
        model.layers[0].attention.output.weight[:, 16:24] = 0
    importance = fisher_importance(model, [random_pixels(8, SIZE)])
    assert importance.heads[0].argmin() == 2
    assert importance.heads[0][2] == 0
    assert all((scores >= 0).all() for scores in (*importance.heads, *importance.neurons))


def test_pruning_cuts_what_the_structure_says():
    model = to_compact_vit(tiny_vit(intermediate_size=64))
    smaller, reasons = prune_units(model, Structure(depth=3, heads=0.5, neurons=0.5), [random_pixels(8)])
    assert all(count >= 1 for count in smaller.config.heads_per_layer)
    assert (
        6 <= sum(smaller.config.heads_per_layer) <= 8
    )  # half of 12, and one more for a layer that would have none
    assert all(width % 16 == 0 for width in smaller.config.ffn_per_layer)
    assert len(reasons) == 2


def test_a_student_that_is_its_teacher_has_the_teachers_entropy_as_its_loss():
    teacher, batch = to_compact_vit(tiny_vit()), random_pixels()
    config = DistillConfig(hard_label_weight=0.0, hidden_weight=1.0)
    loss = TaskLoss(teacher, teacher, image_logits(teacher, batch), config)
    with torch.no_grad():
        assert float(loss(teacher, batch)[0]) == pytest.approx(0, abs=1e-6)
        assert float(loss(to_compact_vit(tiny_vit(seed=1)), batch)[0]) > 0.1


def test_hidden_states_are_compared_after_normalising():
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(2, 3, 8, generator=generator) for _ in range(2))
    loss = hidden_state_loss([ours * 7 + 3], [theirs], torch.ones(2, 3), normalise=True)
    wanted = F.mse_loss(F.layer_norm(ours, (8,)), F.layer_norm(theirs, (8,)))
    assert float(loss) == pytest.approx(float(wanted), rel=1e-4)


def test_a_shallow_student_follows_the_teachers_last_layer():
    teacher, batch = to_compact_vit(tiny_vit()), random_pixels()
    student = keep_layers(teacher, layer_map(3, 1))
    config = DistillConfig(hard_label_weight=0.0, hidden_weight=1.0)
    without = DistillConfig(hard_label_weight=0.0, hidden_weight=0.0)
    with torch.no_grad():
        total, _ = TaskLoss(student, teacher, image_logits(teacher, batch), config)(student, batch)
        soft, _ = TaskLoss(student, teacher, image_logits(teacher, batch), without)(student, batch)
        last = [
            F.layer_norm(model(batch["pixel_values"], output_hidden_states=True).hidden_states[-1], (32,))
            for model in (student, teacher)
        ]
    assert float(total - soft) == pytest.approx(float(F.mse_loss(*last)), rel=1e-4)


def test_every_matrix_is_quantizable_and_positions_are_a_small_table():
    model = tiny_compact_vit()
    names = set(quantizable_layers(model))
    assert {"embeddings.patch", "embeddings.position", "classifier", "layers.2.ffn.output"} <= names
    assert [name for name in names if is_small_table(name)] == ["embeddings.position"]
    planned = {entry.layer for entry in uniform_plan(model, "").layers}
    assert names - planned == {"embeddings.position"}


@pytest.mark.parametrize(("make", "size"), [(tiny_compact_vit, SIZE), (tiny_vit, (16, 16))])
def test_migrated_scales_keep_the_function(make, size):
    model, batch = make(), random_pixels(size=size)
    migrated = migrate(model, [random_pixels(size=size, seed=1)])
    torch.testing.assert_close(
        image_logits(migrated, batch), image_logits(model, batch), rtol=1e-5, atol=1e-5
    )
    changed = {
        name
        for name, module in quantizable_layers(migrated).items()
        if not torch.equal(module.weight, model.get_submodule(name).weight)
    }
    assert len(changed) >= 2 * 3


def test_divergence_of_nothing_is_nothing_and_of_all_is_something():
    model = tiny_compact_vit()
    divergence = Divergence(model, [random_pixels(8, SIZE)])
    assert divergence([]) == pytest.approx(0, abs=1e-9)
    assert 0 < divergence(entries_of(model, {"embeddings.patch": "int8", "classifier": "int8"})) < 1
