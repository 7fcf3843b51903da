from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures_words import fast_tokenizer

from edgesmith.data.encoding import COUNTED, choices
from edgesmith.data.examples import IGNORED_LABEL, TextExamples
from edgesmith.data.window_encoding import EncodedTags, encode_tags
from edgesmith.runtime.judge import Judge

NAMES = ("O", "B-PER", "I-PER", "B-LOC")
TEXTS = ("ada lovelace was born in london .", "a rainy day over the hill", "on")
TAGS = (("B-PER", "I-PER", "O", "O", "O", "B-LOC", "O"), ("O",) * 6, ("O",))
EXAMPLES = TextExamples(TEXTS, None, TAGS)


def rows(max_length: int = 16) -> EncodedTags:
    return encode_tags(fast_tokenizer(), EXAMPLES, max_length, NAMES)


def test_labels_stand_on_first_pieces_as_transformers_counts_words() -> None:
    encoded, tokenizer = rows(), fast_tokenizer()
    for row, (text, tags) in enumerate(zip(TEXTS, TAGS, strict=True)):
        whole = tokenizer(text.split(" "), is_split_into_words=True)
        wanted, before = [], None
        for word in whole.word_ids():
            is_first = word is not None and word != before
            wanted.append(NAMES.index(tags[word]) if is_first else IGNORED_LABEL)
            before = word
        assert encoded.input_ids[row] == whole["input_ids"]
        assert encoded.labels[row] == wanted


def test_a_batch_counts_the_labelled_tokens_only() -> None:
    encoded = rows()
    batch = encoded.collate([encoded[row] for row in range(3)])
    assert batch["labels"].shape == batch["input_ids"].shape == batch[COUNTED].shape
    labels = choices(batch["labels"], batch)
    assert labels.tolist() == [NAMES.index(tag) for tags in TAGS for tag in tags]
    logits = torch.arange(batch["labels"].numel() * 4).view(*batch["labels"].shape, 4)
    assert choices(logits, batch).shape == (len(labels), 4)
    assert choices(logits, {}) is logits


def test_a_row_that_no_word_begins_in_still_has_a_choice_without_label() -> None:
    examples = TextExamples(("\u200b",), None, (("O",),))
    encoded = encode_tags(fast_tokenizer(), examples, 16, NAMES)
    batch = encoded.collate([encoded[0]])
    assert choices(batch["labels"], batch).tolist() == [IGNORED_LABEL]


def test_long_rows_are_windows_and_are_answered_as_one() -> None:
    encoded = rows(max_length=6)
    assert len(encoded) > 3
    assert encoded.rows_of_examples()[2] == [len(encoded) - 1]
    assert sum(encoded.example_lengths) == sum(encoded.lengths)
    longest = max(encoded.lengths)
    logits = np.zeros((len(encoded), longest, 4), np.float32)
    for row, labels in enumerate(encoded.labels):
        for place, label in enumerate(labels):
            if label != IGNORED_LABEL:
                logits[row, place, label] = 1
    answers = encoded.answers(logits, Judge.of("token-classification"))
    assert answers.tolist() == list(TAGS) == encoded.truth.tolist()


def test_rows_are_taken_with_their_examples() -> None:
    encoded = rows(max_length=6)
    last = len(encoded) - 1
    taken = encoded.take([last, 0])
    assert taken.examples.texts == (TEXTS[2], TEXTS[0])
    assert taken.owners == [0, 1]
    assert taken.input_ids == [encoded.input_ids[last], encoded.input_ids[0]]
    assert taken.sample_examples(5, seed=0) in ([0, 1], [1, 0])
    with pytest.raises(IndexError):
        encoded.take([last + 1])
