from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest

from edgesmith.runtime.entities import count_entities, entities, f1_of_counts, is_tag
from edgesmith.runtime.judge import Judge
from edgesmith.runtime.tokens import as_answers

JUDGE = Judge.of("token-classification")


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("", []),
        ("O O O", []),
        ("B-PER", [("PER", 0, 0)]),
        ("B-PER I-PER O", [("PER", 0, 1)]),
        ("B-PER B-PER", [("PER", 0, 0), ("PER", 1, 1)]),
        ("I-PER I-PER O I-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),  # without B, as in CoNLL-2003's own files
        ("B-PER I-LOC I-LOC", [("PER", 0, 0), ("LOC", 1, 2)]),  # another type ends and begins
        ("O I-A B-A I-A", [("A", 1, 1), ("A", 2, 3)]),
        ("B-A E-A I-A", [("A", 0, 1), ("A", 2, 2)]),  # E ends an entity, S is one
        ("S-A I-A S-B", [("A", 0, 0), ("A", 1, 1), ("B", 2, 2)]),
        ("B-geo-loc I-geo-loc", [("geo-loc", 0, 1)]),  # a type may have a hyphen
    ],
)
def test_the_entities_of_a_sentence(tags: str, found: list[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == found


def test_f1_is_that_of_whole_entities_with_type_and_bounds() -> None:
    truth = ["B-PER", "I-PER", "O", "B-LOC"]
    assert count_entities(["B-PER", "I-PER", "O", "B-LOC"], truth) == (2, 2, 2)
    assert count_entities(["B-PER", "O", "O", "B-LOC"], truth) == (1, 2, 2)  # a bound is wrong
    assert count_entities(["B-ORG", "I-ORG", "O", "O"], truth) == (0, 1, 2)  # a type is wrong
    assert f1_of_counts(1, 1, 2) == pytest.approx(2 / 3)
    assert f1_of_counts(0, 0, 0) == 0


@pytest.mark.parametrize("tag", ["", "PER", "B-", "-PER", "X-PER", "b-PER", "B_PER"])
def test_what_is_no_tag(tag: str) -> None:
    assert not is_tag(tag)


def random_tags(seed: int, prefixes: str) -> Iterator[tuple[str, ...]]:
    generator = random.Random(seed)
    tags = ["O", "O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in ("PER", "LOC"))]
    while True:
        yield tuple(generator.choice(tags) for _ in range(1 + generator.randrange(9)))


@pytest.mark.parametrize("prefixes", ["BI", "BIES"])
def test_counts_and_f1_are_those_of_seqeval(prefixes: str) -> None:
    """seqeval in its default mode, which its authors hold against conlleval.pl, on 3,000 random sentences."""
    seqeval = pytest.importorskip("seqeval.metrics", reason="seqeval is not installed: pip install seqeval")
    labelling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    source = random_tags(0, prefixes)
    truth = [next(source) for _ in range(3000)]
    guesses = [
        tuple(
            tag if place % 3 else other for place, (tag, other) in enumerate(zip(tags, wrong, strict=False))
        )
        for tags, wrong in zip(truth, random_tags(1, prefixes), strict=False)
    ]
    truth = [tags[: len(guess)] for tags, guess in zip(truth, guesses, strict=True)]
    for tags in truth:
        assert entities(tags) == labelling.get_entities(list(tags))
    wanted = seqeval.f1_score([list(tags) for tags in truth], [list(tags) for tags in guesses])
    assert 0.1 < wanted < 0.9
    assert JUDGE.quality(as_answers(guesses), as_answers(truth)) == pytest.approx(wanted, abs=1e-12)
    accuracy = seqeval.accuracy_score([list(tags) for tags in truth], [list(tags) for tags in guesses])
    tags = Judge.of("token-classification", "tag_accuracy")
    assert tags.quality(as_answers(guesses), as_answers(truth)) == pytest.approx(accuracy)


def test_a_tally_can_be_drawn_from_again() -> None:
    answers = as_answers([("B-A",), ("O", "O"), ("B-A", "B-B")])
    truth = as_answers([("B-A",), ("O", "B-B"), ("B-A", "O")])
    tally = JUDGE.tally(answers, truth)
    assert tally.tolist() == [[1, 1, 1], [0, 0, 1], [1, 2, 1]]
    rows = np.array([0, 0, 2])
    assert JUDGE.value(tally[rows]) == JUDGE.quality(answers[rows], truth[rows]) == 2 * 3 / (4 + 3)
    assert JUDGE.credits(answers, truth).tolist() == [1, 0, pytest.approx(2 / 3)]
    assert JUDGE.credits(as_answers([("O",)]), as_answers([("O",)])).tolist() == [1]  # nothing to find
    assert JUDGE.units(answers).tolist() == ["B-A", "O", "O", "B-A", "B-B"]
    assert JUDGE.agreement(answers, truth) == JUDGE.quality(answers, truth)
