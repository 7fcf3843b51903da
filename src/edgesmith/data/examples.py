"""Rows of a text classification task and the three splits they stand in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from edgesmith.errors import DataError


@dataclass(frozen=True)
class TextExamples:
    """Labelled texts, or labelled pairs of texts.

    Attributes:
        texts: first or only text of each row.
        pairs: second text of each row; None for a task on single texts.
        labels: class index of each row.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[int, ...]

    def __post_init__(self) -> None:
        pairs = len(self.texts) if self.pairs is None else len(self.pairs)
        if not len(self.texts) == pairs == len(self.labels):
            raise DataError(
                f"{len(self.texts)} texts, {pairs} pairs and {len(self.labels)} labels; they must be as many."
            )

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Iterable[int]) -> TextExamples:
        """The rows at `indices`, in that order."""
        rows = [int(index) for index in indices]
        return TextExamples(
            texts=tuple(self.texts[row] for row in rows),
            pairs=None if self.pairs is None else tuple(self.pairs[row] for row in rows),
            labels=tuple(self.labels[row] for row in rows),
        )


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Everything a run reads.

    Attributes:
        label_names: name of each class by its index.
        columns: role (``text``, ``pair``, ``label``) -> the column that played it.
        notes: a sentence for everything that was guessed, dropped, carved or sampled.
        test_is_held_out: False where the data had no labelled test split and one was carved.
        fingerprint: `fingerprint` of the three splits.
    """

    train: TextExamples
    validation: TextExamples
    test: TextExamples
    label_names: tuple[str, ...]
    columns: dict[str, str]
    notes: tuple[str, ...]
    test_is_held_out: bool
    fingerprint: str


def fingerprint(*splits: TextExamples) -> str:
    """SHA-256 over texts, pairs and labels; depends on the order of rows and splits, not on the process."""
    content = [[split.texts, split.pairs, split.labels] for split in splits]
    return hashlib.sha256(json.dumps(content).encode("ascii")).hexdigest()
