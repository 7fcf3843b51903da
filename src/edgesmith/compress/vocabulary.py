"""Vocabulary trimming: a tokenizer that keeps the tokens a corpus uses, or more, and can still write everything else.

A text whose tokens all stay is tokenised as before, because WordPiece takes the longest match and every longer match
was absent before too. Other words fall apart into shorter pieces, down to single characters, which all stay.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgesmith.errors import RecipeError, UnsupportedError


@dataclass(frozen=True, kw_only=True)
class TrimmedVocabulary:
    """A smaller tokenizer and where its tokens came from.

    Attributes:
        tokenizer_json: text of the new ``tokenizer.json``.
        kept_ids: old id of every new id, ascending.
        coverage: fraction of the corpus's tokens that stay.
    """

    tokenizer_json: str
    kept_ids: tuple[int, ...]
    coverage: float

    def remap(self) -> dict[int, int]:
        """Old id -> new id."""
        return {old: new for new, old in enumerate(self.kept_ids)}


def trim_vocabulary(
    tokenizer_json: str,
    corpus_ids: Iterable[Iterable[int]],
    *,
    min_count: int = 1,
    vocab_size: int | None = None,
    keep_letters: bool = False,
) -> TrimmedVocabulary:
    """Drops tokens that the corpus does not use.

    Args:
        tokenizer_json: text of a WordPiece ``tokenizer.json``.
        corpus_ids: token ids of the training texts, under the old tokenizer.
        min_count: a token seen less often than this leaves.
        vocab_size: most tokens that may stay; the rarest leave first. None for no limit.
        keep_letters: keep, after these, every word and part of a word that is not in the corpus but that its letters can
            write.

    Raises:
        UnsupportedError: the tokenizer is not WordPiece.
        RecipeError: `vocab_size` is below what must stay (special tokens and single characters).
    """
    data = json.loads(tokenizer_json)
    if data["model"]["type"] != "WordPiece":
        raise UnsupportedError(
            f"vocabulary trimming of a {data['model']['type']} tokenizer is not supported; WordPiece is. "
            "Give a model with a WordPiece tokenizer, as BERT and DistilBERT have."
        )
    vocab: dict[str, int] = data["model"]["vocab"]
    counts = Counter(token for ids in corpus_ids for token in ids)
    floor = _indispensable(data)
    if vocab_size is not None and vocab_size < len(floor):
        raise RecipeError(
            f"a vocabulary of {vocab_size} is below the {len(floor)} special tokens and characters that stay. "
            f"Allow at least {len(floor)}, or leave the size open."
        )
    used = sorted(
        (token for token, count in counts.items() if count >= min_count), key=lambda token: -counts[token]
    )
    if keep_letters:
        used += sorted(_writable(data, counts) - counts.keys())
    room = None if vocab_size is None else vocab_size - len(floor)
    kept = tuple(sorted(floor | set([token for token in used if token not in floor][:room])))
    remap = {old: new for new, old in enumerate(kept)}
    data["model"]["vocab"] = {
        token: remap[old] for token, old in sorted(vocab.items(), key=lambda item: item[1]) if old in remap
    }
    for added in data["added_tokens"]:
        added["id"] = remap[added["id"]]
    _remap_post_processor(data.get("post_processor"), remap)
    if data.get("padding"):
        data["padding"]["pad_id"] = remap[data["padding"]["pad_id"]]
    total = sum(counts.values())
    return TrimmedVocabulary(
        tokenizer_json=json.dumps(data, ensure_ascii=False),
        kept_ids=kept,
        coverage=sum(counts[token] for token in kept) / total if total else 1.0,
    )


def _indispensable(data: dict[str, Any]) -> set[int]:
    """Ids of special tokens, of single characters, and of tokens that single characters cannot replace."""
    vocab: dict[str, int] = data["model"]["vocab"]
    prefix = data["model"]["continuing_subword_prefix"]
    ids = {added["id"] for added in data["added_tokens"]} | {vocab[data["model"]["unk_token"]]}
    for token, token_id in vocab.items():
        piece = token.removeprefix(prefix)
        starts = not token.startswith(prefix)
        replaceable = all(
            (character if starts and at == 0 else prefix + character) in vocab
            for at, character in enumerate(piece)
        )
        if len(piece) == 1 or not replaceable:
            ids.add(token_id)
    return ids


def _writable(data: dict[str, Any], used: Iterable[int]) -> set[int]:
    """Ids of the words and parts of words that consist of the letters, and their marks, of the `used` tokens."""
    prefix = data["model"]["continuing_subword_prefix"]
    pieces = {token_id: token.removeprefix(prefix) for token, token_id in data["model"]["vocab"].items()}
    special = {added["id"] for added in data["added_tokens"]}
    letters = {
        character
        for token in used
        if token not in special
        for character in pieces[token]
        if is_letter(character)
    }
    return {token_id for token_id, piece in pieces.items() if piece and letters.issuperset(piece)}


def is_letter(character: str) -> bool:
    """Whether it is a letter, or a mark that belongs to one, as the vowel signs of Devanagari do."""
    return unicodedata.category(character)[0] in "LM"


def _remap_post_processor(processor: dict[str, Any] | None, remap: dict[int, int]) -> None:
    """Gives the special tokens of a post-processor their new ids, in place."""
    if processor is None:
        return
    for special in processor.get("special_tokens", {}).values():  # TemplateProcessing
        special["ids"] = [remap[token] for token in special["ids"]]
    for name in ("sep", "cls"):  # BertProcessing
        if name in processor:
            token, old = processor[name]
            processor[name] = [token, remap[old]]
    for inner in processor.get("processors", []):  # Sequence
        _remap_post_processor(inner, remap)
