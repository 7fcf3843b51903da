"""Do two tokenizers read every character alike, alone and inside a word?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgesmith.records import Progress

Tokenize = Callable[[str], list[int]]

_BLOCK = 512
_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class CodePoints:
    """What a sweep found.

    Attributes:
        n: characters that were compared.
        different: how many of them were read differently.
        examples: the first of these, as ``U+XXXX``.
    """

    n: int
    different: int
    examples: tuple[str, ...]


def sweep(
    reference: Tokenize, candidate: Tokenize, characters: Sequence[str], progress: Progress
) -> CodePoints:
    """Compares two tokenizers on texts that hold each character alone, inside a word and twice in a row.

    Args:
        reference, candidate: text -> all its ids, none cut off.
        characters: of one code point each.
    """
    progress.start("comparing tokenizers", len(characters))
    wrong: list[str] = []
    for start in range(0, len(characters), _BLOCK):
        wrong += _different(reference, candidate, characters[start : start + _BLOCK])
        progress.advance(min(start + _BLOCK, len(characters)))
    progress.finish()
    return CodePoints(
        n=len(characters), different=len(wrong), examples=tuple(f"U+{ord(c):04X}" for c in wrong[:_SHOWN])
    )


def _different(reference: Tokenize, candidate: Tokenize, characters: Sequence[str]) -> list[str]:
    text = " ".join(f"{c} it{c}is {c}{c}" for c in characters)
    if reference(text) == candidate(text):
        return []
    if len(characters) == 1:
        return list(characters)
    middle = len(characters) // 2
    halves = characters[:middle], characters[middle:]
    return [c for half in halves for c in _different(reference, candidate, half)]
