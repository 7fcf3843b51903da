from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgesmith.data.examples import Splits, TextExamples
from edgesmith.data.readers import read_table
from edgesmith.data.splits import SHARED, carve, containment_groups, find_leaks
from edgesmith.errors import DataError

PROPERTY = settings(max_examples=50, deadline=None)  # no deadline: the machine may be busy
WORDS = st.lists(st.sampled_from(["a", "B", "b", "c"]), min_size=1, max_size=6).map(" ".join)


def words(text: str) -> str:
    """Normalised, with a space at both ends, so that a substring ends where words end."""
    return f" {' '.join(text.casefold().split())} "


def labelled(rows: TextExamples) -> list[tuple[str, str, int]]:
    return list(zip(rows.texts, rows.pairs or rows.texts, rows.labels, strict=True))


def sides(rows: TextExamples) -> list[tuple[str, str]]:
    return list(zip(map(words, rows.texts), map(words, rows.pairs or rows.texts), strict=True))


def brute_leaks(train: TextExamples, held: TextExamples) -> list[int]:
    """Independent of the index: every held-out row against every training row, as strings."""
    known = sides(train)
    return [
        row for row, (a, b) in enumerate(sides(held)) if any(a in text and b in pair for text, pair in known)
    ]


def examples(texts: list[str], pairs: list[str] | None = None) -> TextExamples:
    return TextExamples(
        tuple(texts), None if pairs is None else tuple(pairs), tuple(i % 2 for i in range(len(texts)))
    )


@st.composite
def rows(draw: st.DrawFn) -> TextExamples:
    texts = draw(st.lists(WORDS, min_size=2, max_size=30))
    pairs = draw(st.none() | st.lists(WORDS, min_size=len(texts), max_size=len(texts)))
    return examples(texts, pairs)


def test_phrases_are_in_the_group_of_their_sentence() -> None:
    texts = ["the film is Fun", "is fun", "film is", "a dull book", "dull", "Dull  book", "film"]
    assert containment_groups(texts).tolist() == [0, 0, 0, 1, 1, 1, 0]


def test_a_phrase_of_two_sentences_is_shared_and_does_not_join_them() -> None:
    assert containment_groups(["good film", "good book", "good", "film"]).tolist() == [0, 1, SHARED, 0]


def test_sentences_with_a_long_common_phrase_stay_together() -> None:
    phrase = "one two three four five six"
    assert containment_groups([f"{phrase} seven", f"zero {phrase}", phrase, "other"]).tolist() == [0, 0, 0, 1]
    short = "one two three four five"
    assert containment_groups([f"{short} seven", f"zero {short}", short]).tolist() == [0, 1, SHARED]


def test_pairs_that_share_a_long_text_stay_together() -> None:
    premise = "the cat sat on the mat"
    groups = containment_groups([premise, premise, "no", "no"], ["it sat", "it stood", "it sat", "it lay"])
    assert groups.tolist() == [0, 0, 1, 2]


def test_a_template_in_every_row_joins_nothing() -> None:
    question = ["is the following review positive or not"] * 50
    assert len(set(containment_groups(question, [f"review {i}" for i in range(50)]))) == 50


def test_no_rows_have_no_groups() -> None:
    assert containment_groups([]).shape == (0,)


@PROPERTY
@given(rows())
def test_what_contains_a_row_is_in_its_group(data: TextExamples) -> None:
    groups = containment_groups(data.texts, data.pairs)
    for row, group in enumerate(groups):
        if group != SHARED:
            outside = data.take(np.flatnonzero(groups != group))
            assert brute_leaks(outside, data.take([row])) == []


@PROPERTY
@given(rows(), rows())
def test_leaks_are_those_of_brute_force(train: TextExamples, held: TextExamples) -> None:
    assume((train.pairs is None) == (held.pairs is None))
    assert find_leaks(train, held) == brute_leaks(train, held)


@PROPERTY
@given(rows(), st.data(), st.integers(0, 3))
def test_carving_leaks_nothing_loses_nothing_and_repeats(
    data: TextExamples, draw: st.DataObject, seed: int
) -> None:
    alone = [f"alone{i}" for i in range(8)]  # groups of one row, so that carving is possible
    data = examples([*data.texts, *alone], None if data.pairs is None else [*data.pairs, *alone])
    wanted = draw.draw(st.integers(3, len(data) // 2))
    train, held, notes = carve(data, wanted, seed)
    assert brute_leaks(train, held) == find_leaks(train, held) == []
    assert min(wanted, 3) <= len(held) <= wanted
    assert Counter(labelled(train)) + Counter(labelled(held)) == Counter(labelled(data))
    assert set(train.labels) == set(held.labels) == {0, 1}
    assert carve(data, wanted, seed) == (train, held, notes)


def test_another_seed_carves_other_rows() -> None:
    data = examples([f"text {i}" for i in range(200)])
    assert carve(data, 20, seed=0)[1] != carve(data, 20, seed=1)[1]


def test_the_note_counts_rows_and_groups() -> None:
    data = examples(["w"] + [f"w{i}a w{i}b w" for i in range(9)])
    assert carve(data, 4, seed=0, name="test")[2] == (
        "test: 4 of 10 training rows were carved, 4 whole containment groups; none is contained in a row that "
        "stays. 1 rows that belong to several groups stay.",
    )


def test_groups_that_do_not_fit_are_left_and_noted() -> None:
    texts = [" ".join("abcdefgh"[:n]) for n in range(1, 9)] + ["x", "y"]
    train, held, notes = carve(examples(texts), 3, seed=0)
    assert held.texts == ("x", "y")
    assert "2 of 10 training rows were carved (3 were wanted)" in notes[0]
    assert len(train) == 8


@pytest.mark.parametrize("wanted", [0, -1, 4, 5])
def test_more_rows_than_there_are_cannot_be_carved(wanted: int) -> None:
    with pytest.raises(DataError, match=f"cannot carve {wanted} validation rows out of 4; allowed: 1 to 3"):
        carve(examples(["a", "b", "c", "d"]), wanted, seed=0)


def test_a_class_of_one_group_cannot_be_on_both_sides() -> None:
    data = TextExamples((*(f"t{i}" for i in range(20)), "rare case", "rare"), None, (0,) * 20 + (1, 1))
    with pytest.raises(
        DataError, match=r"class 1 has 2 rows in 1 separable groups\. .* provide a file test\.\*"
    ):
        carve(data, 5, seed=0, name="test")


def test_sst2_leaks_at_random_and_not_when_carved(glue_splits: Callable[[str], Splits]) -> None:
    """The README of the data gives 88.6 % for a random split."""
    splits = glue_splits("SST-2")
    haystack = "\n".join(map(words, splits.train.texts))
    assert not [text for text in splits.validation.texts[::8] if words(text) in haystack]
    # 665 groups of 9 rows were held out; as single draws they would vary by sqrt(.25 / 665) = 0.02.
    assert np.mean(splits.validation.labels) == pytest.approx(np.mean(splits.train.labels), abs=0.06)

    order = np.random.default_rng(0).permutation(len(splits.train))
    leaks = find_leaks(splits.train.take(order[6000:]), splits.train.take(order[:6000]))
    assert len(leaks) / 6000 == pytest.approx(0.886, abs=0.015)


@pytest.mark.parametrize(
    ("task", "first", "second", "label"),
    [("MRPC", "#1 String", "#2 String", "Quality"), ("RTE", "sentence1", "sentence2", "label")],
)
def test_carved_pairs_share_no_sentence_with_training_pairs(
    glue: Path, task: str, first: str, second: str, label: str
) -> None:
    frame = read_table(glue / task / "train.tsv").frame
    labels = tuple(np.unique(frame[label], return_inverse=True)[1].tolist())
    data = TextExamples(tuple(frame[first]), tuple(frame[second]), labels)
    train, held, _ = carve(data, len(data) // 10, seed=0)
    assert len(train) + len(held) == len(data)
    assert brute_leaks(train, held) == []
    assert train.pairs is not None
    assert held.pairs is not None
    long = [text for text in held.texts if len(text.split()) >= 6]
    assert not set(map(words, long)) & set(map(words, train.texts))
