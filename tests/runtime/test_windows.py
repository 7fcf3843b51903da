from __future__ import annotations

import itertools

import numpy as np
import pytest
from fixtures_words import word_pieces

from edgesmith.errors import BundleError, DataError
from edgesmith.runtime.windows import (
    NOWHERE,
    WindowEncoder,
    feeds_of_window,
    first_pieces,
    padded,
)

TEXT = "Ada Lovelace was born in London on a rainy day."
WORDS = [
    (0, 3),
    (4, 12),
    (13, 16),
    (17, 21),
    (22, 24),
    (25, 31),
    (32, 34),
    (35, 36),
    (37, 42),
    (43, 46),
    (46, 47),
]


def test_a_short_text_is_one_window_with_the_place_of_every_token() -> None:
    (window,) = WindowEncoder(word_pieces(), 32).windows(TEXT)
    plain = word_pieces().encode(TEXT)
    assert window.ids == plain.ids
    assert window.types == [0] * len(plain.ids)
    assert window.offsets[0] == window.offsets[-1] == NOWHERE
    assert [TEXT[start:end].lower() for start, end in window.offsets[1:4]] == ["ada", "love", "lace"]


def test_a_long_text_is_several_that_overlap_and_lose_nothing() -> None:
    plain = word_pieces().encode(TEXT)
    windows = WindowEncoder(word_pieces(), 8).windows(TEXT)  # 6 tokens of text in each, 2 of them shared
    assert len(windows) == 3
    assert all(len(window.ids) <= 8 for window in windows)
    seen = {offset for window in windows for offset in window.offsets} - {NOWHERE}
    assert seen == set(plain.offsets[1:-1])
    for before, after in itertools.pairwise(windows):
        assert before.offsets[-3:-1] == after.offsets[1:3]


def test_the_first_piece_of_each_word_is_marked_wherever_it_stands() -> None:
    windows = WindowEncoder(word_pieces(), 8).windows(TEXT)
    marks = first_pieces(windows, WORDS)
    assert marks[0] == [-1, 0, 1, -1, 2, 3, 4, -1]  # [CLS] ada love ##lace was born in [SEP]
    assert {word for row in marks for word in row} == {-1, *range(len(WORDS))}
    for window, row in zip(windows, marks, strict=True):
        for offset, word in zip(window.offsets, row, strict=True):
            assert word == -1 or offset[0] == WORDS[word][0]


def test_a_window_that_starts_inside_a_word_does_not_have_its_beginning() -> None:
    text = "day lovelacelacelacelacelacelace day"
    windows = WindowEncoder(word_pieces(), 6).windows(text)
    marks = first_pieces(windows, [(0, 3), (4, 32), (33, 36)])
    assert [word for row in marks for word in row if word == 1] == [1]
    assert sum(row.count(2) for row in marks) == 1


def test_a_word_that_the_tokenizer_leaves_nothing_of_is_marked_nowhere() -> None:
    (window,) = WindowEncoder(word_pieces(), 16).windows("ada \u200b day")
    assert first_pieces([window], [(0, 3), (4, 5), (6, 9)]) == [[-1, 0, 2, -1]]


def test_feeds_are_a_batch_of_one() -> None:
    (window,) = WindowEncoder(word_pieces(), 16).windows("a day")
    feeds = feeds_of_window(window)
    assert {name: value.tolist() for name, value in feeds.items()} == {
        "input_ids": [window.ids],
        "attention_mask": [[1, 1, 1, 1]],
        "token_type_ids": [[0, 0, 0, 0]],
    }


def test_logits_of_rows_become_one_array() -> None:
    classes = [np.full((1, 2), row, np.float32) for row in range(3)]
    assert padded(classes).tolist() == [[0, 0], [1, 1], [2, 2]]
    tokens = padded([np.ones((1, 2, 3), np.float32), np.ones((1, 4, 3), np.float32)])
    assert tokens.shape == (2, 4, 3)
    assert tokens[0, :, 0].tolist() == [1, 1, 0, 0]


def test_bad_input_is_refused() -> None:
    with pytest.raises(BundleError, match=r"max_length is 3; allowed: 4 or more"):
        WindowEncoder(word_pieces(), 3)
    with pytest.raises(DataError, match=r"the text is 7; expected a string"):
        WindowEncoder(word_pieces(), 16).windows(7)  # type: ignore[arg-type]


QUESTION = "Who was born in London?"


def test_a_question_stands_whole_before_every_part_of_its_context() -> None:
    encoder = WindowEncoder(word_pieces(), 16)
    asked = word_pieces().encode(QUESTION, add_special_tokens=False).ids
    windows = encoder.question_windows(QUESTION, TEXT)
    whole = word_pieces().encode(TEXT, add_special_tokens=False).offsets
    room = encoder.room_beside(QUESTION)
    assert room == 16 - len(asked) - 3
    seen = []
    for window in windows:
        assert window.ids[1 : 1 + len(asked)] == asked
        context = [offset for offset in window.offsets if offset != NOWHERE]
        assert len(window.ids) == len(asked) + 3 + len(context) <= 16
        assert sum(window.types) == len(context) + 1  # and the last [SEP]
        seen.append(context)
    assert list(dict.fromkeys(offset for context in seen for offset in context)) == whole
    for before, after in itertools.pairwise(seen):
        assert after[: room // 3] == before[-(room // 3) :]
    assert encoder.windows(TEXT) == WindowEncoder(word_pieces(), 16).windows(
        TEXT
    )  # nothing is left of the pair


def test_a_question_that_fills_a_window_and_a_context_of_nothing_are_refused() -> None:
    encoder = WindowEncoder(word_pieces(), 9)
    with pytest.raises(
        DataError, match=r"the question 'Who was born in London\?' takes 10 tokens .*less than 9"
    ):
        encoder.question_windows(QUESTION, TEXT)
    with pytest.raises(DataError, match=r"the context is '\\u200b '; expected a text with words"):
        encoder.question_windows("Who?", "\u200b ")
    with pytest.raises(DataError, match=r"the text is .*expected a string"):
        encoder.question_windows("Who?", None)
