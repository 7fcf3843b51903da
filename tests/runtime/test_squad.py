from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesmith.runtime.judge import Judge
from edgesmith.runtime.squad import count_exact, count_shared, normalise, word_f1
from edgesmith.runtime.tokens import as_answers

F1, EXACT = (Judge.of("question-answering", name) for name in ("squad_f1", "exact_match"))
WORDS = st.lists(
    st.sampled_from(["the", "A", "an", "navy", "U.S.", "12.5%", "Paris,", "of", "ø"]), max_size=6
).filter(lambda words: normalise(" ".join(words)))  # of nothing, torchmetrics says 1, as SQuAD 2.0 does


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The U.S. Navy", "us navy"),
        ("  a\tnew\nyork ", "new york"),
        ("an-alysis", "analysis"),  # punctuation goes first, so that "an" is no article here
        ("another theme", "another theme"),
        ("12.5% (ca.)", "125 ca"),
        ("\u201cquoted\u201d", "\u201cquoted\u201d"),  # only ASCII punctuation, as in the script
        ("the", ""),
    ],
)
def test_texts_are_compared_without_case_punctuation_and_articles(text: str, found: str) -> None:
    assert normalise(text) == found


@pytest.mark.parametrize(
    ("answer", "truth", "f1"),
    [
        ("in the Spring of 1943", "spring 1943", 2 * 2 / (4 + 2)),
        ("New York New York", "new york", 2 * 2 / (4 + 2)),  # a word counts as often as both have it
        ("Paris", "London", 0.0),
        ("The Navy.", "navy", 1.0),
        ("", "navy", 0.0),
        ("the", "a", 0.0),  # as in the script: nothing is shared, though the match is exact
    ],
)
def test_f1_is_of_shared_words(answer: str, truth: str, f1: float) -> None:
    assert word_f1(answer, truth) == pytest.approx(f1)
    assert count_shared((answer,), ("xyz", truth)) == (pytest.approx(f1), 1)


def test_the_nearest_right_answer_counts() -> None:
    assert count_exact(("the navy",), ("us navy", "Navy!")) == (1, 1)
    assert count_exact(("a",), ("the",)) == (1, 1)
    assert count_exact(("navy",), ("us navy",)) == (0, 1)


def test_a_metric_is_the_mean_over_questions() -> None:
    answers = as_answers([("the navy",), ("Paris",), ("in 1943",)])
    truth = as_answers([("navy", "us navy"), ("London",), ("1943",)])
    assert F1.quality(answers, truth) == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert EXACT.quality(answers, truth) == pytest.approx(1 / 3)
    assert F1.credits(answers, truth).tolist() == pytest.approx([1, 0, 2 / 3])
    assert F1.agreement(answers, answers) == 1.0
    assert F1.units(answers).tolist() == ["the navy", "Paris", "in 1943"]


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=5))
def test_both_metrics_equal_torchmetrics(rows) -> None:
    squad = pytest.importorskip("torchmetrics.functional.text", reason="torchmetrics is not installed").squad
    answers = [" ".join(words) for words, _ in rows]
    truth = [tuple(" ".join(words) for words in right) for _, right in rows]
    wanted = squad(
        [{"prediction_text": answer, "id": str(row)} for row, answer in enumerate(answers)],
        [
            {"answers": {"text": list(right), "answer_start": [0] * len(right)}, "id": str(row)}
            for row, right in enumerate(truth)
        ],
    )
    ours = as_answers([(answer,) for answer in answers])
    for judge, name in ((F1, "f1"), (EXACT, "exact_match")):
        value = judge.quality(ours, as_answers(truth))
        assert np.isclose(100 * value, float(wanted[name]), atol=1e-3)
