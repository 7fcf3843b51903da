"""A WordPiece tokenizer of a few words, lower-cased as BERT's, for tests that need no checkpoint."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

PIECES = (
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "ada", "love", "##lace", "was", "born", "in", "lon", "##don", "on", "a",
    "rain", "##y", "day", ".", ",", "'", "s", "ü", "##ber", "u", "over", "the", "hill", "who", "where", "?",
)  # fmt: skip


def word_pieces() -> Tokenizer:
    vocab = {piece: number for number, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    return tokenizer


def fast_tokenizer() -> Any:
    """The same as transformers has it, which the tests of the runtime do without."""
    from transformers import PreTrainedTokenizerFast

    names = {"unk": "[UNK]", "pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]"}
    tokens = {f"{role}_token": token for role, token in names.items()}
    return PreTrainedTokenizerFast(tokenizer_object=word_pieces(), **tokens)
