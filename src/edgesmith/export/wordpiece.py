"""A BERT tokenizer as tables that a graph can look up, read off the tokenizer itself.

BERT's normalizer and its splitting of words work character by character: whatever stands around it, a character adds
the same letters and spaces to the text. So what each of Unicode's characters adds is asked of the tokenizer, once.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesmith.errors import UnsupportedError
from edgesmith.runtime.text import load_tokenizer

CHARACTERS = [chr(code) for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]
"""All of Unicode but NUL, which strings of C end with, and surrogates, which no text has."""

LONGEST_WORD = 200
"""Characters that `BertTokenizer` of onnxruntime-extensions 0.15.2 takes in a word; no attribute changes it."""

_RANGE = 64
"""Neighbours from this many on are a range in a pattern, fewer are rows of the table: with BERT's uncased vocabulary 13
ranges and 5,569 rows; without ranges some 220,000 rows, with ranges of any length 676 of them."""

_BLOCK = 256
"""Characters that are asked together: where they come back as they were, as most do, each adds itself."""
_OWN_LETTERS = range(0xA000, 0xA48D)
"""Yi syllables: letters that no rule of BERT's touches, and that few vocabularies have."""


@dataclass(frozen=True, kw_only=True)
class WordPiece:
    """A tokenizer that gives ``[CLS]``, the pieces of words and ``[SEP]``, in tables.

    Attributes:
        vocab: pieces by id. The tokenizer's own come first. Those from `size` on are single characters that it has
            not: a word whose greedy pieces have one of them is a word that the tokenizer does not know.
        size: of the tokenizer's own vocabulary.
        prefix: of pieces that continue a word.
        longest: characters of the longest word that is not unknown.
        special: tokens that are taken as such where a text has them literally, longest first.
        adds: character or special token -> what it adds to the text. One that is missing adds `unknown`.
        isolated, dropped: ranges of characters, for brackets of a regular expression: those that stand as words of
            their own, and those that add nothing.
        unknown: a letter in place of every character that is in no piece.
        mark: a letter that stands between words; its id is the last one.
    """

    vocab: tuple[str, ...]
    size: int
    first_id: int
    last_id: int
    unknown_id: int
    prefix: str
    longest: int
    special: tuple[str, ...]
    adds: dict[str, str]
    isolated: str
    dropped: str
    unknown: str
    mark: str


def read_wordpiece(path: Path) -> WordPiece:
    """The tables of the tokenizer in a ``tokenizer.json``.

    Raises:
        UnsupportedError: it is of another kind, or its rules do not work character by character.
    """
    tokenizer = load_tokenizer(path)
    data = json.loads(tokenizer.to_str())
    _check_kind(data, path)
    special = sorted((token["content"] for token in data["added_tokens"]), key=len, reverse=True)
    own = _own_pieces(tokenizer)
    letters = set("".join(piece for piece in own if piece not in special)) - {" "}
    unknown, mark = _letters_for_us(letters)
    additions = ((c, _known(text, letters, unknown)) for c, text in _additions(tokenizer, path))
    added = {c: text for c, text in additions if text != unknown}
    _check_order(added, letters, path)
    alone = f" {unknown} "
    isolated = _ranges((c for c, text in added.items() if text == alone), added)
    dropped = _ranges(c for c, text in added.items() if not text)
    in_a_range = {chr(code) for a, b in (*isolated, *dropped) for code in range(a, b + 1)}
    adds = {c: text for c, text in added.items() if text not in ("", alone) or c not in in_a_range}
    first, last = _around(tokenizer, path)
    prefix, letters = data["model"]["continuing_subword_prefix"], {*letters, unknown}
    single = [piece for c in sorted(letters) for piece in (c, prefix + c)]
    return WordPiece(
        vocab=(*dict.fromkeys((*own, *single)), mark),
        size=len(own),
        first_id=first,
        last_id=last,
        unknown_id=tokenizer.token_to_id(data["model"]["unk_token"]),
        prefix=prefix,
        longest=data["model"]["max_input_chars_per_word"],
        special=tuple(special),
        adds={**adds, **{token: f" {token} " for token in special}},
        isolated=_brackets(isolated),
        dropped=_brackets(dropped),
        unknown=unknown,
        mark=mark,
    )


def _check_kind(data: dict[str, Any], path: Path) -> None:
    wanted = {"normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer", "model": "WordPiece"}
    for part, kind in wanted.items():
        found = (data[part] or {}).get("type")
        if found != kind:
            raise _refusal(path, f"its {part} is {found}; allowed: {kind}, as BERT's")
    for token in data["added_tokens"]:
        text = token["content"]
        is_plain = text.isascii() and text.isprintable() and " " not in text
        if token["normalized"] or token["single_word"] or not is_plain:
            raise _refusal(
                path,
                f"the added token {text!r} has rules of its own; allowed: printable ASCII without spaces, neither "
                "`normalized` nor `single_word`",
            )
    longest = data["model"]["max_input_chars_per_word"]
    if longest > LONGEST_WORD:
        raise _refusal(path, f"max_input_chars_per_word is {longest}; allowed: up to {LONGEST_WORD}")


def _refusal(path: Path, why: str) -> UnsupportedError:
    return UnsupportedError(f"{path} cannot go into a graph: {why}. The bundle's own run.py takes texts.")


def _own_pieces(tokenizer: Any) -> list[str]:
    """Pieces by id; one with a space, which nothing can be, in place of an id that is missing or cannot be written."""
    by_id = {index: piece for piece, index in tokenizer.get_vocab(with_added_tokens=True).items()}
    pieces = (by_id.get(index, " ") for index in range(max(by_id) + 1))
    return [
        piece if piece and not any(c.isspace() or c == "\0" for c in piece) else f"no piece {index}"
        for index, piece in enumerate(pieces)
    ]


def _letters_for_us(letters: set[str]) -> tuple[str, str]:
    free = [c for c in map(chr, _OWN_LETTERS) if c not in letters]
    return free[0], free[1]


def _additions(tokenizer: Any, path: Path) -> Iterator[tuple[str, str]]:
    """Each character with what it adds between two letters: letters, and spaces where words end."""
    for start in range(0, len(CHARACTERS), _BLOCK):
        block = CHARACTERS[start : start + _BLOCK]
        together = _words(tokenizer, "a" + "".join(block) + "a")[1:-1]
        if together == "".join(block):
            yield from zip(block, block, strict=True)
            continue
        found = _words(tokenizer, " bb ".join(f"a{c}a" for c in block)).split(" bb ")
        if len(found) != len(block) or not all(one[0] == one[-1] == "a" for one in found):
            raise _refusal(path, "its rules do not work character by character")
        yield from ((c, one[1:-1]) for c, one in zip(block, found, strict=True))


def _words(tokenizer: Any, text: str) -> str:
    """The words of a text with a space between them."""
    normalized = tokenizer.normalizer.normalize_str(text)
    return " ".join(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalized))


def _known(text: str, letters: set[str], unknown: str) -> str:
    """The same with one letter for each run of those that are in no piece."""
    if text in letters or not text.strip(" "):
        return text
    if len(text) == 1:
        return unknown
    words = (unknown if any(c not in letters for c in word) else word for word in text.split(" "))
    return " ".join(words)


def _check_order(added: dict[str, str], letters: set[str], path: Path) -> None:
    """Decomposing puts marks that follow one another in an order of its own; a graph does not."""
    marks = [c for c in letters if unicodedata.combining(c) and added.get(c) == c]
    if added["\u00e9"] != "\u00e9" and marks:
        raise _refusal(
            path, f"it decomposes characters and keeps the mark U+{ord(marks[0]):04X}, in an order of its own"
        )


def _ranges(characters: Iterable[str], harmless: dict[str, str] | None = None) -> list[tuple[int, int]]:
    """Long ranges of code points; they may run over those that stand as words of their own, whatever they are."""
    ranges: list[list[int]] = []
    for code in map(ord, characters):
        between = range(ranges[-1][1] + 1, code) if ranges else range(0)
        is_next = bool(ranges) and len(between) < _RANGE
        if is_next and all(_is_isolated((harmless or {}).get(chr(one), "")) for one in between):
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return [(a, b) for a, b in ranges if b - a + 1 >= _RANGE]


def _is_isolated(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] == " "


def _brackets(ranges: list[tuple[int, int]]) -> str:
    return "".join(rf"\x{{{a:X}}}-\x{{{b:X}}}" for a, b in ranges)


def _around(tokenizer: Any, path: Path) -> tuple[int, int]:
    """Ids before and after the pieces of a text."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    empty, one = tokenizer.encode("").ids, tokenizer.encode("a").ids
    if len(empty) != 2 or len(one) != 3 or [one[0], one[-1]] != empty:
        raise _refusal(
            path, f"it puts {len(empty)} special tokens around a text; allowed: one before and one after it"
        )
    return empty[0], empty[1]
