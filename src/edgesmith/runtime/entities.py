"""Entities of a sequence of tags, and what they count for in F1, as conlleval and seqeval count them."""

from __future__ import annotations

from collections.abc import Sequence

OUTSIDE = "O"
PREFIXES = ("B", "I", "E", "S")
"""Of a tag such as ``B-PER``: begin, inside, and in the larger scheme end and single."""

Entity = tuple[str, int, int]
"""Type, first word, last word."""


def split_tag(tag: str) -> tuple[str, str]:
    """Prefix and type; of ``O`` itself and nothing."""
    prefix, _, kind = tag.partition("-")
    return prefix, kind


def is_tag(tag: str) -> bool:
    """Whether it is ``O``, or a prefix, a hyphen and a type."""
    prefix, kind = split_tag(tag)
    return tag == OUTSIDE or (prefix in PREFIXES and bool(kind))


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of a sentence, in order.

    An entity begins at B or S, wherever the type changes, and at an I or E that follows O, E or S: so an entity that
    lacks its B counts. It ends before such a place and before O. Source: the rules ``startOfChunk`` and ``endOfChunk``
    of conlleval.pl (CoNLL-2000 and 2003 shared tasks), which seqeval keeps with ``strict=False``.

    Example:
        >>> entities(["B-PER", "I-PER", "O", "I-LOC"])
        [('PER', 0, 1), ('LOC', 3, 3)]
    """
    found: list[Entity] = []
    first, before, before_kind = 0, OUTSIDE, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        prefix, kind = split_tag(tag)
        is_new = prefix != OUTSIDE and (
            prefix in ("B", "S") or before in (OUTSIDE, "E", "S") or kind != before_kind
        )
        if before != OUTSIDE and (is_new or prefix == OUTSIDE):
            found.append((before_kind, first, place - 1))
        if is_new:
            first = place
        before, before_kind = prefix, kind
    return found


def count_entities(tags: Sequence[str], truth: Sequence[str]) -> tuple[int, int, int]:
    """Entities of `tags` that `truth` has with the same type and bounds, all of `tags`, and all of `truth`."""
    found, wanted = set(entities(tags)), set(entities(truth))
    return len(found & wanted), len(found), len(wanted)


def f1_of_counts(right: float, found: float, wanted: float) -> float:
    """2 right / (found + wanted), and 0 where there is nothing on either side, as seqeval has it."""
    return float(2 * right / (found + wanted)) if found + wanted else 0.0
