"""Texts without labels, for students to learn from: read, made different, and for the general stage parted in two."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgesmith.data.columns import choose_text_column
from edgesmith.data.examples import IGNORED_LABEL, Splits, TextExamples, fingerprint
from edgesmith.data.labels import is_missing, text_of
from edgesmith.data.readers import READERS, Table, read_lines, read_table
from edgesmith.errors import DataError
from edgesmith.recipe import DataConfig, GeneralConfig

_MOST_HELD_OUT = 1000  # texts; their mean loss only has to tell one checkpoint from another


@dataclass(frozen=True, kw_only=True)
class UnlabelledTexts:
    """Texts to learn from and texts to measure the loss on, all different.

    Attributes:
        notes: a sentence for everything that was guessed, dropped or sampled.
        fingerprint: SHA-256 over both.
    """

    train: TextExamples
    validation: TextExamples
    notes: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True)
class _Source:
    """A file and its column, with the keys of the recipe that name them."""

    path: str
    column: str | None
    path_key: str
    column_key: str


def load_unlabelled(config: GeneralConfig, splits: Splits[TextExamples], seed: int) -> UnlabelledTexts:
    """Reads the texts that `config.data` names, for the general stage.

    Texts of the task's validation and test split are left out, so that no student has seen them.

    Args:
        seed: of the sample and of what is held out.

    Raises:
        DataError: no such file, no text column, fewer than two texts, or more held out than there are.
    """
    source = _Source(str(config.data), config.text, "distill.general.data", "distill.general.text")
    table, texts, notes = _read(source, splits.validation, splits.test)
    order = np.random.default_rng(seed).permutation(len(texts))
    if config.max_rows is not None and len(texts) > config.max_rows:
        notes.append(f"{table.source}: {config.max_rows:,} of {len(texts):,} texts sampled.")
        order = order[: config.max_rows]
    tenth = max(1, min(len(order) // 10, _MOST_HELD_OUT))
    held = tenth if config.validation_rows is None else config.validation_rows
    if held >= len(order):
        raise DataError(
            f"{table.source}: {len(order):,} different texts, and distill.general.validation_rows is {held:,}; "
            f"allowed: 1 to {max(1, len(order) - 1):,}. Give a file of more texts."
        )
    validation, train = ([texts[row] for row in sorted(part)] for part in (order[:held], order[held:]))
    notes.append(
        f"{table.source}: {len(train):,} texts without labels for the general stage, {held:,} held out."
    )
    return UnlabelledTexts(
        train=_examples(train),
        validation=_examples(validation),
        notes=tuple(notes),
        fingerprint=hashlib.sha256(json.dumps([train, validation]).encode("ascii")).hexdigest(),
    )


def with_unlabelled(config: DataConfig, splits: Splits[TextExamples]) -> Splits[TextExamples]:
    """The splits with the texts that `config.unlabelled` names, but for those that stand in a split; as they are without.

    Raises:
        DataError: as `load_unlabelled`; or the task is about pairs.
    """
    if config.unlabelled is None:
        return splits
    if splits.train.pairs is not None:
        raise DataError(
            f"data.unlabelled is {config.unlabelled}, and rows are pairs of texts; allowed for single texts. Leave it out."
        )
    source = _Source(config.unlabelled, config.unlabelled_text, "data.unlabelled", "data.unlabelled_text")
    table, texts, notes = _read(source, splits.train, splits.validation, splits.test)
    notes.append(f"{table.source}: {len(texts):,} texts without labels, which the teacher answers.")
    unlabelled = _examples(texts)
    return replace(
        splits,
        unlabelled=unlabelled,
        notes=(*splits.notes, *notes),
        fingerprint=fingerprint(splits.train, splits.validation, splits.test, unlabelled),
    )


def _read(source: _Source, *splits: TextExamples) -> tuple[Table, list[str], list[str]]:
    """The table, its different texts without those of `splits`, and notes."""
    table = _open(source)
    column, guessed = choose_text_column(table, text=source.column, option=source.column_key)
    notes = [*table.notes, *guessed]
    held_out = {text for split in splits for text in (*split.texts, *(split.pairs or ()))}
    return table, _different(table, column, held_out, source, notes), notes


def _open(source: _Source) -> Table:
    path = Path(source.path).expanduser()
    allowed = f"one file: .txt with a text a line, or {', '.join(READERS)}"
    if path.is_dir():
        raise DataError(f"{source.path_key}: {path} is a folder; allowed: {allowed}.")
    if path.is_file() and path.suffix.lower() not in (".txt", *READERS):
        raise DataError(f"{source.path_key}: {path} is of an unknown kind; allowed: {allowed}.")
    try:
        return read_lines(path) if path.suffix.lower() == ".txt" else read_table(path)
    except OSError as problem:
        raise DataError(
            f"{path}: cannot be read ({problem.strerror}). Check the file and its permissions."
        ) from None


def _different(
    table: Table, column: str, held_out: Iterable[str], source: _Source, notes: list[str]
) -> list[str]:
    """Each text once, in the order of the file, without those that are held out."""
    kept = [
        text_of(cell, f"{table.at(position)}, column {column!r}", source.column_key)
        for position, cell in table.frame[column].items()
        if not is_missing(cell)
    ]
    different = dict.fromkeys(kept)
    texts = [text for text in different if text not in held_out]
    if len(texts) < 2:
        raise DataError(
            f"{table.source}: {len(texts)} texts in column {column!r} beside empty and equal ones and those of the "
            f"task's own splits; 2 or more are needed. Give a file of more texts, or leave {source.path_key} out."
        )
    if len(different) < len(kept):
        notes.append(f"{table.source}: {len(kept) - len(different):,} texts that stand there again left out.")
    if len(texts) < len(different):
        notes.append(
            f"{table.source}: {len(different) - len(texts):,} texts of the task's own splits left out."
        )
    return texts


def _examples(texts: list[str]) -> TextExamples:
    return TextExamples(tuple(texts), None, (IGNORED_LABEL,) * len(texts))
