from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures_words import fast_tokenizer

from edgesmith.data.encoding import PLACES, choices
from edgesmith.data.examples import TextExamples
from edgesmith.data.span_encoding import EncodedSpans, encode_questions
from edgesmith.runtime.judge import Judge

CONTEXT = "Ada Lovelace was born in London on a rainy day."
ASKED = (("Who was born?", "Ada Lovelace"), ("Where?", "London"), ("on?", "a rainy day."))
EXAMPLES = TextExamples(
    tuple(question for question, _ in ASKED),
    (CONTEXT,) * 3,
    tuple(((answer, CONTEXT.index(answer)),) for _, answer in ASKED),
)


def rows(max_length: int = 32) -> EncodedSpans:
    return encode_questions(fast_tokenizer(), EXAMPLES, max_length)


def test_tokens_are_those_of_transformers_and_labels_spell_the_answers() -> None:
    encoded, tokenizer = rows(), fast_tokenizer()
    for row, (question, answer) in enumerate(ASKED):
        whole = tokenizer(question, CONTEXT, return_offsets_mapping=True, return_token_type_ids=True)
        assert encoded.input_ids[row] == whole["input_ids"]
        assert encoded.token_type_ids is not None
        assert encoded.token_type_ids[row] == whole["token_type_ids"]
        first, last = encoded.labels[row]
        offsets = whole["offset_mapping"]
        assert CONTEXT[offsets[first][0] : offsets[last][1]] == answer


@pytest.mark.parametrize("max_length", [14, 18, 32])
def test_labels_give_the_answers_back_and_windows_without_them_point_at_the_first_token(
    max_length: int,
) -> None:
    encoded = rows(max_length)
    logits = np.zeros((len(encoded), max(encoded.lengths), 2), np.float32)
    found = dict.fromkeys(range(3), 0)
    for row, label in enumerate(encoded.labels):
        window, answer = encoded.windows[row], ASKED[encoded.owners[row]][1]
        start, end = CONTEXT.index(answer), CONTEXT.index(answer) + len(answer)
        inside = [offset for offset in window.offsets if offset[0] >= 0]
        has_all = inside[0][0] <= start and end <= inside[-1][1]
        assert (tuple(label) != (0, 0)) == has_all
        found[encoded.owners[row]] += has_all
        logits[row, label[0], 0] = logits[row, label[1], 1] = 20
    answers = encoded.answers(logits, Judge.of("question-answering"))
    for owner, (_, answer) in enumerate(ASKED):
        if found[owner]:
            assert answers[owner] == (answer,) == encoded.truth[owner]
    assert sum(found.values()) >= 3 or max_length == 14
    assert encoded.rows_of_examples()[2][-1] == len(encoded) - 1


def test_a_part_of_a_word_is_its_tokens() -> None:
    examples = TextExamples(("Who?",), (CONTEXT,), ((("Love", CONTEXT.index("Love")),),))
    encoded = encode_questions(fast_tokenizer(), examples, 32)
    first, last = encoded.labels[0]
    assert first == last == encoded.windows[0].offsets.index((4, 8))


def test_a_batch_has_two_choices_a_row_among_the_tokens_of_the_context() -> None:
    encoded = rows()
    batch = encoded.collate([encoded[row] for row in range(3)])
    assert batch["labels"].shape == (3, 2)
    assert batch[PLACES].shape == batch["input_ids"].shape == batch["token_type_ids"].shape
    logits = torch.randn(*batch["input_ids"].shape, 2)
    chosen, labels = choices(logits, batch), choices(batch["labels"], batch)
    assert labels.tolist() == [place for pair in encoded.labels for place in pair]
    probabilities = chosen.softmax(dim=-1)
    for row in range(3):
        may = batch[PLACES][row]
        context = batch["token_type_ids"][row].bool()
        assert may[0]
        assert (may[1:] <= context[1:]).all()
        assert may.sum() == context.sum()  # the last [SEP] is no place, the first token is one
        for side in range(2):
            wanted = logits[row, may, side].softmax(dim=-1)
            assert torch.allclose(probabilities[2 * row + side, may], wanted, atol=1e-6)
            assert not probabilities[2 * row + side, ~may].any()


def test_batches_of_one_split_may_be_made_by_another() -> None:
    """The trainer has one function for both."""
    ours, theirs = rows(), rows(14)
    batch = ours.collate([theirs[len(theirs) - 1]])
    again = theirs.collate([theirs[len(theirs) - 1]])
    assert torch.equal(batch[PLACES], again[PLACES])


def test_rows_are_taken_with_their_examples() -> None:
    encoded = rows(14)
    last = len(encoded) - 1
    taken = encoded.take([last, 0])
    assert taken.examples.texts == ("on?", "Who was born?")
    assert taken.owners == [0, 1]
    assert taken.labels == [encoded.labels[last], encoded.labels[0]]
