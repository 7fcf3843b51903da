"""Texts of any length as windows that a model can take, and where each of their tokens stands in the text."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesmith.errors import BundleError, DataError

Span = tuple[int, int]
"""First character, and the one past the last."""

NOWHERE: Span = (-1, -1)
"""Of a token that is no part of the text an answer is found in: special ones, and those of a question."""


@dataclass(frozen=True)
class Window:
    """What a model takes in one go of an input, special tokens included; S tokens.

    Attributes:
        ids: (S,).
        types: (S,) token types.
        offsets: (S,) each token's place in the text, or `NOWHERE`.
    """

    ids: list[int]
    types: list[int]
    offsets: list[Span]


class WindowEncoder:
    """Cuts texts into windows that overlap by a third, so that every token stands in one with words on both sides.

    A third is what BERT's question answering has (arXiv:1810.04805; run_squad.py: 128 of 384 tokens).

    Args:
        tokenizer: of the `tokenizers` library; its truncation is changed.
        max_length: tokens of a window, special tokens included.

    Raises:
        BundleError: `max_length` leaves no room beside the special tokens.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length
        self._lock = threading.Lock()  # truncation is a setting of the tokenizer, not of a call
        special = tokenizer.num_special_tokens_to_add(is_pair=True)
        if max_length <= special:
            raise BundleError(
                f"max_length is {max_length}; allowed: {special + 1} or more, for the special tokens."
            )
        tokenizer.no_padding()

    def many(self, texts: str | Sequence[str]) -> list[str]:
        """The texts as a list; a single string is one text."""
        return [texts] if isinstance(texts, str) else list(texts)

    def windows(self, text: str) -> list[Window]:
        """The windows of a text, one or more.

        Raises:
            DataError: it is not a string of Unicode characters.
        """
        room = self._max_length - self._tokenizer.num_special_tokens_to_add(is_pair=False)
        return self._cut(text, None, room, "longest_first")

    def question_windows(self, question: str, context: str) -> list[Window]:
        """The windows of a context, one or more, each with the whole question before its part; as many have places.

        Raises:
            DataError: one is not a string of Unicode characters, the question leaves no room, or the context has no tokens.
        """
        room = self.room_beside(question)
        if not isinstance(context, str):  # None would be a question alone
            raise _refused(context)
        windows = self._cut(question, context, room, "only_second")
        if all(offset == NOWHERE for window in windows for offset in window.offsets):
            raise DataError(
                f"the context is {context!a:.80}; expected a text with words to find an answer in."
            )
        return windows

    def room_beside(self, question: str) -> int:
        """Tokens of a context that fit into a window with a question.

        Raises:
            DataError: none.
        """
        with self._lock:
            self._tokenizer.no_truncation()
            taken = len(self._encode(question, "").ids)
        if taken >= self._max_length:
            raise DataError(
                f"the question {question[:40]!r} takes {taken} tokens with the special ones; allowed: less than "
                f"{self._max_length}, the length of a window, so that some of the context fits beside it. Shorten the "
                "question, or compress with a larger --max-length."
            )
        return self._max_length - taken

    def _encode(self, text: str, pair: str | None) -> Any:
        try:
            return self._tokenizer.encode(text, pair)
        except TypeError:
            raise _refused(text if pair is None else (text, pair)) from None

    def _cut(self, text: str, pair: str | None, room: int, strategy: str) -> list[Window]:
        """Windows with `room` tokens of the text, or of its pair, in each."""
        with self._lock:
            self._tokenizer.enable_truncation(self._max_length, stride=room // 3, strategy=strategy)
            whole = self._encode(text, pair)
        side = 0 if pair is None else 1
        return [
            Window(
                ids=part.ids,
                types=part.type_ids,
                offsets=[
                    offset if owner == side else NOWHERE
                    for offset, owner in zip(part.offsets, part.sequence_ids, strict=True)
                ],
            )
            for part in (whole, *whole.overflowing)
        ]


def _refused(text: object) -> DataError:
    return DataError(f"the text is {text!a:.200}; expected a string of Unicode characters.")


def feeds_of_window(window: Window) -> dict[str, npt.NDArray[np.int64]]:
    """``input_ids``, ``attention_mask`` and ``token_type_ids`` as a batch of one, (1, S) int64."""
    ids = np.array([window.ids], np.int64)
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.array([window.types], np.int64),
    }


def first_pieces(windows: Sequence[Window], words: Sequence[Span]) -> list[list[int]]:
    """For each window, (S,) the index of the word that begins at a token, and -1 for every other token.

    A word begins at the first of its tokens in the text: a window that starts inside it does not have its beginning.

    Args:
        windows: of one text.
        words: their places in it, in order.
    """
    starts = [start for start, _ in words]
    owners = [[_owner(offset, starts, words) for offset in window.offsets] for window in windows]
    begin: dict[int, int] = {}
    for window, row in zip(windows, owners, strict=True):
        for (start, _), word in zip(window.offsets, row, strict=True):
            if word >= 0:
                begin[word] = min(start, begin.get(word, start))
    pieces = []
    for window, row in zip(windows, owners, strict=True):
        seen = {-1}
        marked = []
        for (start, _), word in zip(window.offsets, row, strict=True):
            is_first = word not in seen and start == begin[word]
            marked.append(word if is_first else -1)
            seen.add(word)
        pieces.append(marked)
    return pieces


def _owner(offset: Span, starts: list[int], words: Sequence[Span]) -> int:
    """The word that a token stands in, or -1."""
    word = bisect_right(starts, offset[0]) - 1
    return word if offset != NOWHERE and word >= 0 and offset[0] < words[word][1] else -1


def padded(logits: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Logits of single rows as one array: (1, labels) each as (N, labels), (1, S, labels) as (N, longest S, labels)."""
    if logits[0].ndim == 2:
        return np.concatenate(logits)
    longest = max(row.shape[1] for row in logits)
    return np.concatenate([np.pad(row, ((0, 0), (0, longest - row.shape[1]), (0, 0))) for row in logits])
