"""Formulas on a vocabulary that can be read at a glance, and properties of the real one."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures_text import UNICODE_TEXTS, minilm_folder
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace

from edgesmith.compress.vocabulary import trim_vocabulary
from edgesmith.data import TextExamples
from edgesmith.measure.coverage import (
    compare_group,
    measure_coverage,
    script_of,
    script_pieces,
    text_coverage,
)
from edgesmith.measure.quality import compare
from edgesmith.models.pieces import Pieces
from edgesmith.records import ScriptPieces

SINGLES = ["[UNK]", "a", "b", "##a", "##b"]


def word_piece(*more: str) -> Tokenizer:
    """Characters a and b, and some longer pieces."""
    vocabulary = {token: index for index, token in enumerate([*SINGLES, *more])}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]", continuing_subword_prefix="##"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


BEFORE, AFTER = word_piece("ab", "ba", "##bb"), word_piece("ab")


def rows(*texts: str, pairs: tuple[str, ...] | None = None) -> TextExamples:
    return TextExamples(texts, pairs, (0,) * len(texts))


def test_tokens_and_rows_are_counted() -> None:
    """ab, ba, abb = a ##bb; after: ab, b ##a, ab ##b."""
    found = text_coverage(BEFORE, AFTER, rows("ab ab", "ba ab", "abb", ""))
    assert BEFORE.encode("abb").tokens == ["ab", "##b"]
    assert (found.rows, found.rows_with_trimmed) == (4, 1)
    assert (found.tokens, found.trimmed, found.tokens_after) == (6, 1, 7)
    assert found.trimmed_share == 1 / 6
    assert found.growth == pytest.approx(7 / 6 - 1)


def test_both_texts_of_a_pair_count_as_one_row() -> None:
    found = text_coverage(BEFORE, AFTER, rows("ab", "ab", pairs=("ba ba", "ab")))
    assert (found.rows, found.rows_with_trimmed, found.tokens, found.trimmed, found.tokens_after) == (
        2,
        1,
        5,
        2,
        7,
    )


def test_texts_without_a_token_have_shares_of_zero() -> None:
    found = text_coverage(BEFORE, AFTER, rows("", " "))
    assert (found.tokens, found.trimmed_share, found.growth) == (0, 0.0, 0.0)


def test_a_vocabulary_that_was_not_trimmed_loses_nothing() -> None:
    found = text_coverage(BEFORE, BEFORE, rows("ab ba", "abab"))
    assert (found.rows_with_trimmed, found.trimmed, found.growth) == (0, 0, 0.0)


def test_groups_are_the_rows_with_and_without_a_token_of_no_training_text() -> None:
    """The training texts hold ab and a; ba was trimmed away, and b has stayed as a character."""
    seen = {BEFORE.token_to_id(token) for token in ("ab", "a")}
    test = TextExamples(("ab", "ba", "ba ab", "a", "b"), None, (0, 1, 1, 0, 1))
    teacher, artifact = [0, 1, 1, 0, 0], [0, 1, 0, 0, 0]
    found = measure_coverage(
        BEFORE, AFTER, rows("ba"), test, seen=seen, teacher=teacher, artifact=artifact, resamples=100, seed=0
    )
    touched, rest = found.with_unseen, found.without_unseen
    assert touched and rest
    assert (touched.n, touched.teacher, touched.artifact) == (3, 2 / 3, 1 / 3)
    assert touched.drop == pytest.approx(1 / 3)
    assert (rest.n, rest.teacher, rest.artifact, rest.drop) == (2, 1.0, 1.0, 0.0)
    assert found.validation == text_coverage(BEFORE, AFTER, rows("ba"))
    assert found.test == text_coverage(BEFORE, AFTER, test)
    assert found.test.rows_with_trimmed == 2


def test_a_tokenizer_that_truncates_is_measured_on_whole_texts() -> None:
    short = Tokenizer.from_str(BEFORE.to_str())
    short.enable_truncation(1)
    found = measure_coverage(
        short, AFTER, rows("ab ab"), rows("ab ba"), seen={0}, teacher=[0], artifact=[0], resamples=10, seed=0
    )
    assert (found.validation.tokens, found.test.trimmed) == (2, 1)
    assert short.truncation


def test_a_group_is_compared_as_the_whole_is() -> None:
    generator = np.random.default_rng(0)
    teacher, artifact, labels = generator.integers(0, 2, (3, 200))
    everything = compare_group(np.ones(200, bool), teacher, artifact, labels, resamples=300, seed=1)
    whole = compare(teacher, artifact, labels, resamples=300, seed=1)
    assert everything
    assert (everything.n, everything.drop, everything.drop_ci95, everything.mcnemar_p) == (
        whole.n,
        whole.drop,
        whole.drop_ci95,
        whole.mcnemar_p,
    )


def test_a_group_without_rows_is_none() -> None:
    assert compare_group(np.zeros(2, bool), [0, 1], [0, 1], [0, 1], resamples=10, seed=0) is None


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("word", "Latin"),
        ("façade", "Latin"),
        ("λόγος", "Greek"),
        ("слово", "Cyrillic"),
        ("日本", "Han"),
        ("ひら", "Hiragana"),
        ("لغة", "Arabic"),
        ("हिन्दी", "Devanagari"),
        ("שלום", "Hebrew"),
        ("한글", "Hangul"),
        ("e\u0301t", "Latin"),
        ("a1", None),
        ("[UNK]", None),
        ("1990", None),
        ("--", None),
        ("", None),
        ("aя", None),
        ("日の", None),
    ],
)
def test_the_script_is_that_of_the_letters(text: str, script: str | None) -> None:
    assert script_of(text) == script


def test_pieces_of_two_characters_or_more_are_counted_by_script() -> None:
    before = ["[UNK]", "the", "##ing", "s", "##s", "λογ", "##ος", "λ", "да", "日本", "##12", "не"]
    after = ["[UNK]", "the", "s", "##s", "λ", "да", "д"]
    assert script_pieces(before, after, Pieces(continuing="##")) == (
        ScriptPieces(script="Cyrillic", before=2, after=1),
        ScriptPieces(script="Greek", before=2, after=0),
        ScriptPieces(script="Latin", before=2, after=1),
        ScriptPieces(script="Han", before=1, after=0),
    )


def test_english_training_texts_leave_the_real_vocabulary_latin_only() -> None:
    before = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    before.no_truncation()
    before.no_padding()
    english = [
        before.encode(text).ids for text in ("plain english words", "a second sentence, unsurprisingly")
    ]
    after = Tokenizer.from_str(trim_vocabulary(before.to_str(), english).tokenizer_json)
    test = rows(*UNICODE_TEXTS)
    found = measure_coverage(
        before, after, test, test, seen=set(), teacher=test.labels, artifact=test.labels, resamples=10, seed=0
    )
    kept = {script.script for script in found.scripts if script.after}
    assert kept == {"Latin"}
    assert found.lost_scripts == (
        ScriptPieces(script="Cyrillic", before=8, after=0),
        ScriptPieces(script="Greek", before=4, after=0),
        ScriptPieces(script="Arabic", before=2, after=0),
    )
    greek = text_coverage(before, after, rows("λογος"))
    assert (greek.tokens, greek.trimmed, greek.tokens_after) == (4, 1, 5)  # ##ος falls apart
