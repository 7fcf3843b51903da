from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures_prunable import FAMILIES, ORIGINS, answers, batch_of

from edgesmith.compress.structure import keep_at_sites
from edgesmith.compress.tuning import Moments, least_squares_scales, tune_masks
from edgesmith.models.coupling import sites, to_prunable


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_scales_are_numpys_least_squares(width, ridge):
    """Every unit's output as a column; the ridge as rows of its own, whose targets are scales of 1."""
    generator = np.random.default_rng(0)
    tokens, units, hidden = 40, 5, 6
    inputs = generator.normal(size=(tokens, units * width))
    weight, target = generator.normal(size=(hidden, units * width)), generator.normal(size=(tokens, hidden))
    columns = np.stack(
        [(inputs[:, part] @ weight[:, part].T).ravel() for part in np.split(np.arange(units * width), units)],
        axis=1,
    )
    pull = np.sqrt(ridge * (columns**2).sum(axis=0).mean())
    expected, *_ = np.linalg.lstsq(
        np.vstack([columns, pull * np.eye(units)]),
        np.concatenate([target.ravel(), pull * np.ones(units)]),
        rcond=None,
    )
    x, y = torch.from_numpy(inputs), torch.from_numpy(target)
    found = least_squares_scales(Moments(x.T @ x, y.T @ x), torch.from_numpy(weight), width, ridge)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_unit_that_gives_nothing_keeps_a_scale_of_1():
    moments = Moments(torch.diag(torch.tensor([2.0, 0.0])), torch.tensor([[6.0, 0.0]]))
    found = least_squares_scales(moments, torch.tensor([[1.0, 1.0]]), 1, ridge=1e-9)
    torch.testing.assert_close(found, torch.tensor([3.0, 1.0]), rtol=0, atol=1e-5)


@FAMILIES
def test_a_whole_model_has_nothing_to_tune(family):
    model, batch = to_prunable(ORIGINS[family]()), batch_of(family)
    student = to_prunable(model)
    scales = tune_masks(student, model, [batch])
    assert len(scales) == len(sites(model))
    for each in scales:
        torch.testing.assert_close(each, torch.ones_like(each), rtol=0, atol=1e-3)
    torch.testing.assert_close(answers(student, batch), answers(model, batch), rtol=0, atol=1e-3)


@FAMILIES
def test_units_that_are_removed_come_back_through_their_doubles(family):
    """Of two equal units one is removed: the other has to count twice, and the logits are the same again."""
    model, batch = to_prunable(ORIGINS[family]()), batch_of(family)
    place = next(index for index, site in enumerate(sites(model)) if site.kind == "neurons")
    site = sites(model)[place]
    maker, reader = model.get_submodule(site.makers[0]), model.get_submodule(site.reader)
    with torch.no_grad():
        maker.bias[0] += 2  # so that a ReLU lets it through
        maker.weight[1], maker.bias[1] = maker.weight[0].clone(), maker.bias[0].clone()
        reader.weight[:, 1] = reader.weight[:, 0]
    kept = [torch.arange(each.units) for each in sites(model)]
    kept[place] = torch.tensor([unit for unit in range(site.units) if unit != 1])
    student = keep_at_sites(model, kept)
    before = (answers(student, batch) - answers(model, batch)).abs().max()
    scales = tune_masks(student, model, [batch], ridge=1e-6)
    assert float(scales[place][0]) == pytest.approx(2, abs=0.05)
    after = (answers(student, batch) - answers(model, batch)).abs().max()
    assert after < before / 5


@FAMILIES
def test_tuning_brings_a_pruned_model_nearer_on_its_rows(family):
    """Also the site-by-site errors that a later site sees are made up for: the sum behind the last layer is nearer."""
    model, batch = to_prunable(ORIGINS[family]()), batch_of(family)
    kept = [torch.arange(max(1, site.units // 2)) for site in sites(model)]
    student = keep_at_sites(model, kept)
    before = sums(student, batch) - sums(model, batch)
    done: list[int] = []
    tune_masks(student, model, [batch], on_layer=done.append)
    after = sums(student, batch) - sums(model, batch)
    assert done == list(range(1, sites(model)[-1].layer + 2))
    assert after.pow(2).sum() < before.pow(2).sum()


def sums(model, batch):
    """The residual sum behind the first site, of tokens that are no padding."""
    seen = []
    site = sites(model)[0]
    handle = model.get_submodule(site.total[0]).register_forward_pre_hook(
        lambda _module, inputs: seen.append(inputs[0])
    )
    answers(model, batch)
    handle.remove()
    return seen[0][batch["attention_mask"].bool()] if "attention_mask" in batch else seen[0]


def test_padding_does_not_count():
    model, batch = to_prunable(ORIGINS["bert"]()), batch_of("bert")
    kept = [torch.arange(max(1, site.units // 2)) for site in sites(model)]
    wide = {
        name: torch.nn.functional.pad(value, (0, 5)) if value.dim() == 2 else value
        for name, value in batch.items()
    }
    scales = [tune_masks(keep_at_sites(model, kept), model, [rows]) for rows in (batch, wide)]
    for narrow, padded in zip(*scales, strict=True):
        torch.testing.assert_close(narrow, padded, rtol=1e-3, atol=1e-3)
