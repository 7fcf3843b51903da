"""Texts without labels, for the general stage of distillation: read, made different, and parted in two."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesmith.data.columns import choose_text_column
from edgesmith.data.examples import IGNORED_LABEL, Splits, TextExamples
from edgesmith.data.labels import is_missing, text_of
from edgesmith.data.readers import READERS, Table, read_lines, read_table
from edgesmith.errors import DataError
from edgesmith.recipe import GeneralConfig

_COLUMN = "distill.general.text"  # what names the column
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


def load_unlabelled(config: GeneralConfig, splits: Splits[TextExamples], seed: int) -> UnlabelledTexts:
    """Reads the texts that `config.data` names.

    Texts of the task's validation and test split are left out, so that no student has seen them.

    Args:
        seed: of the sample and of what is held out.

    Raises:
        DataError: no such file, no text column, fewer than two texts, or more held out than there are.
    """
    table = _open(config)
    column, guessed = choose_text_column(table, text=config.text, option=_COLUMN)
    notes = [*table.notes, *guessed]
    texts = _different(table, column, splits, notes)
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


def _open(config: GeneralConfig) -> Table:
    path = Path(str(config.data)).expanduser()
    allowed = f"one file: .txt with a text a line, or {', '.join(READERS)}"
    if path.is_dir():
        raise DataError(f"distill.general.data: {path} is a folder; allowed: {allowed}.")
    if path.is_file() and path.suffix.lower() not in (".txt", *READERS):
        raise DataError(f"distill.general.data: {path} is of an unknown kind; allowed: {allowed}.")
    try:
        return read_lines(path) if path.suffix.lower() == ".txt" else read_table(path)
    except OSError as problem:
        raise DataError(
            f"{path}: cannot be read ({problem.strerror}). Check the file and its permissions."
        ) from None


def _different(table: Table, column: str, splits: Splits[TextExamples], notes: list[str]) -> list[str]:
    """Each text once, in the order of the file, without those that decide about a model."""
    kept = [
        text_of(cell, f"{table.at(position)}, column {column!r}", _COLUMN)
        for position, cell in table.frame[column].items()
        if not is_missing(cell)
    ]
    held_out = {
        text for part in (splits.validation, splits.test) for text in (*part.texts, *(part.pairs or ()))
    }
    different = dict.fromkeys(kept)
    texts = [text for text in different if text not in held_out]
    if len(texts) < 2:
        raise DataError(
            f"{table.source}: {len(texts)} texts in column {column!r} beside empty and equal ones and those of the "
            "validation and test split; a general stage needs 2 or more. Give a file of more texts, or leave "
            "distill.general.data out."
        )
    if len(different) < len(kept):
        notes.append(f"{table.source}: {len(kept) - len(different):,} texts that stand there again left out.")
    if len(texts) < len(different):
        notes.append(
            f"{table.source}: {len(different) - len(texts):,} texts of the validation or test split left out."
        )
    return texts


def _examples(texts: list[str]) -> TextExamples:
    return TextExamples(tuple(texts), None, (IGNORED_LABEL,) * len(texts))
