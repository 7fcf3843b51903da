"""What training and measuring do where an answer is two tokens: a row makes two choices among its context's tokens."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from fixtures_models import VOCAB
from fixtures_words import PIECES, fast_tokenizer
from transformers import BertConfig, BertForTokenClassification, set_seed

from edgesmith.compress.augment import TextAugmentation, nearest_words
from edgesmith.compress.distill import TaskLoss, predict_logits
from edgesmith.compress.importance import fisher_importance, hidden_importance
from edgesmith.compress.quantize import Divergence
from edgesmith.compress.training import hard_label_loss
from edgesmith.data.encoding import PLACES, model_inputs
from edgesmith.data.examples import IGNORED_LABEL, TextExamples
from edgesmith.data.span_encoding import EncodedSpans, encode_questions
from edgesmith.models import CompactBertForTokenClassification, to_compact
from edgesmith.recipe import TeachingConfig

CONTEXTS = ("Ada Lovelace was born in London on a rainy day.", "on a day in London")
ASKED = (("Who was born?", 0, "Ada Lovelace"), ("Where?", 0, "London"), ("where was a day?", 1, "in London"))
EXAMPLES = TextExamples(
    tuple(question for question, _, _ in ASKED),
    tuple(CONTEXTS[context] for _, context, _ in ASKED),
    tuple(((answer, CONTEXTS[context].index(answer)),) for _, context, answer in ASKED),
)
PLAIN = TeachingConfig(
    temperature=3, hard_label_weight=0.25, hidden_weight=0, augmented_rows=0, joined_batches=0
)


def model(seed: int = 0) -> CompactBertForTokenClassification:
    set_seed(seed)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = BertConfig(vocab_size=VOCAB, **sizes, initializer_range=0.2, num_labels=2)
    compact = to_compact(BertForTokenClassification(config))
    assert isinstance(compact, CompactBertForTokenClassification)
    return compact


def rows(max_length: int = 18) -> EncodedSpans:
    return encode_questions(fast_tokenizer(), EXAMPLES, max_length)


def batch_of(encoded: EncodedSpans) -> dict[str, torch.Tensor]:
    return encoded.collate([encoded[row] for row in range(len(encoded))])


def by_hand(
    student: torch.Tensor, teacher: torch.Tensor, batch: dict[str, torch.Tensor]
) -> tuple[float, float]:
    """Mean cross-entropy with the labels, and mean KL at temperature 3, over the starts and ends of all rows."""
    hard, soft = [], []
    for row, may in enumerate(batch[PLACES]):
        for side in range(2):
            ours, theirs = student[row, may, side], teacher[row, may, side]
            target = may.nonzero().flatten().tolist().index(int(batch["labels"][row, side]))
            hard.append(-ours.log_softmax(0)[target])
            p, q = (theirs / 3).log_softmax(0), (ours / 3).log_softmax(0)
            soft.append((p.exp() * (p - q)).sum())
    return torch.stack(hard).mean().item(), torch.stack(soft).mean().item()


def test_a_student_learns_starts_and_ends() -> None:
    encoded, teacher, student = rows(), model(0), model(1)
    batch, table = batch_of(encoded), predict_logits(teacher, encoded)
    loss, output = TaskLoss(student, teacher, table, PLAIN)(student, batch)
    hard, soft = by_hand(output.logits, table, batch)
    assert loss.item() == pytest.approx(0.75 * 9 * soft + 0.25 * hard, rel=1e-4)
    assert hard_label_loss(student, batch)[0].item() == pytest.approx(hard, rel=1e-5)


def test_the_teacher_answers_a_changed_text() -> None:
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
    wanted, total = teacher(**model_inputs(changed)).logits.detach(), []
    for row, may in enumerate(batch[PLACES]):
        for side in range(2):
            p = (wanted[row, may, side] / config.temperature).log_softmax(0)
            q = (output.logits[row, may, side] / config.temperature).log_softmax(0)
            total.append(F.kl_div(q, p, log_target=True, reduction="sum"))
    scale = config.temperature**2 * (1 - config.hard_label_weight)
    assert loss.item() == pytest.approx(scale * torch.stack(total).mean().item(), rel=1e-4)


def test_importance_comes_from_starts_and_ends_of_every_row() -> None:
    student, encoded = model(), rows()
    together = fisher_importance(student, [batch_of(encoded)])
    alone = fisher_importance(student, [encoded.collate([encoded[row]]) for row in range(len(encoded))])
    for ours, theirs in zip(together.heads + together.neurons, alone.heads + alone.neurons, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-2, atol=1e-7)
        assert ours.sum() > 0
    assert hidden_importance(student, [batch_of(encoded)]).shape == (32,)


def test_divergence_is_a_mean_over_starts_and_ends_whatever_the_batches() -> None:
    student, encoded = model(), rows(max_length=12)
    whole = batch_of(encoded)
    alone = [encoded.collate([encoded[row]]) for row in range(len(encoded))]
    found = [Divergence(student, batches) for batches in ([whole], alone)]
    assert [divergence([]) for divergence in found] == [0, 0]
    with torch.no_grad():
        before = student(**model_inputs(whole)).logits
        student.classifier.weight *= 1.5
        after = student(**model_inputs(whole)).logits
    wanted = []
    for row, may in enumerate(whole[PLACES]):
        for side in range(2):
            p, q = (logits[row, may, side].log_softmax(0) for logits in (before, after))
            wanted.append((p.exp() * (p - q)).sum())
    for divergence in found:
        assert divergence([]) == pytest.approx(torch.stack(wanted).mean().item(), rel=1e-3)
