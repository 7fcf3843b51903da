"""Vocabulary trimming: a tokenizer that keeps the pieces a corpus uses, or more, and can still write everything else.

A text whose pieces all stay is tokenised as before: the longest match (WordPiece), the segmentation of the best score
(Unigram) and the merge that comes first (BPE, which keeps what a piece is merged from) are found again among fewer. Other
words fall apart into shorter pieces, down to single characters or bytes, which all stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from edgesmith.compress.vocabulary_file import TokenizerFile
from edgesmith.errors import RecipeError
from edgesmith.models.pieces import is_letter


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
        tokenizer_json: text of a ``tokenizer.json``, of WordPiece, BPE or Unigram.
        corpus_ids: token ids of the training texts, under the old tokenizer.
        min_count: a token seen less often than this leaves.
        vocab_size: most tokens that may stay; the rarest leave first. None for no limit.
        keep_letters: keep, after these, every word and part of a word that is not in the corpus but that its letters can
            write.

    Raises:
        UnsupportedError: a tokenizer of another kind.
        RecipeError: `vocab_size` is below what must stay (special tokens and single characters).
    """
    file = TokenizerFile(tokenizer_json)
    _check_size(file, vocab_size)
    counts = Counter(token for ids in corpus_ids for token in ids)
    wanted = sorted(
        (token for token, count in counts.items() if count >= min_count), key=lambda token: -counts[token]
    )
    if keep_letters:
        wanted += sorted(_writable(file, counts) - counts.keys())
    kept = set(file.floor)
    for token in wanted:
        needed = file.with_parts([token]) - kept
        if vocab_size is None or len(kept) + len(needed) <= vocab_size:
            kept |= needed
    kept_ids = tuple(sorted(kept))
    total = sum(counts.values())
    return TrimmedVocabulary(
        tokenizer_json=file.cut(kept_ids),
        kept_ids=kept_ids,
        coverage=sum(counts[token] for token in kept) / total if total else 1.0,
    )


def check_can_trim(tokenizer_json: str, vocab_size: int | None) -> None:
    """Raises what `trim_vocabulary` would raise, before any text is read."""
    _check_size(TokenizerFile(tokenizer_json), vocab_size)


def _check_size(file: TokenizerFile, vocab_size: int | None) -> None:
    least = len(file.floor)
    if vocab_size is not None and vocab_size < least:
        raise RecipeError(
            f"prune.vocabulary_size is {vocab_size}; allowed: {least} or more, the special tokens and single characters "
            f"that stay in any case, or null for no limit. Type: --set prune.vocabulary_size={least}"
        )


def _writable(file: TokenizerFile, used: Iterable[int]) -> set[int]:
    """Ids of the words and parts of words that consist of the letters, and their marks, of the `used` tokens."""
    texts = {token: file.pieces.text(piece).removeprefix(" ") for piece, token in file.vocab.items()}
    seen = set(used) - file.special
    letters = set(filter(is_letter, "".join(text for token, text in texts.items() if token in seen)))
    return {token for token, text in texts.items() if text and letters.issuperset(text)}
