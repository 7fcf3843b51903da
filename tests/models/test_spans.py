"""Models that answer questions: their head is a token classifier's with two labels, and computes what theirs does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fixtures_models import LABELS, POSITIONS, VOCAB, logits_of, random_batch, tiny_bert
from fixtures_words import fast_tokenizer
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForTokenClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForQuestionAnswering,
    PreTrainedModel,
    set_seed,
)

from edgesmith.errors import ModelError
from edgesmith.models import load_span_finder, load_token_classifier, save_classifier, to_compact

SIZES = {
    "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": POSITIONS, "initializer_range": 0.2,
}  # fmt: skip


def bert(kind: type[PreTrainedModel] = BertForQuestionAnswering, **changes: object) -> PreTrainedModel:
    set_seed(0)
    return kind(BertConfig(**SIZES, **changes)).eval()


def distilbert() -> PreTrainedModel:
    set_seed(0)
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": POSITIONS}
    return DistilBertForQuestionAnswering(
        DistilBertConfig(vocab_size=VOCAB, **sizes, initializer_range=0.2)
    ).eval()


def save(model: PreTrainedModel, folder: Path) -> str:
    save_classifier(model, fast_tokenizer(), folder)
    return str(folder)


@pytest.mark.parametrize("make", [bert, distilbert])
def test_start_and_end_are_the_logits_of_two_labels(make, tmp_path: Path) -> None:
    model = make()
    loaded = load_span_finder(save(model, tmp_path))
    assert loaded.has_head
    batch = random_batch(pairs=make is bert)
    with torch.no_grad():
        wanted = model(**batch)
    real = batch["attention_mask"].bool()
    for found in (loaded.model, to_compact(loaded.model)):
        logits = logits_of(found, batch)
        assert torch.allclose(logits[real][:, 0], wanted.start_logits[real], atol=1e-5)
        assert torch.allclose(logits[real][:, 1], wanted.end_logits[real], atol=1e-5)
        assert list(found.config.id2label.values()) == ["start", "end"]


def test_what_was_saved_opens_again_with_its_head(tmp_path: Path) -> None:
    first = load_span_finder(save(bert(), tmp_path / "first")).model
    again = load_span_finder(save(first, tmp_path / "again"))
    assert again.has_head
    compact = load_span_finder(save(to_compact(first), tmp_path / "compact"))
    assert compact.has_head
    batch = random_batch()
    assert torch.equal(logits_of(again.model, batch), logits_of(first, batch))
    assert torch.allclose(logits_of(compact.model, batch), logits_of(first, batch), atol=1e-5)


def test_a_model_without_a_head_gets_one(tmp_path: Path) -> None:
    loaded = load_span_finder(save(bert(BertModel), tmp_path))
    assert not loaded.has_head
    assert loaded.model.classifier.out_features == 2


def test_heads_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    classes = save(tiny_bert(id2label=dict(enumerate(LABELS))), tmp_path / "classes")
    with pytest.raises(
        ModelError, match=r"is a BertForSequenceClassification, .* ends in ForQuestionAnswering"
    ):
        load_span_finder(classes)
    tags = save(bert(BertForTokenClassification, id2label={0: "O", 1: "B-PER"}), tmp_path / "tags")
    with pytest.raises(ModelError, match=r"BertForTokenClassification, .* task, token-classification"):
        load_span_finder(tags)
    spans = save(bert(), tmp_path / "spans")
    with pytest.raises(ModelError, match=r"BertForQuestionAnswering, .* task, question-answering"):
        load_token_classifier(spans, ("O", "B-PER"))


def test_a_head_whose_weights_are_lost_is_refused(tmp_path: Path) -> None:
    model = bert()
    save(model, tmp_path)
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith("qa_outputs")}
    model.save_pretrained(tmp_path, state_dict=kept)
    with pytest.raises(ModelError, match=r"lacks weights .*classifier"):
        load_span_finder(str(tmp_path))
