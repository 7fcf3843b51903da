"""Rows of a task, texts or images, and the three splits they stand in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from edgesmith.errors import DataError

Image = Path | bytes
"""An image that is not decoded yet: its file, or what stands in one."""

IGNORED_LABEL = -100
"""The label of a row that has none, as in torch's cross-entropy."""


@dataclass(frozen=True)
class TextExamples:
    """Labelled texts, or labelled pairs of texts.

    Attributes:
        texts: first or only text of each row.
        pairs: second text of each row; None for a task on single texts.
        labels: class index or score of each row, `IGNORED_LABEL` where it has none; or the tags of its words, which have
            one space between them in the text; or the answers to it, a question, in its pair, each with its first character.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[Any, ...]

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

    def followed_by(self, more: TextExamples) -> TextExamples:
        """These rows and then those; both of single texts."""
        return TextExamples(self.texts + more.texts, None, self.labels + more.labels)


@dataclass(frozen=True)
class ImageExamples:
    """Labelled images.

    Attributes:
        images: of each row, in any format that Pillow reads.
        labels: class index of each row.
    """

    images: tuple[Image, ...]
    labels: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise DataError(f"{len(self.images)} images and {len(self.labels)} labels; they must be as many.")

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Iterable[int]) -> ImageExamples:
        """The rows at `indices`, in that order."""
        rows = [int(index) for index in indices]
        return ImageExamples(tuple(self.images[row] for row in rows), tuple(self.labels[row] for row in rows))

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of each image's file."""
        return tuple(map(_hash_image, self.images))


Examples = TextExamples | ImageExamples
E = TypeVar("E", TextExamples, ImageExamples)


@dataclass(frozen=True, kw_only=True)
class Splits(Generic[E]):
    """Everything a run reads.

    Attributes:
        label_names: name of each class or tag by its index, or of the one score.
        columns: role (``text``, ``pair``, ``image``, ``label``) -> the column that played it; empty for folders of images.
        notes: a sentence for everything that was guessed, dropped, carved or sampled.
        test_is_held_out: False where the data had no labelled test split and one was carved.
        fingerprint: `fingerprint` of the splits.
        unlabelled: more texts for students to learn from, which only the teacher has answers to; None for none.
    """

    train: E
    validation: E
    test: E
    label_names: tuple[str, ...]
    columns: dict[str, str]
    notes: tuple[str, ...]
    test_is_held_out: bool
    fingerprint: str
    unlabelled: E | None = None


def fingerprint(*splits: Examples) -> str:
    """SHA-256 over inputs and labels; depends on the order of rows and splits, not on the process."""
    content = [[*_content(split), split.labels] for split in splits]
    return hashlib.sha256(json.dumps(content).encode("ascii")).hexdigest()


def _content(split: Examples) -> list[object]:
    return [split.hashes] if isinstance(split, ImageExamples) else [split.texts, split.pairs]


def _hash_image(image: Image) -> str:
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    with image.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
