from __future__ import annotations

from collections import Counter

import pytest
from fixtures_words import fast_tokenizer

from edgesmith.data.encoding import encode
from edgesmith.data.examples import TextExamples

FIRST, SECOND = "rainy London rained on ada lovelace", "über the hill, a lovelace was born"


def pieces(text: str, kept: int) -> Counter[int]:
    """The first tokens of a text, up to the end of the word that the last of them is in, with the Rust library alone."""
    whole = fast_tokenizer().backend_tokenizer.encode(text, add_special_tokens=False)
    last = whole.word_ids[kept - 1]
    return Counter(token for token, word in zip(whole.ids, whole.word_ids, strict=True) if word <= last)


@pytest.mark.parametrize("max_length", range(3, 24))
def test_words_that_a_cut_goes_through_are_whole_with_their_rests(max_length: int) -> None:
    rows = encode(fast_tokenizer(), TextExamples((FIRST,), None, (0,)), max_length)
    (ids,) = rows.input_ids
    assert len(ids) <= max_length
    assert Counter(ids[1:-1]) + Counter(rows.rests) == pieces(FIRST, len(ids) - 2)


@pytest.mark.parametrize("max_length", range(5, 40))
def test_of_pairs_too(max_length: int) -> None:
    rows = encode(fast_tokenizer(), TextExamples((FIRST,), (SECOND,), (0,)), max_length)
    (ids,), (types,) = rows.input_ids, rows.token_type_ids or ()
    first, second = types.count(0) - 2, types.count(1) - 1
    expected = pieces(FIRST, first) + pieces(SECOND, second)
    assert Counter(ids[1 : first + 1]) + Counter(ids[first + 2 : -1]) + Counter(rows.rests) == expected


def test_texts_that_fit_have_no_rests() -> None:
    assert encode(fast_tokenizer(), TextExamples((FIRST,), (SECOND,), (0,)), 128).rests == ()
