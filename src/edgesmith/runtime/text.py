"""Text in, label out: tokens by the bundle's own tokenizer, probabilities by softmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesmith.errors import BundleError, DataError, MissingExtraError

PAD_TOKENS = ("[PAD]", "<pad>")


@dataclass(frozen=True)
class Answer:
    """The most probable label of one input, its class index, and its probability in [0, 1]."""

    label: str
    index: int
    probability: float

    def line(self, *, is_brief: bool) -> str:
        """The label and, unless `is_brief`, a tab and the probability."""
        return self.label if is_brief else f"{self.label}\t{self.probability:.4f}"


@dataclass(frozen=True)
class Score:
    """The number that answers one input."""

    score: float

    def line(self, *, is_brief: bool) -> str:
        """The number."""
        return f"{self.score:.4f}"


class TextEncoder:
    """Turns texts into the feeds of a BERT-family graph.

    Args:
        tokenizer_json: file of the `tokenizers` library.
        max_length: longest input in tokens, special tokens included; the longer of a pair is cut first.

    Raises:
        BundleError: the file cannot be loaded, or `max_length` leaves no room beside the special tokens.
        MissingExtraError: `tokenizers` is not installed.
    """

    def __init__(self, tokenizer_json: Path, max_length: int) -> None:
        self._tokenizer = load_tokenizer(tokenizer_json)
        special = self._tokenizer.num_special_tokens_to_add(is_pair=True)
        if max_length <= special:
            raise BundleError(
                f"max_length is {max_length}; allowed: {special + 1} or more, for the special tokens."
            )
        self._pad_id = _pad_id(self._tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length, strategy="longest_first")

    def many(self, texts: str | Sequence[str]) -> list[str]:
        """The texts as a list; a single string is one text."""
        return [texts] if isinstance(texts, str) else list(texts)

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[np.int64]]:
        """Feeds for a batch, padded on the right to its longest input and no further.

        Args:
            texts: B texts.
            pairs: the second text of each input, where the task has one.

        Returns:
            ``input_ids``, ``attention_mask`` and ``token_type_ids``, int64, each of shape (B, S).

        Raises:
            DataError: `pairs` has another length, or an input is not a string of Unicode characters.
        """
        require_one_each(texts, pairs)
        encodings = [
            self._encode_one(i, text, pairs[i] if pairs is not None else None) for i, text in enumerate(texts)
        ]
        shape = len(texts), max((len(encoding.ids) for encoding in encodings), default=0)  # (B, S)
        feeds = {
            "input_ids": np.full(shape, self._pad_id, np.int64),
            "attention_mask": np.zeros(shape, np.int64),
            "token_type_ids": np.zeros(shape, np.int64),
        }
        for row, encoding in enumerate(encodings):
            feeds["input_ids"][row, : len(encoding.ids)] = encoding.ids
            feeds["attention_mask"][row, : len(encoding.ids)] = encoding.attention_mask
            feeds["token_type_ids"][row, : len(encoding.ids)] = encoding.type_ids
        return feeds

    def _encode_one(self, row: int, text: str, pair: str | None) -> Any:
        # One call an input, not `encode_batch`: that one starts a thread a core, and the caller counts threads.
        try:
            return self._tokenizer.encode(text, pair)
        except TypeError:
            got = ascii(text if pair is None else (text, pair))
            raise DataError(f"text {row} is {got:.200}; expected a string of Unicode characters.") from None


def require_one_each(texts: Sequence[str], pairs: Sequence[str] | None) -> None:
    """Raises `DataError` where there are pairs, but not one for each text."""
    if pairs is not None and len(pairs) != len(texts):
        raise DataError(f"{len(texts)} texts and {len(pairs)} pairs; each text needs exactly one.")


def load_tokenizer(path: Path) -> Any:
    """A `tokenizers.Tokenizer` from its file; raises `BundleError` or `MissingExtraError`."""
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise MissingExtraError("tokenizers", "onnxruntime") from None
    try:
        return Tokenizer.from_file(str(path))
    except Exception as problem:  # noqa: BLE001 - the library raises `Exception` itself
        raise BundleError(
            f"{path} cannot be loaded as a tokenizer: {problem}. Export the model again."
        ) from None


def _pad_id(tokenizer: Any) -> int:
    """What fills short rows: the tokenizer's own choice, else its padding token, else 0, which the mask hides."""
    if tokenizer.padding is not None:
        return int(tokenizer.padding["pad_id"])
    known = (tokenizer.token_to_id(token) for token in PAD_TOKENS)
    return next((token_id for token_id in known if token_id is not None), 0)


def softmax(logits: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Probabilities over the last axis; the largest logit is subtracted, so that nothing overflows."""
    shifted = np.asarray(logits, np.float64)
    exponentials = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def decode_scores(logits: npt.NDArray[np.floating[Any]]) -> list[Score]:
    """The only output of each row, (B, 1).

    Raises:
        BundleError: there are more.
    """
    if logits.ndim != 2 or logits.shape[1] != 1:
        raise BundleError(
            f"the model's output has shape {logits.shape}; expected (batch, 1), a score for each input. "
            "Export the model again."
        )
    return [Score(float(row[0])) for row in logits]


def decode_labels(logits: npt.NDArray[np.floating[Any]], labels: Sequence[str]) -> list[Answer]:
    """The most probable label of each row; the first one of equals.

    Args:
        logits: (B, L).
        labels: L names, by class index.

    Raises:
        BundleError: the logits are not of shape (B, L).
    """
    if logits.ndim != 2 or logits.shape[1] != len(labels):
        raise BundleError(
            f"the model's output has shape {logits.shape}; expected (batch, {len(labels)}), a logit for each of "
            f"{', '.join(labels)}. Export the model again."
        )
    probabilities = softmax(logits)  # (B, L)
    best = logits.argmax(axis=1)  # (B,)
    return [
        Answer(labels[index], int(index), float(row[index]))
        for row, index in zip(probabilities, best, strict=True)
    ]
