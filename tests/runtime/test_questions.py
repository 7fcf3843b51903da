from __future__ import annotations

import itertools

import numpy as np
import pytest
from fixtures_words import word_pieces

from edgesmith.runtime.questions import LONGEST_ANSWER, FoundAnswer, answer_places, find_answer
from edgesmith.runtime.text import softmax
from edgesmith.runtime.windows import Window, WindowEncoder

QUESTION = "Who was born?"
CONTEXT = "Ada Lovelace was born in London on a rainy day."


def windows(max_length: int = 32) -> list[Window]:
    return WindowEncoder(word_pieces(), max_length).question_windows(QUESTION, CONTEXT)


def noise(window: Window, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(window.ids), 2)).astype(np.float32)


def best_by_hand(window: Window, logits: np.ndarray) -> tuple[float, str]:
    """Every pair of context tokens in turn."""
    places = answer_places(window)
    starts, ends = softmax(logits[places].T)
    pairs = itertools.combinations_with_replacement(range(1, len(places)), 2)
    probability, first, last = max((starts[a] * ends[b], a, b) for a, b in pairs if b - a < LONGEST_ANSWER)
    return probability, CONTEXT[window.offsets[places[first]][0] : window.offsets[places[last]][1]]


def test_the_answer_is_the_most_probable_of_all_spans() -> None:
    (window,) = windows()
    for seed in range(20):
        logits = noise(window, seed)
        found, (probability, answer) = find_answer(CONTEXT, [window], [logits]), best_by_hand(window, logits)
        assert (found.answer, found.probability) == (answer, pytest.approx(probability))
        assert CONTEXT[found.start : found.end] == found.answer


def test_an_end_before_the_start_and_tokens_of_the_question_are_no_answers() -> None:
    (window,) = windows()
    logits = noise(window)
    tokens = [CONTEXT[start:end].lower() for start, end in window.offsets]
    logits[tokens.index("born"), 0] = logits[tokens.index("ada"), 1] = 9
    logits[1:4] = 20  # the question
    found = find_answer(CONTEXT, [window], [logits])
    assert found.start < found.end
    assert found.answer.startswith("born") or found.answer == "Ada"


def test_an_answer_is_not_longer_than_thirty_tokens() -> None:
    context = " ".join(["ada"] * 50)
    (window,) = WindowEncoder(word_pieces(), 64).question_windows("who?", context)
    logits = np.zeros((len(window.ids), 2), np.float32)
    first, *_, last = answer_places(window)[1:]
    logits[first, 0] = logits[last, 1] = 5
    assert len(find_answer(context, [window], [logits]).answer.split()) <= LONGEST_ANSWER


def test_the_window_that_knows_the_answer_is_taken_whatever_its_logits_add_up_to() -> None:
    several = windows(max_length=16)
    assert len(several) > 1
    logits = [noise(window) for window in several]
    for scores in logits[:-1]:
        scores[0] = 30  # "not in here"
        scores[1:] += 10
    found, (probability, answer) = (
        find_answer(CONTEXT, several, logits),
        best_by_hand(several[-1], logits[-1]),
    )
    assert (found.answer, found.probability) == (answer, pytest.approx(probability))
    padded = [np.pad(scores, ((0, 4), (0, 0)), constant_values=99) for scores in logits]
    assert find_answer(CONTEXT, several, padded) == found


def test_an_answer_is_told_with_its_place() -> None:
    found = FoundAnswer("New\nYork", 3, 11, 0.25)
    assert found.line(is_brief=True) == "New York"
    assert found.line(is_brief=False) == "New York\t3:11\t0.2500"
