from __future__ import annotations

import pytest
import torch
from fixtures_models import (
    POSITIONS,
    SECOND_SENTENCES,
    SENTENCES,
    logits_of,
    minilm,
    random_batch,
    tiny_bert,
    tiny_compact,
    tiny_distilbert,
)

from edgesmith.models import CompactBertConfig, CompactBertForSequenceClassification, to_compact
from edgesmith.models.compact import MASK_VALUE

TOLERANCE = {"rtol": 0, "atol": 1e-5}


@pytest.mark.parametrize("pairs", [False, True])
def test_bert_and_its_compact_form_give_the_same_logits_and_hidden_states(pairs):
    model, batch = tiny_bert(), random_batch(pairs=pairs)
    compact = to_compact(model)
    torch.testing.assert_close(logits_of(compact, batch), logits_of(model, batch), **TOLERANCE)
    inputs = {name: value for name, value in batch.items() if name not in ("labels", "row")}
    with torch.no_grad():
        ours = compact(**inputs, output_hidden_states=True).hidden_states
        theirs = model(**inputs, output_hidden_states=True).hidden_states
    assert len(ours) == 1 + 3
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, **TOLERANCE)


def test_distilbert_and_its_compact_form_give_the_same_logits():
    model, batch = tiny_distilbert(), random_batch(pairs=False)
    expected = logits_of(model, batch)
    assert expected.shape == (4, 3)
    torch.testing.assert_close(logits_of(to_compact(model), batch), expected, **TOLERANCE)


@pytest.mark.parametrize("pairs", [False, True])
def test_minilm_and_its_compact_form_give_the_same_logits(pairs):
    loaded = minilm()
    seconds = list(SECOND_SENTENCES) if pairs else None
    batch = dict(loaded.tokenizer(list(SENTENCES), seconds, padding=True, return_tensors="pt"))
    expected = logits_of(loaded.model, batch)
    assert expected.std(dim=0).min() > 1e-3  # the sentences differ
    torch.testing.assert_close(logits_of(to_compact(loaded.model), batch), expected, **TOLERANCE)


def test_what_stands_behind_the_mask_does_not_matter():
    model, batch = tiny_compact(), random_batch()
    other = batch | {"input_ids": torch.where(batch["attention_mask"] == 1, batch["input_ids"], 5)}
    assert not torch.equal(other["input_ids"], batch["input_ids"])
    assert torch.equal(logits_of(model, other), logits_of(model, batch))


def test_a_padded_row_is_the_row_alone():
    model, lengths = tiny_compact(), (9, 5, 12, 1)
    batch = random_batch(lengths)
    together = logits_of(model, batch)
    for row, length in enumerate(lengths):
        alone = {name: value[row : row + 1, :length] for name, value in batch.items() if value.dim() == 2}
        torch.testing.assert_close(logits_of(model, alone)[0], together[row], **TOLERANCE)


def test_without_a_mask_every_token_counts():
    model, batch = tiny_compact(), random_batch((6, 6))
    del batch["attention_mask"]
    torch.testing.assert_close(logits_of(model, batch), logits_of(model, random_batch((6, 6))))


def test_without_token_types_they_are_zero():
    model, batch = tiny_compact(), random_batch()
    zeros = batch | {"token_type_ids": torch.zeros_like(batch["input_ids"])}
    del batch["token_type_ids"]
    assert torch.equal(logits_of(model, batch), logits_of(model, zeros))


def test_the_last_layer_of_one_token_is_the_whole_computation():
    model, batch = tiny_compact(), random_batch()
    whole = logits_of(model, batch, output_hidden_states=True)
    torch.testing.assert_close(logits_of(model, batch), whole, **TOLERANCE)


def test_only_the_last_layer_computes_one_token():
    model, seen = tiny_compact(), []
    for layer in model.layers:
        layer.register_forward_hook(lambda *call: seen.append(call[2].shape[1]))
    logits_of(model, random_batch((9, 5)))
    assert seen == [9, 9, 1]
    logits_of(model, random_batch((9, 5)), output_hidden_states=True)
    assert seen[3:] == [9, 9, 9]


def test_labels_add_the_cross_entropy():
    batch = random_batch()
    model = tiny_compact()
    output = model(
        batch["input_ids"], batch["attention_mask"], batch["token_type_ids"], labels=batch["labels"]
    )
    picked = output.logits.log_softmax(dim=-1)[torch.arange(4), batch["labels"]]
    torch.testing.assert_close(output.loss, -picked.mean())


def test_a_single_output_is_a_score_with_the_loss_of_transformers():
    model, batch = tiny_bert(id2label={0: "score"}), random_batch()
    inputs = batch | {"labels": torch.tensor([0.5, 2.0, -1.0, 4.0])}
    expected = model(**{name: value for name, value in inputs.items() if name != "row"}).loss
    assert to_compact(model)(**inputs).loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_mask_is_finite_and_still_zero_after_softmax():
    assert torch.tensor([0.0, MASK_VALUE]).softmax(dim=0).tolist() == [1.0, 0.0]


def test_word_embeddings_are_where_transformers_looks_for_them():
    model = tiny_compact()
    assert model.get_input_embeddings() is model.embeddings.word


def test_a_config_with_lists_of_different_lengths_is_refused():
    config = CompactBertConfig(heads_per_layer=[2, 2], ffn_per_layer=[16])
    with pytest.raises(ValueError, match="shorter"):
        CompactBertForSequenceClassification(config)


def test_the_longest_input_is_the_position_table():
    model = tiny_compact()
    assert logits_of(model, random_batch((POSITIONS,))).shape == (1, 2)
    with pytest.raises(RuntimeError, match=str(POSITIONS)):
        logits_of(model, random_batch((POSITIONS + 1,)))
