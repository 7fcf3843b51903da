"""Texts of any length as rows of windows, the same that a bundle cuts them into, with labels for their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from edgesmith.data.encoding import COUNTED, EncodedExamples, Row, pad_rows
from edgesmith.data.examples import IGNORED_LABEL, TextExamples
from edgesmith.runtime.judge import Answers, Judge
from edgesmith.runtime.tokens import as_answers, given_words, tag_words
from edgesmith.runtime.windows import Window, WindowEncoder, first_pieces


@dataclass(frozen=True, kw_only=True)
class EncodedWindows(EncodedExamples):
    """Windows of examples.

    Attributes:
        labels: of each row, a label for each of its tokens; `IGNORED_LABEL` for those that do not count.
        windows: of each row.
        owners: index of each row's example.
        examples: what was encoded.
        label_names: by index.
    """

    windows: list[Window]
    owners: list[int]
    examples: TextExamples
    label_names: tuple[str, ...]

    def rows_of_examples(self) -> list[list[int]]:
        rows: list[list[int]] = [[] for _ in range(len(self.examples))]
        for row, owner in enumerate(self.owners):
            rows[owner].append(row)
        return rows

    def take(self, rows: Sequence[int]) -> Self:
        """Only some rows, in the given order, and their examples."""
        kept = list(dict.fromkeys(self.owners[row] for row in rows))
        places = {example: place for place, example in enumerate(kept)}
        return replace(
            super().take(rows),
            windows=[self.windows[row] for row in rows],
            owners=[places[self.owners[row]] for row in rows],
            examples=self.examples.take(kept),
        )


@dataclass(frozen=True, kw_only=True)
class EncodedTags(EncodedWindows):
    """Windows of texts whose words have tags: the first piece of a word has its tag as label."""

    @property
    def truth(self) -> Answers:
        return as_answers(self.examples.labels)

    def answers(self, logits: NDArray[np.float32], judge: Judge) -> Answers:
        """(N,) the tags of each example's words.

        Args:
            logits: (rows, S, labels).
        """
        return as_answers(
            [
                tag_words(
                    [self.windows[row] for row in rows],
                    [logits[row] for row in rows],
                    given_words(text),
                    self.label_names,
                )[0]
                for text, rows in zip(self.examples.texts, self.rows_of_examples(), strict=True)
            ]
        )

    def _collate_labels(self, rows: Sequence[Row], width: int) -> dict[str, Tensor]:
        """``labels`` (B, S) int64 and ``counted`` (B, S) bool: first pieces, and the first token of a row without any."""
        labels = pad_rows([row["labels"] for row in rows], width, IGNORED_LABEL)
        counted = labels != IGNORED_LABEL
        counted[:, 0] |= ~counted.any(dim=1)
        return {"labels": labels, COUNTED: counted}


def encode_tags(
    tokenizer: PreTrainedTokenizerBase,
    examples: TextExamples,
    max_length: int,
    label_names: tuple[str, ...],
) -> EncodedTags:
    """Cuts sentences into windows; those in which no word begins are left out."""
    encoder = WindowEncoder(Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()), max_length)
    index = {name: place for place, name in enumerate(label_names)}
    windows: list[Window] = []
    labels: list[list[int]] = []
    owners: list[int] = []
    for owner, (text, tags) in enumerate(zip(examples.texts, examples.labels, strict=True)):
        cut = encoder.windows(text)
        marked = list(zip(cut, first_pieces(cut, given_words(text)), strict=True))
        for window, pieces in [pair for pair in marked if max(pair[1]) >= 0] or marked[:1]:
            windows.append(window)
            labels.append([index[tags[word]] if word >= 0 else IGNORED_LABEL for word in pieces])
            owners.append(owner)
    return EncodedTags(
        input_ids=[window.ids for window in windows],
        labels=labels,
        token_type_ids=None,
        pad_token_id=tokenizer.pad_token_id,
        windows=windows,
        owners=owners,
        examples=examples,
        label_names=label_names,
    )
