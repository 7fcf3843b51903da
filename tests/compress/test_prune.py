from __future__ import annotations

import numpy as np
import torch
from fixtures_models import HIDDEN, VOCAB, logits_of, random_batch, whole_compact

from edgesmith.compress.importance import fisher_importance
from edgesmith.compress.prune import NEURON_MULTIPLE, prune_embedding, prune_units
from edgesmith.models import shape_of
from edgesmith.records import Structure


def test_a_structure_that_keeps_every_unit_returns_the_model():
    model = whole_compact()
    assert prune_units(model, Structure(depth=3), []) == (model, ["every head and FFN neuron stays"])


def test_units_are_removed_over_all_layers_together():
    model = whole_compact()
    smaller, reasons = prune_units(model, Structure(depth=3, heads=0.5, neurons=2 / 3), [random_batch()])
    shape = shape_of(smaller.config)
    assert sum(shape.heads) in (6, 7, 8)  # half of 12, and at least one a layer
    assert all(neurons % NEURON_MULTIPLE == 0 for neurons in shape.neurons)
    heads = ", ".join(f"{count} of 4" for count in shape.heads)
    neurons = ", ".join(f"{count} of 48" for count in shape.neurons)
    assert reasons == [
        f"heads kept by layer, by Fisher information: {heads}",
        f"FFN neurons kept by layer, likewise: {neurons}",
    ]


def test_the_last_layers_neurons_can_have_a_share_of_their_own():
    structure = Structure(depth=3, neurons=1 / 3, last_neurons=1.0)
    smaller, _ = prune_units(whole_compact(), structure, [random_batch()])
    first, second, last = shape_of(smaller.config).neurons
    assert (first + second, last) == (32, 48)  # a third of 2 x 48, and all of 48
    only_last = Structure(depth=3, last_neurons=1 / 3)
    assert not only_last.keeps_all_units
    assert shape_of(prune_units(whole_compact(), only_last, [random_batch()])[0].config).neurons == (
        48,
        48,
        16,
    )


def test_heads_alone_can_be_removed():
    smaller, _ = prune_units(whole_compact(), Structure(depth=3, heads=0.5), [random_batch()])
    assert shape_of(smaller.config).neurons == (48, 48, 48)


def test_the_word_table_is_cut_and_factorised():
    model = whole_compact()
    smaller, reasons = prune_embedding(model, Structure(depth=3, embedding_rank=16), range(50))
    assert smaller.embeddings.word.weight.shape == (50, 16)
    assert smaller.embeddings.projection.weight.shape == (HIDDEN, 16)
    assert reasons[0].startswith(f"vocabulary {VOCAB} -> 50 tokens")
    assert reasons[1] == f"word table factorised to rank 16 of {HIDDEN}"


def test_without_a_rank_the_kept_rows_stay_as_they_are():
    model, batch = whole_compact(), random_batch(vocab=50)
    smaller, reasons = prune_embedding(model, Structure(depth=3), range(50))
    assert torch.equal(logits_of(smaller, batch), logits_of(model, batch))
    assert len(reasons) == 1


def test_units_can_be_rearranged_by_what_they_carry_together():
    model, batch, asked = whole_compact(), random_batch(), []

    def last_ones(fisher, kept):
        asked.append((fisher, kept))
        return np.arange(len(fisher) - len(kept), len(fisher))

    structure = Structure(depth=3, heads=0.5, neurons=1 / 3)
    smaller, reasons = prune_units(model, structure, [batch], rearrange=last_ones)
    plain, _ = prune_units(model, structure, [batch])
    assert shape_of(smaller.config) == shape_of(plain.config)
    assert [fisher.shape for fisher, _ in asked] == [(4, 4), (48, 48)] * 3
    importance = fisher_importance(model, [batch])
    np.testing.assert_allclose(np.diag(asked[1][0]), importance.neurons[0].numpy(), rtol=1e-4)
    count = smaller.layers[0].ffn.intermediate.out_features
    assert torch.equal(
        smaller.layers[0].ffn.intermediate.weight, model.layers[0].ffn.intermediate.weight[48 - count :]
    )
    assert reasons[-1] == "rearranged in each layer by what they carry together"


def test_what_stays_can_be_tuned():
    model, batch = whole_compact(), random_batch()
    structure = Structure(depth=3, heads=0.5, neurons=1 / 3)
    plain, _ = prune_units(model, structure, [batch])
    tuned, reasons = prune_units(model, structure, [batch], is_tuned=True)
    assert "rescaled" in reasons[-1]
    for ours, theirs in zip(tuned.layers, plain.layers, strict=True):
        ratio = ours.ffn.output.weight / theirs.ffn.output.weight
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-3, atol=1e-3)  # one a neuron
        assert torch.equal(ours.ffn.output.bias, theirs.ffn.output.bias)
        assert torch.equal(ours.attention.qkv.weight, theirs.attention.qkv.weight)
    assert (ratio - 1).abs().max() > 0.01
