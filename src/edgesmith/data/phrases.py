"""Finds which of many token sequences stand inside a text, in time linear in the text."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import product

Tokens = tuple[str, ...]
Item = tuple[Tokens, ...]  # a row's sides: one text, or two


def tokenize(text: str) -> Tokens:
    """Casefolded words between whitespace."""
    return tuple(map(sys.intern, text.casefold().split()))


class PhraseIndex:
    """Phrases by their first 1, 2, 4, 8, ... tokens.

    At each position of a text the prefix doubles as long as it is the prefix of some phrase; phrases from that
    length up to twice of it are looked up by their lengths. A scan so costs no more than a walk through a trie.
    """

    def __init__(self, phrases: Iterable[Tokens]) -> None:
        self._phrases = set(phrases)
        self._lengths: dict[Tokens, set[int]] = {}  # prefix -> lengths of its phrases, below twice its own
        for phrase in self._phrases:
            size = 1
            while size <= len(phrase):
                lengths = self._lengths.setdefault(phrase[:size], set())
                size *= 2
            if phrase:
                lengths.add(len(phrase))

    def inside(self, tokens: Tokens) -> list[Tokens]:
        """The distinct phrases that stand in `tokens` as a contiguous sequence, itself included."""
        return list(dict.fromkeys(self._scan(tokens)))

    def _scan(self, tokens: Tokens) -> Iterator[Tokens]:
        if () in self._phrases:
            yield ()
        for start in range(len(tokens)):
            size = 1
            while (lengths := self._lengths.get(tokens[start : start + size])) is not None:
                for length in lengths:
                    phrase = tokens[start : start + length]
                    if phrase in self._phrases:
                        yield phrase
                size *= 2
                if start + size > len(tokens):
                    break


class ItemIndex:
    """Distinct rows; finds those that are contained in a row side by side.

    Attributes:
        ids: row -> its number, in order of first appearance.
        sides: the texts of each side.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.ids: dict[Item, int] = {}
        for item in items:
            self.ids.setdefault(item, len(self.ids))
        self.sides = [PhraseIndex(texts) for texts in zip(*self.ids, strict=True)]

    def contained(self, item: Item) -> list[int]:
        """Numbers of the rows of which each text is contained in the text of `item` on the same side."""
        inside = (side.inside(tokens) for side, tokens in zip(self.sides, item, strict=True))
        return [self.ids[found] for found in product(*inside) if found in self.ids]
