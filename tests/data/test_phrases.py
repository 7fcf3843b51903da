from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edgesmith.data.phrases import ItemIndex, PhraseIndex, tokenize

PROPERTY = settings(max_examples=50, deadline=None)  # no deadline: the machine may be busy
# Two words and up to nine of them: many repeats, on both sides of the prefix length.
SEQUENCES = st.lists(st.sampled_from("ab"), max_size=9).map(tuple)


def contains(text: tuple[str, ...], phrase: tuple[str, ...]) -> bool:
    """Independent: one letter a token, so a contiguous sequence is a substring."""
    return "".join(phrase) in "".join(text)


def test_tokens_are_casefolded_words() -> None:
    assert tokenize("  Die STRASSE\tdie\nStra\u00dfe ") == ("die", "strasse", "die", "strasse")
    assert tokenize(" ") == ()


@PROPERTY
@given(st.lists(SEQUENCES, max_size=12), SEQUENCES)
def test_every_phrase_inside_a_text_is_found_and_no_other(
    phrases: list[tuple[str, ...]], text: tuple[str, ...]
) -> None:
    found = PhraseIndex(phrases).inside(text)
    assert len(found) == len(set(found))
    assert set(found) == {phrase for phrase in phrases if contains(text, phrase)}


@PROPERTY
@given(st.lists(st.tuples(SEQUENCES, SEQUENCES), min_size=1, max_size=12), st.tuples(SEQUENCES, SEQUENCES))
def test_a_pair_is_contained_where_both_sides_are(
    items: list[tuple[tuple[str, ...], ...]], text: tuple[tuple[str, ...], ...]
) -> None:
    index = ItemIndex(items)
    assert set(index.contained(text)) == {
        number for item, number in index.ids.items() if all(map(contains, text, item))
    }
