from __future__ import annotations

import torch
from fixtures_models import HIDDEN, VOCAB, logits_of, random_batch, whole_compact

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
