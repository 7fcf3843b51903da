from __future__ import annotations

import pytest
import torch
from fixtures_models import logits_of, random_batch, tiny_bert, tiny_compact

from edgesmith.models import to_compact
from edgesmith.models.insides import watched

TOLERANCE = {"rtol": 0, "atol": 1e-5}


def run(model, batch, **more):
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    with torch.no_grad():
        return model(**inputs, **more)


def test_scores_are_those_that_bert_attends_by():
    """`transformers` returns attention after the softmax; ours, masked and through a softmax, must be the same."""
    model, batch = tiny_bert(attn_implementation="eager"), random_batch()
    compact = to_compact(model)
    with watched(compact, range(3)) as seen:
        run(compact, batch)
    expected = run(model, batch, output_attentions=True).attentions
    hidden = (batch["attention_mask"] == 0)[:, None, None, :]
    for layer, attention in enumerate(expected):
        found = seen[layer].scores().masked_fill(hidden, -torch.inf).softmax(dim=-1)
        torch.testing.assert_close(found, attention, **TOLERANCE)


def test_queries_keys_and_values_are_the_projections_of_the_hidden_states():
    model, batch = tiny_compact(), random_batch()
    with watched(model, [0, 2]) as seen:
        states = run(model, batch, output_hidden_states=True).hidden_states
    assert sorted(seen) == [0, 2]
    for layer, projected in seen.items():
        attention = model.layers[layer].attention
        expected = attention.qkv(states[layer]).split(attention.width, dim=-1)
        for found, wanted in zip(projected.all, expected, strict=True):
            assert torch.equal(found, wanted)
        heads = model.config.heads_per_layer[layer]
        assert projected.scores().shape == (4, heads, 12, 12)


def test_the_last_layer_shows_every_token_where_it_computes_one():
    model, batch = tiny_compact(), random_batch()
    with watched(model, [2]) as seen:
        run(model, batch)
    short = seen[2]
    with watched(model, [2]) as seen:
        run(model, batch, output_hidden_states=True)
    torch.testing.assert_close(short.query, seen[2].query, **TOLERANCE)
    assert short.query.shape[:2] == batch["input_ids"].shape


def test_watching_changes_nothing_and_leaves_nothing_behind():
    model, batch = tiny_compact(), random_batch()
    expected = logits_of(model, batch)
    with watched(model, range(3)):
        assert torch.equal(logits_of(model, batch), expected)
    with pytest.raises(ValueError, match="stop"), watched(model, range(3)):
        raise ValueError("stop")
    assert not any(layer.attention.qkv._forward_hooks for layer in model.layers)


def test_gradients_flow_through_what_is_seen():
    model, batch = tiny_compact(), random_batch()
    with watched(model, [1]) as seen:
        model(batch["input_ids"], batch["attention_mask"])
    seen[1].scores().sum().backward()
    assert model.layers[1].attention.qkv.weight.grad.abs().sum() > 0
    assert model.layers[0].ffn.output.weight.grad.abs().sum() > 0
