"""Questions with contexts that hold their answers: from the data configuration to three splits, or to the rows of one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgesmith.data.columns import OPTIONS, choose_question_columns
from edgesmith.data.examples import Splits, TextExamples
from edgesmith.data.labels import text_of
from edgesmith.data.load import LabelKind, RowKind, split_tables, take_labelled
from edgesmith.data.readers import Table
from edgesmith.data.sources import find_tables
from edgesmith.data.splits import context_groups, find_known_contexts
from edgesmith.errors import DataError
from edgesmith.recipe import DataConfig
from edgesmith.runtime.judge import Answers
from edgesmith.runtime.questions import SPAN_LABELS
from edgesmith.runtime.tokens import as_answers

Answer = tuple[str, int]
"""A text, and its first character in the context."""


def load_question_splits(config: DataConfig, seed: int) -> Splits[TextExamples]:
    """Reads, checks and splits questions, as `load_splits` does texts; no context is in two carved splits.

    Raises:
        DataError: with the file and the row or column, and what to do.
        MissingExtraError: a hub dataset, and `datasets` is not installed.
    """
    tables = find_tables(config.path)
    columns = choose_question_columns(tables["train"], text=config.text, pair=config.pair, label=config.label)
    return split_tables(config, seed, tables, columns, _QUESTIONS)


def load_questions(config: DataConfig) -> tuple[TextExamples, tuple[str, ...]]:
    """Every question of a file, or of a folder's test split, as `load_labelled` does texts."""
    tables = find_tables(config.path)
    columns = choose_question_columns(tables["train"], text=config.text, pair=config.pair, label=config.label)
    return take_labelled(tables, columns, SPAN_LABELS, _QUESTIONS)


def right_answers(examples: TextExamples) -> Answers:
    """(N,) tuples of the texts that answer each question."""
    return as_answers([tuple(text for text, _ in answers) for answers in examples.labels])


def _read_text(cell: Any, _: Table, where: str) -> str:
    return text_of(cell, where, f"{OPTIONS['text']} or {OPTIONS['pair']}")


def _read_answers(cell: Any, where: str) -> tuple[Answer, ...]:
    """The different answers, from lists of texts and places (the hub's form) or a list of both (SQuAD's)."""
    try:
        several = (
            zip(cell["text"], cell["answer_start"], strict=True) if isinstance(cell, dict) else _pairs(cell)
        )
        answers = tuple(dict.fromkeys((str(text), int(start)) for text, start in several))
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"{where}: expected answers, {{'text': [...], 'answer_start': [...]}} or a list of {{'text', 'answer_start'}}, got "
            f"{type(cell).__name__} {cell!r:.80}. CSV and TSV cannot hold them: give .jsonl, .parquet or SQuAD's .json. "
            f"{OPTIONS['label']} names another column."
        ) from None
    if not answers:
        raise DataError(
            f"{where}: no answer; each question needs one or more that stand in its context. Remove questions without any, "
            "such as the impossible ones of SQuAD 2.0."
        )
    return answers


def _pairs(cell: Any) -> Iterable[tuple[Any, Any]]:
    if not isinstance(cell, list | np.ndarray):
        raise TypeError
    return ((answer["text"], answer["answer_start"]) for answer in cell)


def _check_places(inputs: list[Any], answers: tuple[Answer, ...], where: str) -> None:
    """Refuses answers that do not stand where they say they do."""
    _, context = inputs
    for text, start in answers:
        stands = context[max(0, start) :][: len(text)]
        if not text.strip() or start < 0 or stands != text:
            raise DataError(
                f"{where}: the answer {text[:60]!r} does not stand at character {start} of its context ({len(context)} "
                f"characters), where {stands[:60]!r} is; its first place there is {context.find(text)} (-1: nowhere). "
                "answer_start counts characters from 0."
            )


_QUESTIONS = RowKind(
    examples=lambda inputs, labels: TextExamples(inputs[0], inputs[1], labels),
    read=_read_text,
    leaks=find_known_contexts,
    labels=LabelKind(
        read=_read_answers,
        names=lambda *_: SPAN_LABELS,
        unknown=lambda *_: (),
        encode=lambda labels, _: labels,
        check=_check_places,
    ),
    groups=context_groups,
    may_lack=False,
)
