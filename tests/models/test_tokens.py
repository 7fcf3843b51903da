"""Models with logits for each token: the compact form computes what the family computes, and each door checks the head."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fixtures_models import LABELS, POSITIONS, VOCAB, logits_of, random_batch, tiny_bert
from fixtures_words import fast_tokenizer
from transformers import (
    AutoModelForTokenClassification,
    BertConfig,
    BertForTokenClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForTokenClassification,
    PreTrainedModel,
    set_seed,
)

from edgesmith.compress.structure import keep_layers, keep_positions, keep_tokens
from edgesmith.errors import ModelError
from edgesmith.models import CompactBertForTokenClassification, load_token_classifier, to_compact

TAGS = ("O", "B-PER", "I-PER")
BERT = {
    "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": POSITIONS, "initializer_range": 0.2,
}  # fmt: skip


def bert(
    kind: type[PreTrainedModel] = BertForTokenClassification, labels: tuple[str, ...] = TAGS
) -> PreTrainedModel:
    set_seed(0)
    names = dict(enumerate(labels))
    return kind(BertConfig(**BERT, id2label=names, label2id={name: i for i, name in names.items()})).eval()


def distilbert() -> PreTrainedModel:
    set_seed(0)
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": POSITIONS}
    return DistilBertForTokenClassification(
        DistilBertConfig(vocab_size=VOCAB, **sizes, num_labels=3, initializer_range=0.2)
    ).eval()


def save(model: PreTrainedModel, folder: Path) -> str:
    model.save_pretrained(folder)
    fast_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("make", [bert, distilbert])
def test_the_compact_form_has_the_logits_of_every_token(make) -> None:
    model = make()
    compact, batch = to_compact(model), random_batch(pairs=make is bert)
    assert isinstance(compact, CompactBertForTokenClassification)
    wanted, real = logits_of(model, batch), batch["attention_mask"].bool()
    assert wanted.shape == (*real.shape, 3)
    assert torch.allclose(logits_of(compact, batch)[real], wanted[real], atol=1e-5)


def test_the_loss_leaves_out_tokens_that_do_not_count() -> None:
    model, batch = bert(), random_batch()
    labels = torch.full_like(batch["input_ids"], -100)
    labels[:, 0] = torch.tensor([0, 1, 2, 1])
    compact = to_compact(model)
    wanted = logits_of(model, batch, labels=None)
    loss = compact(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"], labels=labels).loss
    assert loss.item() == pytest.approx(
        torch.nn.functional.cross_entropy(wanted[:, 0], labels[:, 0]).item(), abs=1e-5
    )


def test_a_cut_model_opens_again(tmp_path: Path) -> None:
    compact = keep_positions(keep_layers(to_compact(bert()), [1]), 20)
    smaller = keep_tokens(compact, [0, *range(5, 60)])
    smaller.save_pretrained(tmp_path)
    opened = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    assert isinstance(opened, CompactBertForTokenClassification)
    batch = random_batch((9, 4), vocab=50, pairs=False)
    assert torch.equal(logits_of(opened, batch), logits_of(smaller, batch))


def test_a_trained_head_keeps_the_order_of_its_labels(tmp_path: Path) -> None:
    source = save(bert(labels=("I-PER", "O", "B-PER", "B-LOC")), tmp_path)
    loaded = load_token_classifier(source, TAGS)
    assert loaded.has_head
    assert list(loaded.model.config.id2label.values()) == ["I-PER", "O", "B-PER", "B-LOC"]


def test_a_model_without_a_head_gets_one(tmp_path: Path) -> None:
    loaded = load_token_classifier(save(bert(BertModel), tmp_path), TAGS)
    assert not loaded.has_head
    assert loaded.model.classifier.out_features == 3


def test_heads_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"does not know the labels 'I-PER' of the data; its own are O, B-PER\. Give data"
    ):
        load_token_classifier(save(bert(labels=("O", "B-PER")), tmp_path / "few"), TAGS)
    other = save(tiny_bert(id2label=dict(enumerate(LABELS))), tmp_path / "other")
    with pytest.raises(
        ModelError,
        match=r"is a BertForSequenceClassification, which has the head of another task, text-classification",
    ):
        load_token_classifier(other, TAGS)
