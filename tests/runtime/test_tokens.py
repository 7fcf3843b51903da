from __future__ import annotations

import numpy as np
import pytest
from fixtures_words import word_pieces

from edgesmith.runtime.tokens import (
    Entities,
    FoundEntity,
    Tags,
    find_entities,
    given_words,
    split_words,
    tag_words,
)
from edgesmith.runtime.windows import WindowEncoder, first_pieces

LABELS = ("O", "B-PER", "I-PER")


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in split_words(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("  \n", []),
        ("Ada Lovelace,  born in London.", ["Ada", "Lovelace", ",", "born", "in", "London", "."]),
        ('"12.5%" of e-mail', ['"', "12.5", "%", '"', "of", "e-mail"]),
        ("... so", [".", ".", ".", "so"]),
        ("line\u2028two", ["line", "two"]),
        (
            "\u0939\u093f\u0928\u094d\u0926\u0940!",
            ["\u0939\u093f\u0928\u094d\u0926\u0940", "!"],
        ),  # vowel signs stay
    ],
)
def test_running_text_is_split_into_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_given_words_stand_between_spaces() -> None:
    assert given_words("a , bc") == [(0, 1), (2, 3), (4, 6)]
    assert given_words("") == []


def test_each_word_has_the_tag_of_its_first_piece() -> None:
    text = "ada lovelace was"
    (window,) = WindowEncoder(word_pieces(), 16).windows(text)  # [CLS] ada love ##lace was [SEP]
    logits = np.zeros((6, 3), np.float32)
    logits[1, 1], logits[2, 2], logits[3, 0], logits[4, 0] = 9, 9, 9, 9
    tags, probabilities = tag_words([window], [logits], given_words(text), LABELS)
    assert tags == ("B-PER", "I-PER", "O")
    assert probabilities == pytest.approx(np.exp(9) / (np.exp(9) + 2))


def test_of_several_windows_the_one_with_the_most_context_decides() -> None:
    text = "ada was born in london on a rainy day ."
    spans = given_words(text)
    windows = WindowEncoder(word_pieces(), 8).windows(text)
    marks = first_pieces(windows, spans)
    logits = []
    for number, window in enumerate(windows):  # each window calls every word by its own number
        scores = np.zeros((len(window.ids), len(windows)), np.float32)
        scores[:, number] = 1
        logits.append(scores)
    tags, _ = tag_words(windows, logits, spans, [str(number) for number in range(len(windows))])
    for word, tag in enumerate(tags):
        room = {
            str(number): min(row.index(word), len(row) - 1 - row.index(word))
            for number, row in enumerate(marks)
            if word in row
        }
        assert room[tag] == max(room.values())
    assert len(set(tags)) == len(windows)


def test_a_word_without_pieces_is_outside() -> None:
    text = "ada \u200b"
    windows = WindowEncoder(word_pieces(), 8).windows(text)
    logits = np.tile(np.array([0, 5, 0], np.float32), (len(windows[0].ids), 1))
    assert tag_words(windows, [logits], given_words(text), LABELS)[0] == ("B-PER", "O")


def test_entities_are_told_by_their_characters() -> None:
    text = "Then Ada Lovelace, left"
    spans = split_words(text)
    found = find_entities(text, spans, ["O", "B-PER", "I-PER", "O", "O"], np.array([1, 0.8, 0.6, 1, 1]))
    assert found == Entities((FoundEntity("PER", "Ada Lovelace", 5, 17, pytest.approx(0.7)),))
    assert found.line(is_brief=True) == "PER 5:17 Ada Lovelace"
    assert Entities(()).line(is_brief=False) == ""
    assert Tags(("O", "B-PER")).line(is_brief=False) == "O B-PER"
