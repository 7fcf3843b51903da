from __future__ import annotations

import json

import pytest
from fixtures_tokenizers import byte_fallback_bpe, byte_level_bpe, prefix_bpe, suffix_bpe, unigram
from fixtures_words import word_pieces

from edgesmith.models.pieces import Pieces


def pieces_of(tokenizer) -> Pieces:
    return Pieces.of(json.loads(tokenizer.to_str()))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (word_pieces, Pieces(continuing="##")),
        (prefix_bpe, Pieces(continuing="##")),
        (suffix_bpe, Pieces(ending="</w>")),
        (byte_level_bpe, Pieces(is_byte_level=True, marks_spaces=True)),
        (byte_fallback_bpe, Pieces(marks_spaces=True)),
        (unigram, Pieces(marks_spaces=True)),
    ],
)
def test_a_tokenizers_file_says_how_its_pieces_are_written(make, expected):
    assert pieces_of(make()) == expected


@pytest.mark.parametrize(
    ("pieces", "piece", "text", "spelled", "is_word"),
    [
        (Pieces(continuing="##"), "ab", "ab", ["a", "##b"], True),
        (Pieces(continuing="##"), "##ab", "ab", ["##a", "##b"], False),
        (Pieces(continuing="##"), "a1", "a1", ["a", "##1"], False),
        (Pieces(ending="</w>"), "ab</w>", "ab", ["a", "b</w>"], True),
        (Pieces(ending="</w>"), "ab", "ab", ["a", "b"], False),
        (Pieces(marks_spaces=True), "▁ab", " ab", ["▁", "a", "b"], True),
        (Pieces(marks_spaces=True), "ab", "ab", ["a", "b"], False),
        (Pieces(marks_spaces=True), "▁", " ", ["▁"], False),
        (Pieces(is_byte_level=True, marks_spaces=True), "ĠgrÃ¶", " grö", ["Ġ", "g", "r", "Ã", "¶"], True),
        (Pieces(is_byte_level=True, marks_spaces=True), "Ã", "\ufffd", ["Ã"], False),
        (Pieces(), "ab", "ab", ["a", "b"], True),
        (Pieces(), "", "", [], False),
    ],
)
def test_pieces_are_read_by_their_marks(pieces, piece, text, spelled, is_word):
    assert pieces.text(piece) == text
    assert pieces.spelled(piece) == spelled
    assert pieces.is_word(piece) is is_word


@pytest.mark.parametrize(
    "make", [word_pieces, prefix_bpe, suffix_bpe, byte_level_bpe, byte_fallback_bpe, unigram]
)
def test_a_word_is_spelled_as_the_tokenizers_model_sees_its_characters(make):
    """Of a tokenizer whose longer pieces are taken away, the pieces of a word are its spelling."""
    tokenizer, pieces = make(), pieces_of(make())
    single = [name for name in tokenizer.get_vocab() if len(pieces.spelled(name)) == 1]
    assert single
    for name in single:
        assert pieces.spelled(name) == [name]
