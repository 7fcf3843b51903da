"""Encoded rows, as training and evaluation take them; token ids of texts, padded to their batch's longest row."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from edgesmith.data.examples import TextExamples
from edgesmith.runtime.judge import Answers, Judge

Row = dict[str, Any]

MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "pixel_values")


def model_inputs(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """What of a batch goes into a model."""
    return {name: batch[name] for name in MODEL_INPUTS if name in batch}


COUNTED = "counted"
"""In a batch, (B, S) bool: the tokens whose logits are answers. Without it, a row has the logits of one answer."""


PLACES = "places"
"""In a batch, (B, S) bool: the tokens that may be chosen. A row then makes one choice of a token for each of its labels."""

_NEVER = -1.0e4
"""Logit of a token that may not be chosen: exp of it is 0 in FP32, and BF16 has it."""


def choices(values: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Logits or labels of a batch as those of a plain classification: a row for each choice that is made.

    Args:
        values: (B, labels) logits or (B,) labels, or those of each token, (B, S, labels) and (B, S); where tokens are
            chosen, (B, S, labels) logits or (B, labels) places.

    Returns:
        (B, labels) or (B,) as it is; of tokens (C, labels) or (C,), those that count; of places (B x labels, S) or
        (B x labels,).
    """
    if PLACES in batch:
        if values.dim() == 2:
            return values.flatten()
        return values.masked_fill(~batch[PLACES][..., None], _NEVER).transpose(1, 2).flatten(0, 1)
    return values[batch[COUNTED]] if COUNTED in batch else values


class EncodedRows(Dataset[Row]):
    """Rows that a `transformers.Trainer` takes.

    Attributes:
        labels: class index or score of each row.
    """

    labels: list[Any]

    @property
    def truth(self) -> Answers:
        """(N,) the right answer to each example."""
        return np.array(self.labels)

    def answers(self, logits: NDArray[np.float32], judge: Judge) -> Answers:
        """(N,) the answer to each example.

        Args:
            logits: of all rows, in their order.
        """
        return judge.answers(logits)

    def rows_of_examples(self) -> list[list[int]]:
        """The rows that an example takes: one, where it is no long text in several windows."""
        return [[row] for row in range(len(self))]

    @property
    def example_lengths(self) -> list[int]:
        """Tokens of each example, over all of its rows."""
        lengths = self.lengths
        return [sum(lengths[row] for row in rows) for rows in self.rows_of_examples()]

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def __getitem__(self, index: int) -> Row: ...

    @property
    @abstractmethod
    def lengths(self) -> list[int]:
        """Length of each row in tokens."""

    @abstractmethod
    def collate(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Rows as one batch: what the model reads, labels (int64; scores float32) and row (its index), both (B,)."""

    @abstractmethod
    def take(self, rows: Sequence[int]) -> Self:
        """Only some rows, in the given order."""

    def batches(self, size: int, rows: Sequence[int] | None = None) -> Iterator[dict[str, Tensor]]:
        """Batches of rows of similar length, shortest first; `row` says which they are."""
        lengths = self.lengths
        chosen = sorted(range(len(self)) if rows is None else rows, key=lambda row: lengths[row])
        for start in range(0, len(chosen), size):
            yield self.collate([self[row] for row in chosen[start : start + size]])

    def sample(self, rows: int, seed: int) -> list[int]:
        """Indices of at most `rows` rows, drawn without replacement."""
        return _drawn(len(self), rows, seed)

    def sample_examples(self, examples: int, seed: int) -> list[int]:
        """Indices of at most `examples` examples, likewise."""
        return _drawn(len(self.rows_of_examples()), examples, seed)


def _drawn(count: int, wanted: int, seed: int) -> list[int]:
    return [int(row) for row in np.random.default_rng(seed).permutation(count)[:wanted]]


@dataclass(frozen=True)
class EncodedExamples(EncodedRows):
    """Token ids and labels, ready for a `transformers.Trainer`.

    Attributes:
        input_ids: one list a row, special tokens included, truncated.
        labels: class index or score of each row.
        token_type_ids: for sentence pairs; None for single sentences.
        pad_token_id: fills short rows of a batch.
        teacher_ids: the same rows under the teacher's tokenizer, where it is another one.
        rests: token ids of what is beyond the cut of the words that a cut goes through, of all rows.
    """

    input_ids: list[list[int]]
    labels: list[Any]
    token_type_ids: list[list[int]] | None
    pad_token_id: int
    teacher_ids: list[list[int]] | None = None
    rests: tuple[int, ...] = ()

    def __getitem__(self, index: int) -> Row:
        row: Row = {"input_ids": self.input_ids[index], "labels": self.labels[index], "row": index}
        if self.token_type_ids is not None:
            row["token_type_ids"] = self.token_type_ids[index]
        if self.teacher_ids is not None:
            row["teacher_ids"] = self.teacher_ids[index]
        return row

    @property
    def lengths(self) -> list[int]:
        return [len(ids) for ids in self.input_ids]

    def collate(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Rows as one batch.

        Returns:
            input_ids, attention_mask and, for pairs, token_type_ids: (B, S) int64; labels and row (the index of each
            row): (B,) int64, scores float32; with `teacher_ids` also teacher_input_ids (B, S) and aligned (B,), 1 where
            both tokenizers give as many tokens, so that hidden states can be compared.
        """
        width = max(len(row["input_ids"]) for row in rows)
        batch = {
            "input_ids": pad_rows([row["input_ids"] for row in rows], width, self.pad_token_id),
            "attention_mask": pad_rows([[1] * len(row["input_ids"]) for row in rows], width, 0),
            **self._collate_labels(rows, width),
            "row": torch.tensor([row["row"] for row in rows]),
        }
        if "token_type_ids" in rows[0]:
            batch["token_type_ids"] = pad_rows([row["token_type_ids"] for row in rows], width, 0)
        if "teacher_ids" in rows[0]:
            batch["teacher_input_ids"] = pad_rows(
                [row["teacher_ids"][:width] for row in rows], width, self.pad_token_id
            )
            batch["aligned"] = torch.tensor(
                [len(row["teacher_ids"]) == len(row["input_ids"]) for row in rows]
            ).long()
        return batch

    def _collate_labels(self, rows: Sequence[Row], width: int) -> dict[str, Tensor]:
        """``labels`` of a batch of `width` tokens, and what else it needs to read logits."""
        return {"labels": torch.tensor([row["labels"] for row in rows])}

    def take(self, rows: Sequence[int]) -> Self:
        """Only some rows, in the given order."""
        return replace(
            self,
            input_ids=[self.input_ids[row] for row in rows],
            labels=[self.labels[row] for row in rows],
            token_type_ids=None
            if self.token_type_ids is None
            else [self.token_type_ids[row] for row in rows],
            teacher_ids=None if self.teacher_ids is None else [self.teacher_ids[row] for row in rows],
        )


def encode(tokenizer: PreTrainedTokenizerBase, examples: TextExamples, max_length: int) -> EncodedExamples:
    """Tokenises examples, truncating the longer of a pair first."""
    encoding = tokenizer(
        list(examples.texts),
        None if examples.pairs is None else list(examples.pairs),
        truncation=True,
        max_length=max_length,
        padding=False,
        return_token_type_ids=examples.pairs is not None,
        return_attention_mask=False,
    )
    return EncodedExamples(
        input_ids=encoding["input_ids"],
        labels=list(examples.labels),
        token_type_ids=encoding.get("token_type_ids"),
        pad_token_id=tokenizer.pad_token_id,
        rests=tuple(token for row in encoding.encodings or () for token in _rests(row)),
    )


def _rests(row: Encoding) -> Iterator[int]:
    """Token ids of the last word of each text of a row, as far as they are beyond the cut."""
    if not row.overflowing:
        return
    last = dict(zip(row.sequence_ids, row.word_ids, strict=True))
    # Of a pair, each part of one text comes with each of the other, those before the cut too.
    beyond = {token for part in row.overflowing for token in _placed(part)} - _placed(row)
    yield from (token for text, word, _, token in beyond if word == last.get(text))


def _placed(part: Encoding) -> set[tuple[int | None, int, tuple[int, int], int]]:
    """Text, word, place and id of each token that is no special one."""
    found = zip(part.sequence_ids, part.word_ids, part.offsets, part.ids, strict=True)
    return {(text, word, place, token) for text, word, place, token in found if word is not None}


def pad_rows(rows: Sequence[list[int]], width: int, fill: int) -> Tensor:
    """(B, width) int64."""
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])
