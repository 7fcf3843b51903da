"""How a tokenizer writes its pieces: what marks a space, the middle or the end of a word, and what letters are left."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tokenizers.decoders import ByteLevel

SPACE_MARK = "\u2581"
"""SentencePiece's sign for a space, which is part of the word behind it."""

_BYTES = ByteLevel()


@dataclass(frozen=True)
class Pieces:
    """Reads the pieces of one tokenizer.

    Attributes:
        continuing: begins a piece that continues a word, as WordPiece's ``##``; empty where nothing does.
        ending: ends a piece that ends a word, such as ``</w>``; likewise.
        is_byte_level: each character of a piece stands for a byte (GPT-2).
        marks_spaces: the first piece of a word begins with the space before it.
    """

    continuing: str = ""
    ending: str = ""
    is_byte_level: bool = False
    marks_spaces: bool = False

    @staticmethod
    def of(tokenizer: dict[str, Any]) -> Pieces:
        """Of a parsed ``tokenizer.json``."""
        model = tokenizer["model"]
        is_byte_level = "ByteLevel" in {
            *_kinds(tokenizer.get("pre_tokenizer")),
            *_kinds(tokenizer.get("normalizer")),
        }
        space = "\u0120" if is_byte_level else SPACE_MARK  # GPT-2's character for byte 32 is U+0120
        names = model["vocab"] if isinstance(model["vocab"], dict) else (name for name, _ in model["vocab"])
        return Pieces(
            continuing=model.get("continuing_subword_prefix") or "",
            ending=model.get("end_of_word_suffix") or "",
            is_byte_level=is_byte_level,
            marks_spaces=any(name.startswith(space) and len(name) > 1 for name in names),
        )

    def text(self, piece: str) -> str:
        """What it writes, without the marks of a word's middle and end; U+FFFD for bytes that are no whole character."""
        body = piece.removeprefix(self.continuing).removesuffix(self.ending)
        return str(_BYTES.decode([body])) if self.is_byte_level else body.replace(SPACE_MARK, " ")

    def spelled(self, piece: str) -> list[str]:
        """The pieces of one character (or byte) each that write the same, with the marks of their place."""
        body = piece.removeprefix(self.continuing).removesuffix(self.ending)
        letters = [self.continuing + letter for letter in body]
        if letters and not piece.startswith(self.continuing):
            letters[0] = body[0]
        if letters and piece.endswith(self.ending):
            letters[-1] += self.ending
        return letters

    def is_word(self, piece: str) -> bool:
        """Whether it can be a whole word, as far as its marks tell, and is letters alone."""
        if not piece.endswith(self.ending) or (self.continuing and piece.startswith(self.continuing)):
            return False
        text = self.text(piece)
        word = text.removeprefix(" ")
        return (len(word) < len(text) or not self.marks_spaces) and word != "" and all(map(is_letter, word))


def is_letter(character: str) -> bool:
    """Whether it is a letter, or a mark that belongs to one, as the vowel signs of Devanagari do."""
    return unicodedata.category(character)[0] in "LM"


def _kinds(part: dict[str, Any] | None) -> Iterator[str]:
    """Types of a normalizer or pre-tokenizer and, of a sequence, of all in it."""
    if part is None:
        return
    yield part["type"]
    for inner in (*part.get("pretokenizers", ()), *part.get("normalizers", ())):
        yield from _kinds(inner)
