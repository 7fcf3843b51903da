from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures_models import HIDDEN, VOCAB, logits_of, random_batch, tiny_bert, tiny_compact, whole_compact
from transformers import BertForMaskedLM, BertForSequenceClassification

from edgesmith.compress.gates import gated, unit_gates
from edgesmith.compress.structure import (
    embedding_energy,
    factorise_embedding,
    fold_token_types,
    keep_at_sites,
    keep_hidden,
    keep_layers,
    keep_positions,
    keep_tokens,
)
from edgesmith.models import shape_of, to_compact
from edgesmith.models.coupling import sites

TOLERANCE = {"rtol": 0, "atol": 1e-5}
MAKERS = pytest.mark.parametrize("make", [tiny_compact, whole_compact])


def units_of(model):
    """Indices of all units, by site."""
    return [torch.arange(site.units) for site in sites(model)]


@MAKERS
def test_keeping_everything_changes_nothing(make):
    model, batch = make(), random_batch()
    expected = logits_of(model, batch)
    depth = len(model.layers)
    for same in (
        keep_at_sites(model, units_of(model)),
        keep_layers(model, range(depth)),
        keep_tokens(model, range(VOCAB)),
        keep_positions(model, model.config.max_position_embeddings),
    ):
        assert same is not model
        assert shape_of(same.config) == shape_of(model.config)
        assert torch.equal(logits_of(same, batch), expected)


def test_removed_units_equal_gates_of_zero():
    model, batch = whole_compact(), random_batch()
    heads = [torch.tensor([0, 2, 3]), torch.tensor([1]), torch.tensor([0, 1, 2, 3])]
    neurons = [torch.arange(0, 48, 3), torch.arange(48), torch.tensor([5, 47])]
    kept = [units for layer in zip(heads, neurons, strict=True) for units in layer]
    smaller = keep_at_sites(model, kept)
    assert shape_of(smaller.config).heads == (3, 1, 4)
    assert shape_of(smaller.config).neurons == (16, 48, 2)
    gates = [
        torch.zeros(site.units).index_fill(0, units, 1.0)
        for site, units in zip(sites(model), kept, strict=True)
    ]
    with gated(model, unit_gates, gates):
        masked = logits_of(model, batch)
    torch.testing.assert_close(logits_of(smaller, batch), masked, **TOLERANCE)
    assert (masked - logits_of(model, batch)).abs().max() > 1e-2


def test_layers_stay_in_the_given_order():
    model, batch = tiny_compact(), random_batch()
    smaller = keep_layers(model, [2, 0])
    assert shape_of(smaller.config).heads == (3, 4)
    assert shape_of(smaller.config).neurons == (20, 48)
    by_hand = keep_layers(model, range(3))
    by_hand.layers = torch.nn.ModuleList([by_hand.layers[2], by_hand.layers[0]])
    assert torch.equal(logits_of(smaller, batch), logits_of(by_hand, batch))


def test_kept_tokens_give_the_same_logits_under_their_new_ids():
    model, batch = tiny_compact(), random_batch()
    used = sorted({0, *batch["input_ids"].flatten().tolist()})
    smaller = keep_tokens(model, used)
    assert smaller.config.vocab_size == len(used) < VOCAB
    remapped = batch | {"input_ids": batch["input_ids"].clone().apply_(used.index)}
    assert torch.equal(logits_of(smaller, remapped), logits_of(model, batch))


# ---- hidden units


class KeptNorm(torch.nn.Module):
    """A LayerNorm over some units; the others come out as 0."""

    def __init__(self, norm, kept):
        super().__init__()
        self.norm, self.kept = norm, kept

    def forward(self, hidden):
        part = hidden[..., self.kept]
        centred = part - part.mean(dim=-1, keepdim=True)
        scaled = centred / (centred.pow(2).mean(dim=-1, keepdim=True) + self.norm.eps).sqrt()
        out = torch.zeros_like(hidden)
        out[..., self.kept] = scaled * self.norm.weight[self.kept] + self.norm.bias[self.kept]
        return out


def masked(model, kept):
    """The whole model whose norms see the kept units only, and whose pooler gives no others."""
    same = keep_layers(model, range(len(model.layers)))
    for module in list(same.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.LayerNorm):
                setattr(module, name, KeptNorm(child, kept))
    dropped = sorted(set(range(HIDDEN)) - set(kept.tolist()))
    with torch.no_grad():
        same.classifier.weight[:, dropped] = 0
    return same


@MAKERS
def test_hidden_units_in_another_order_change_nothing(make):
    model, batch = make(), random_batch()
    order = torch.randperm(HIDDEN, generator=torch.Generator().manual_seed(0))
    turned = keep_hidden(model, order)
    torch.testing.assert_close(logits_of(turned, batch), logits_of(model, batch), **TOLERANCE)
    assert torch.equal(turned.layers[1].ffn_norm.weight, model.layers[1].ffn_norm.weight[order])
    assert torch.equal(turned.embeddings.position.weight, model.embeddings.position.weight[:, order])


@MAKERS
@pytest.mark.parametrize("width", [8, 16, 24])
def test_fewer_hidden_units_are_the_model_whose_norms_see_no_others(make, width):
    """Of the factorised table of rank 16, widths of 8 and 16 multiply the factors out."""
    model, batch = make(), random_batch()
    kept = torch.randperm(HIDDEN, generator=torch.Generator().manual_seed(0))[:width].sort().values
    narrow = keep_hidden(model, kept)
    shape = shape_of(narrow.config)
    assert shape.hidden == width
    assert shape.embedding_rank == min(width, shape_of(model.config).embedding_rank)
    assert (shape.heads, shape.neurons, shape.head_dim) == (
        shape_of(model.config).heads,
        shape_of(model.config).neurons,
        8,
    )
    found = logits_of(narrow, batch)
    torch.testing.assert_close(found, logits_of(masked(model, kept), batch), **TOLERANCE)
    assert (found - logits_of(model, batch)).abs().max() > 1e-2


def test_a_narrow_model_can_be_saved_and_cut_further(tmp_path):
    narrow, batch = keep_hidden(whole_compact(), range(0, HIDDEN, 2)), random_batch()
    narrow.save_pretrained(tmp_path)
    again = type(narrow).from_pretrained(tmp_path).eval()
    assert torch.equal(logits_of(again, batch), logits_of(narrow, batch))
    smaller = keep_at_sites(
        narrow, [torch.arange(min(2 if site.kind == "heads" else 16, site.units)) for site in sites(narrow)]
    )
    assert logits_of(factorise_embedding(smaller, 4), batch).isfinite().all()


def test_the_padding_token_moves_with_its_row():
    model = tiny_compact(pad_token_id=90)
    smaller = keep_tokens(model, [3, 50, 90, 95])
    assert smaller.config.pad_token_id == 2
    assert smaller.embeddings.word.padding_idx == 2
    assert torch.equal(smaller.embeddings.word.weight[2], model.embeddings.word.weight[90])


def test_dropping_the_padding_token_is_refused():
    with pytest.raises(ValueError, match="not in list"):
        keep_tokens(tiny_compact(), [1, 2, 3])


def test_fewer_positions_serve_inputs_that_fit():
    model, batch = tiny_compact(), random_batch((12, 3))
    smaller = keep_positions(model, 12)
    assert smaller.config.max_position_embeddings == 12
    assert torch.equal(logits_of(smaller, batch), logits_of(model, batch))


def test_folded_token_types_serve_single_sentences():
    model, batch = tiny_compact(), random_batch(pairs=False)
    folded = fold_token_types(model)
    assert folded.embeddings.token_type is None
    torch.testing.assert_close(logits_of(folded, batch), logits_of(model, batch), **TOLERANCE)
    assert fold_token_types(folded) is folded


@pytest.mark.parametrize("rank", [1, 5, 20, HIDDEN - 1])
def test_the_factorisation_is_the_best_of_its_rank(rank):
    model = whole_compact()
    smaller = factorise_embedding(model, rank)
    assert shape_of(smaller.config).embedding_rank == rank
    table = model.embeddings.word.weight.detach().double().numpy()
    product = smaller.embeddings.projection(smaller.embeddings.word.weight).detach().double().numpy()
    left_out = np.linalg.svd(table, compute_uv=False)[rank:]  # Eckart and Young 1936
    assert np.linalg.norm(table - product) == pytest.approx(np.sqrt((left_out**2).sum()), rel=1e-4)


@MAKERS
def test_the_energy_of_a_rank_is_what_its_factorisation_keeps(make):
    model = make()
    energy = embedding_energy(model)
    table = product_of(model)
    squares = np.linalg.svd(table, compute_uv=False) ** 2
    np.testing.assert_allclose(energy, squares.cumsum() / squares.sum(), rtol=1e-5)
    for rank in (3, 8):
        kept = product_of(factorise_embedding(model, rank))
        left = ((table - kept) ** 2).sum() / (table**2).sum()
        assert energy[rank - 1] == pytest.approx(1 - left, rel=1e-4)


def product_of(model):
    """(V, H) word vectors."""
    word, projection = model.embeddings.word.weight, model.embeddings.projection
    return (word if projection is None else projection(word)).detach().double().numpy()


def test_a_head_that_was_tied_to_the_word_table_is_left_behind(tmp_path):
    """A masked language model's decoder reads the table as well; a classifier made from it has no such head."""
    masked = BertForMaskedLM(tiny_bert().config)
    assert masked.get_output_embeddings().weight is masked.get_input_embeddings().weight
    masked.save_pretrained(tmp_path / "masked")
    model = BertForSequenceClassification.from_pretrained(tmp_path / "masked").eval()
    smaller, batch = factorise_embedding(to_compact(model), 8), random_batch()
    assert smaller.get_output_embeddings() is None
    smaller.save_pretrained(tmp_path / "smaller")
    again = type(smaller).from_pretrained(tmp_path / "smaller").eval()
    assert torch.equal(logits_of(again, batch), logits_of(smaller, batch))
    found = torch.linalg.matrix_rank(torch.from_numpy(product_of(again)).float())
    assert int(found) == 8


def test_both_factors_carry_the_root_of_the_singular_values():
    model = whole_compact()
    smaller = factorise_embedding(model, 6)
    singular = np.linalg.svd(model.embeddings.word.weight.detach().numpy(), compute_uv=False)[:6]
    for factor in (smaller.embeddings.word.weight, smaller.embeddings.projection.weight):
        norms = factor.detach().norm(dim=0).numpy()
        np.testing.assert_allclose(np.sort(norms)[::-1], np.sqrt(singular), rtol=1e-4)


def test_a_table_of_lower_rank_is_factorised_without_loss():
    model, batch = whole_compact(), random_batch()
    with torch.no_grad():
        model.embeddings.word.weight[:, 10:] = model.embeddings.word.weight[:, :10] @ torch.ones(
            10, HIDDEN - 10
        )
    smaller = factorise_embedding(model, 10)
    torch.testing.assert_close(logits_of(smaller, batch), logits_of(model, batch), rtol=0, atol=1e-4)


@pytest.mark.parametrize("rank", [HIDDEN, HIDDEN + 1])
def test_full_rank_returns_the_model(rank):
    model = whole_compact()
    assert factorise_embedding(model, rank) is model


def test_a_factorised_table_can_be_factorised_again():
    model = whole_compact()
    twice, once = factorise_embedding(factorise_embedding(model, 20), 8), factorise_embedding(model, 8)
    product = [part.embeddings.projection(part.embeddings.word.weight) for part in (twice, once)]
    torch.testing.assert_close(*product, rtol=0, atol=1e-4)
    assert factorise_embedding(twice, 8) is twice


def test_the_given_model_is_left_alone():
    model = tiny_compact()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for smaller in (
        keep_at_sites(model, units_of(model)),
        keep_layers(model, [1]),
        keep_tokens(model, [0, 1]),
        keep_positions(model, 4),
        keep_hidden(model, range(8)),
        fold_token_types(model),
        factorise_embedding(model, 4),
    ):
        assert not smaller.training
        with torch.no_grad():
            for parameter in smaller.parameters():
                parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
