"""Tokenizers of other kinds than WordPiece, trained here on the text of edgesmith's own source."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import edgesmith

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")


@cache
def lines() -> tuple[str, ...]:
    """English, with some words of other scripts."""
    source = (Path(edgesmith.__file__).parent / "recipe.py").read_text(encoding="utf-8")
    text = [line.strip() for line in source.splitlines() if line.count(" ") > 10]
    return (*text, *("Größe über слово и дело 日本語の日本 naïve café",) * 10)


def _finish(tokenizer: Tokenizer) -> Tokenizer:
    """Gives it special tokens around a text and a pair, as RoBERTa has them."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")],
    )
    return tokenizer


@cache
def byte_level_bpe(size: int = 600) -> Tokenizer:
    """As GPT-2's and RoBERTa's: an alphabet of all 256 bytes, no unknown token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(lines(), trainer)
    return _finish(tokenizer)


@cache
def suffix_bpe() -> Tokenizer:
    """As the first BPE models: pieces of characters, those that end a word marked with ``</w>``."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=list(SPECIAL), end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(lines(), trainer)
    return _finish(tokenizer)


@cache
def prefix_bpe() -> Tokenizer:
    """Pieces of characters, those that continue a word marked with ``##``."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=list(SPECIAL), continuing_subword_prefix="##", show_progress=False
    )
    tokenizer.train_from_iterator(lines(), trainer)
    return _finish(tokenizer)


@cache
def byte_fallback_bpe() -> Tokenizer:
    """As SentencePiece's BPE: a mark for spaces, and a piece for each byte, which unknown characters fall apart into."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    special = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(lines(), trainer)
    return _finish(tokenizer)


@cache
def unigram() -> Tokenizer:
    """As SentencePiece's Unigram models: XLM-R's, ALBERT's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=500, special_tokens=list(SPECIAL), unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(lines(), trainer)
    return _finish(tokenizer)


KINDS = {
    "byte-level BPE": byte_level_bpe,
    "BPE with suffixes": suffix_bpe,
    "BPE with prefixes": prefix_bpe,
    "BPE with byte fallback": byte_fallback_bpe,
    "Unigram": unigram,
}
