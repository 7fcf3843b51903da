"""What training and measuring do where each token has logits: the tokens that count are so many plain choices."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from fixtures_models import VOCAB
from fixtures_words import PIECES, fast_tokenizer
from transformers import BertConfig, BertForTokenClassification, set_seed

from edgesmith.compress.augment import TextAugmentation, nearest_words
from edgesmith.compress.distill import TaskLoss, predict_logits
from edgesmith.compress.importance import fisher_importance
from edgesmith.compress.losses import soft_label_loss
from edgesmith.compress.quantize import Divergence
from edgesmith.compress.training import hard_label_loss
from edgesmith.data.encoding import COUNTED, choices, model_inputs
from edgesmith.data.examples import IGNORED_LABEL, TextExamples
from edgesmith.data.window_encoding import EncodedTags, encode_tags
from edgesmith.models import CompactBertForTokenClassification, to_compact
from edgesmith.recipe import TeachingConfig

NAMES = ("O", "B-PER", "I-PER")
TEXTS = ("ada lovelace was born in london .", "a rainy day over the hill", "on")
TAGS = (("B-PER", "I-PER", "O", "O", "O", "O", "O"), ("O",) * 6, ("O",))
PLAIN = TeachingConfig(hidden_weight=0, augmented_rows=0, joined_batches=0)


def model(seed: int = 0) -> CompactBertForTokenClassification:
    set_seed(seed)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = BertConfig(vocab_size=VOCAB, **sizes, initializer_range=0.2, num_labels=3)
    compact = to_compact(BertForTokenClassification(config))
    assert isinstance(compact, CompactBertForTokenClassification)
    return compact


def rows(max_length: int = 16) -> EncodedTags:
    return encode_tags(fast_tokenizer(), TextExamples(TEXTS, None, TAGS), max_length, NAMES)


def batch_of(encoded: EncodedTags) -> dict[str, torch.Tensor]:
    return encoded.collate([encoded[row] for row in range(len(encoded))])


def test_logits_of_all_rows_are_those_of_each_row_alone() -> None:
    encoded, student = rows(max_length=7), model()
    logits = predict_logits(student, encoded, batch_size=2)
    assert logits.shape == (len(encoded), max(encoded.lengths), 3)
    for row, length in enumerate(encoded.lengths):
        alone = student(**model_inputs(encoded.collate([encoded[row]]))).logits.detach()
        assert torch.allclose(logits[row, :length], alone[0], atol=1e-5)
        assert not logits[row, length:].any()


def test_a_student_learns_from_the_tokens_that_count() -> None:
    encoded, teacher, student = rows(), model(0), model(1)
    batch, table = batch_of(encoded), predict_logits(teacher, encoded)
    loss, output = TaskLoss(student, teacher, table, PLAIN)(student, batch)
    words = sum(map(len, TAGS))
    ours, theirs = choices(output.logits, batch), choices(table, batch)
    assert ours.shape == (words, 3)
    labels = torch.tensor([NAMES.index(tag) for tags in TAGS for tag in tags])
    assert torch.allclose(loss, soft_label_loss(ours, theirs, labels, PLAIN))
    hard, _ = hard_label_loss(student, batch)
    assert torch.allclose(hard, F.cross_entropy(ours, labels))


def test_the_teacher_labels_every_token_of_a_changed_text() -> None:
    encoded, teacher, student = rows(), model(0), model(1)
    config = TeachingConfig(hidden_weight=0, augmented_rows=1, replaced_words=1, joined_batches=0)
    nearest = nearest_words(teacher.get_parameter("embeddings.word.weight"), range(4, len(PIECES)))
    augment = TextAugmentation.of(config, nearest, torch.arange(VOCAB), 0)
    assert augment is not None
    batch, table = batch_of(encoded), torch.zeros_like(predict_logits(teacher, encoded))
    torch.manual_seed(0)
    changed = augment(batch)
    assert changed["changed"].all()
    assert (changed["labels"] == IGNORED_LABEL).all()
    torch.manual_seed(0)
    loss, output = TaskLoss(student, teacher, table, config, augment)(student, batch)
    wanted = teacher(**model_inputs(changed)).logits.detach()
    none = torch.full((sum(map(len, TAGS)),), IGNORED_LABEL)
    assert torch.allclose(
        loss, soft_label_loss(choices(output.logits, batch), choices(wanted, batch), none, config)
    )


def test_importance_comes_from_the_tokens_that_count() -> None:
    student, batch = model(), batch_of(rows())
    found = fisher_importance(student, [batch])
    other = batch | {"labels": torch.where(batch[COUNTED], batch["labels"], torch.tensor(2))}
    again = fisher_importance(student, [other])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found.heads, again.heads, strict=True))
    assert all(neurons.sum() > 0 for neurons in found.neurons)


def test_divergence_is_a_mean_over_the_tokens_that_count() -> None:
    student, batch = model(), batch_of(rows())
    divergence = Divergence(student, [batch])
    assert divergence([]) == 0
    with torch.no_grad():
        before = choices(student(**model_inputs(batch)).logits, batch).log_softmax(dim=-1)
        student.classifier.bias += torch.tensor([0.5, 0.0, 0.0])
        after = choices(student(**model_inputs(batch)).logits, batch).log_softmax(dim=-1)
    wanted = (before.exp() * (before - after)).sum(dim=-1).mean().item()
    assert divergence([]) == pytest.approx(wanted, rel=1e-4)
