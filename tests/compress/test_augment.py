from __future__ import annotations

import pytest
import torch
from fixtures_models import HIDDEN, VOCAB, logits_of, minilm, random_batch, whole_compact

from edgesmith.compress.augment import (
    NEIGHBOURS,
    TextAugmentation,
    join_rows,
    nearest_words,
    trimmed_neighbours,
)
from edgesmith.compress.distill import TaskLoss
from edgesmith.compress.losses import hidden_state_loss, soft_label_loss
from edgesmith.compress.structure import keep_layers, keep_tokens
from edgesmith.data.encoding import EncodedExamples
from edgesmith.data.examples import IGNORED_LABEL
from edgesmith.models.families import to_compact
from edgesmith.recipe import DistillConfig

WORDS = range(10, 60)


def word_table() -> torch.Tensor:
    return torch.randn(VOCAB, HIDDEN, generator=torch.Generator().manual_seed(3))


def augmentation(
    rows: float = 1.0, words: float = 0.5, joined: float = 0.0, longest: int = 64
) -> TextAugmentation:
    config = DistillConfig(augmented_rows=rows, replaced_words=words, joined_batches=joined)
    return TextAugmentation(nearest_words(word_table(), WORDS), torch.arange(VOCAB), longest, config)


def test_the_nearest_words_are_those_of_a_plain_loop():
    table = word_table()
    nearest = nearest_words(table, WORDS)
    assert nearest.shape == (VOCAB, NEIGHBOURS)
    for word in WORDS:
        cosine = {
            other: float(table[word] @ table[other] / table[other].norm()) for other in WORDS if other != word
        }
        assert nearest[word].tolist() == sorted(cosine, key=lambda other: -cosine[other])[:NEIGHBOURS]
    for other in set(range(VOCAB)) - set(WORDS):
        assert set(nearest[other].tolist()) == {other}


@pytest.mark.parametrize(("words", "columns"), [([], 1), ([4], 1), ([4, 5], 1), ([4, 5, 6], 2)])
def test_few_words_have_few_neighbours_or_none(words, columns):
    nearest = nearest_words(word_table(), words)
    assert nearest.shape == (VOCAB, columns)
    alone = len(words) < 2
    assert (nearest[4].tolist() == [4]) == alone


def test_a_trained_word_table_puts_related_words_together():
    loaded = minilm()
    ids = loaded.tokenizer.get_vocab()
    words = [
        ids[word] for word in ("good", "great", "table", "chair", "running", "walking", "seven", "eight")
    ]
    nearest = nearest_words(to_compact(loaded.model).embeddings.word.weight, words)
    for word, other in (("good", "great"), ("table", "chair"), ("running", "walking"), ("seven", "eight")):
        assert nearest[ids[word], 0] == ids[other]


def test_a_trimmed_table_names_the_same_tokens_by_their_new_ids():
    nearest = nearest_words(word_table(), WORDS)
    kept = [0, 3, *WORDS, 70, 96]
    trimmed = trimmed_neighbours(nearest, kept)
    assert torch.equal(torch.tensor(kept)[trimmed], nearest[kept])


def test_only_words_of_chosen_rows_change_and_the_labels_of_those_rows_are_gone():
    batch = random_batch((20, 30, 25, 12))
    changed = augmentation(rows=0.5)(batch)
    new, old, replaced = changed["input_ids"], batch["input_ids"], changed["changed"]
    is_word = torch.isin(old, torch.tensor(WORDS))
    assert torch.equal(new[~is_word], old[~is_word])
    assert torch.equal((new != old).any(dim=1), replaced)
    assert changed["labels"][replaced].eq(IGNORED_LABEL).all()
    assert torch.equal(changed["labels"][~replaced], batch["labels"][~replaced])
    for name in ("attention_mask", "token_type_ids", "row"):
        assert changed[name] is batch[name]


@pytest.mark.parametrize(("rows", "words"), [(0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.4, 0.25)])
def test_as_many_rows_and_words_change_as_asked_for(rows, words):
    ids = torch.full((400, 200), 17)
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.zeros(400, dtype=torch.int64),
    }
    torch.manual_seed(0)
    changed = augmentation(rows, words)(batch)
    touched = changed["changed"]
    assert touched.float().mean().item() == pytest.approx(rows * (words > 0), abs=0.08)
    if touched.any():
        share = (changed["input_ids"][touched] != 17).float().mean().item()
        assert share == pytest.approx(words, abs=0.01)
        assert set(changed["input_ids"].unique().tolist()) - {17} == set(
            nearest_words(word_table(), WORDS)[17].tolist()
        )


def test_draws_follow_torchs_generator():
    batch = random_batch((20, 30, 25, 12))
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(augmentation()(batch)["input_ids"])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    ("rows", "words", "joined", "longest", "changes"),
    [
        (0.0, 0.3, 0.0, 64, False),
        (0.7, 0.0, 0.0, 64, False),
        (0.7, 0.3, 0.0, 0, True),
        (0.0, 0.3, 0.2, 64, True),
        (0.0, 0.3, 0.2, 0, False),
    ],
)
def test_nothing_to_change_is_no_augmentation(rows, words, joined, longest, changes):
    config = DistillConfig(augmented_rows=rows, replaced_words=words, joined_batches=joined)
    made = TextAugmentation.of(config, torch.zeros(3, 1), torch.arange(3), longest)
    assert (made is not None) == changes


def test_joined_rows_read_one_after_the_other_between_one_pair_of_special_tokens():
    rows = [[1, 20, 21, 2], [1, 30, 2], [1, 2], [1, 40, 41, 42, 2]]
    ids = torch.tensor([row + [0] * (5 - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (5 - len(row)) for row in rows])
    joined, joined_mask = join_rows(ids, mask, torch.tensor([3, 0, 1, 2]))
    assert [row[kept.bool()].tolist() for row, kept in zip(joined, joined_mask, strict=True)] == [
        [1, 20, 21, 40, 41, 42, 2],
        [1, 30, 20, 21, 2],
        [1, 30, 2],
        [1, 40, 41, 42, 2],
    ]
    assert joined_mask.sum(dim=1).tolist() == [7, 5, 3, 5]


def test_a_joined_batch_is_the_texts_in_pairs_and_has_no_labels():
    batch = random_batch((20, 30, 25, 12))
    torch.manual_seed(0)
    changed = augmentation(rows=0.0, joined=1.0)(batch)
    texts = inner_tokens(batch)
    pairs = [first + second for first in texts for second in texts]
    assert all(text in pairs for text in inner_tokens(changed))
    assert changed["changed"].all()
    assert changed["labels"].eq(IGNORED_LABEL).all()
    assert torch.equal(changed["teacher_input_ids"], changed["input_ids"])


def inner_tokens(batch: dict[str, torch.Tensor]) -> list[list[int]]:
    """Each row without its padding, first and last token."""
    rows = zip(batch["input_ids"], batch["attention_mask"], strict=True)
    return [ids[mask.bool()][1:-1].tolist() for ids, mask in rows]


def test_words_of_joined_rows_give_way_too():
    batch = random_batch((20, 30, 25, 12))
    for words, differs in ((0.0, False), (1.0, True)):
        torch.manual_seed(0)
        plain = augmentation(rows=0.0, joined=1.0)(batch)["input_ids"]
        torch.manual_seed(0)
        assert torch.equal(augmentation(words=words, joined=1.0)(batch)["input_ids"], plain) != differs


def test_a_batch_that_would_become_too_long_stays_as_it_is():
    batch = random_batch((20, 30, 25, 12))
    changed = augmentation(rows=0.0, joined=1.0, longest=30)(batch)
    assert torch.equal(changed["input_ids"], batch["input_ids"])
    assert torch.equal(changed["labels"], batch["labels"])
    assert not changed["changed"].any()


def test_as_many_batches_join_as_asked_for():
    batch = random_batch((20, 30, 25, 12))
    augment = augmentation(rows=0.0, joined=0.3)
    torch.manual_seed(0)
    assert sum(bool(augment(batch)["changed"].all()) for _ in range(400)) == pytest.approx(120, abs=25)


@pytest.mark.parametrize("hidden_weight", [0.0, 2.0])
def test_the_teacher_answers_the_new_text_and_the_table_the_old(hidden_weight):
    """The student has a vocabulary of its own, in which the rows are one token shorter than in the teacher's."""
    teacher = whole_compact()
    kept = [0, *range(5, VOCAB)]
    student = keep_layers(keep_tokens(teacher, kept), [0, 1, 2])
    rows = EncodedExamples(
        [[10, 20, 30, 40], [1, 1, 1]],
        [0, 1],
        None,
        0,
        teacher_ids=[[14, 24, 34, 44], [5, 5, 5, 6]],
    )
    batch = rows.collate([rows[0], rows[1]])
    nearest = trimmed_neighbours(nearest_words(word_table(), WORDS), kept)
    changes = DistillConfig(augmented_rows=1.0, replaced_words=1.0)
    augment = TextAugmentation(nearest, torch.tensor(kept), 64, changes)
    torch.manual_seed(0)
    changed = augment(batch)
    assert changed["changed"].tolist() == [True, False]  # the second row has no words
    assert changed["aligned"].tolist() == [1, 0]
    text = torch.tensor(kept)[changed["input_ids"][:1]]
    assert torch.equal(changed["teacher_input_ids"], torch.cat([text, torch.tensor([[5, 5, 5, 6]])]))

    config = DistillConfig(hidden_weight=hidden_weight)
    table = torch.tensor([[9.0, -9.0], [0.5, -0.25]])
    torch.manual_seed(0)
    loss, output = TaskLoss(student, teacher, table, config, augment)(student, batch)
    answer = logits_of(teacher, {"input_ids": text})
    expected = soft_label_loss(
        output.logits, torch.cat([answer, table[1:]]), torch.tensor([IGNORED_LABEL, 1]), config
    )
    if hidden_weight:
        theirs = teacher(text, output_hidden_states=True).hidden_states[1:]
        ours = [state[:1] for state in output.hidden_states[1:]]
        expected = expected + hidden_weight * hidden_state_loss(ours, theirs, torch.ones(1, 4))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_row_without_a_label_counts_in_the_soft_term_only():
    student, teacher = torch.randn(3, 2), torch.randn(3, 2)
    soft = soft_label_loss(student, teacher, torch.zeros(3).long(), DistillConfig(hard_label_weight=0.0))
    config = DistillConfig(hard_label_weight=0.4)
    nothing = torch.full((3,), IGNORED_LABEL)
    assert soft_label_loss(student, teacher, nothing, config).item() == pytest.approx(0.6 * soft.item())
    one = torch.tensor([1, IGNORED_LABEL, IGNORED_LABEL])
    hard = -torch.log_softmax(student[0], dim=0)[1].item() / 3
    assert soft_label_loss(student, teacher, one, config).item() == pytest.approx(
        0.6 * soft.item() + 0.4 * hard
    )
