"""What vocabulary trimming costs on rows that the vocabulary was not trimmed for."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Set

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tokenizers import Tokenizer

from edgesmith.data import TextExamples
from edgesmith.measure.quality import compare
from edgesmith.models.pieces import Pieces
from edgesmith.records import RowGroup, ScriptPieces, TextCoverage, VocabularyCoverage
from edgesmith.runtime.judge import ACCURACY, Judge

_SCRIPTS = {"Cjk": "Han"}
"""First word of a letter's Unicode name -> its script, where the two differ."""


def measure_coverage(
    before: Tokenizer,
    after: Tokenizer,
    validation: TextExamples,
    test: TextExamples,
    *,
    seen: Set[int],
    teacher: ArrayLike,
    artifact: ArrayLike,
    truth: ArrayLike | None = None,
    judge: Judge = ACCURACY,
    resamples: int,
    seed: int,
    clusters: ArrayLike | None = None,
) -> VocabularyCoverage:
    """Tokens, rows and scripts that trimming touches, and the rows that the training texts say least about.

    Args:
        before, after: the teacher's tokenizer and the trimmed one; whether they truncate does not matter.
        seen: the teacher's ids of the training texts.
        teacher, artifact: answers to the test rows, (n,).
        truth: the right ones, (n,); None where they are the labels of `test`.
        judge: of the task.
        resamples, seed, clusters: of the bootstrap.
    """
    before, after = _whole(before), _whole(after)
    known = {token for token, token_id in before.get_vocab().items() if token_id in seen}
    unseen = np.array([not known.issuperset(row) for row in _tokens(before, test)])  # (n,)
    wanted = test.labels if truth is None else truth
    groups = [
        compare_group(
            rows,
            teacher,
            artifact,
            wanted,
            judge=judge,
            resamples=resamples,
            seed=seed,
            clusters=clusters,
        )
        for rows in (unseen, ~unseen)
    ]
    pieces = Pieces.of(json.loads(before.to_str()))
    return VocabularyCoverage(
        validation=text_coverage(before, after, validation),
        test=text_coverage(before, after, test),
        with_unseen=groups[0],
        without_unseen=groups[1],
        scripts=script_pieces(before.get_vocab(), after.get_vocab(), pieces),
    )


def text_coverage(before: Tokenizer, after: Tokenizer, rows: TextExamples) -> TextCoverage:
    """How many tokens of some rows were trimmed away, and how many there are instead."""
    trimmed = trimmed_per_row(before, after, rows)
    return TextCoverage(
        rows=len(rows),
        rows_with_trimmed=int((trimmed > 0).sum()),
        tokens=sum(map(len, _tokens(before, rows))),
        trimmed=int(trimmed.sum()),
        tokens_after=sum(map(len, _tokens(after, rows))),
    )


def trimmed_per_row(before: Tokenizer, after: Tokenizer, rows: TextExamples) -> NDArray[np.int64]:
    """(n,) how many of a row's tokens under `before` are none of `after`."""
    kept = after.get_vocab().keys()
    return np.array([sum(token not in kept for token in row) for row in _tokens(before, rows)], np.int64)


def compare_group(
    rows: NDArray[np.bool_],
    teacher: ArrayLike,
    artifact: ArrayLike,
    labels: ArrayLike,
    *,
    judge: Judge = ACCURACY,
    resamples: int,
    seed: int,
    clusters: ArrayLike | None = None,
) -> RowGroup | None:
    """Paired comparison on the chosen rows, all (n,); None where none is chosen."""
    if not rows.any():
        return None
    chosen = [np.asarray(column)[rows] for column in (teacher, artifact, labels)]
    together = None if clusters is None else np.asarray(clusters)[rows]
    found = compare(*chosen, judge=judge, resamples=resamples, seed=seed, clusters=together)
    return RowGroup(
        n=found.n,
        teacher=found.teacher,
        artifact=found.artifact,
        drop=found.drop,
        drop_ci95=found.drop_ci95,
        mcnemar_p=found.mcnemar_p,
    )


def script_pieces(before: Iterable[str], after: Iterable[str], pieces: Pieces) -> tuple[ScriptPieces, ...]:
    """Scripts of which `before` has pieces of two characters or more, and how many `after` still has.

    Args:
        before, after: tokens.
        pieces: how they are written.
    """
    counts = [Counter(_scripts_of_pieces(tokens, pieces)) for tokens in (before, after)]
    return tuple(
        ScriptPieces(script=script, before=count, after=counts[1][script])
        for script, count in sorted(counts[0].items(), key=lambda item: (-item[1], item[0]))
    )


def script_of(word: str) -> str | None:
    """The script of a word; None for one of several scripts, and for whatever holds more than letters and their marks.

    Source: the Unicode names of the letters, which begin with their script; marks belong to any.
    """
    kinds = [unicodedata.category(character)[0] for character in word]
    if not set(kinds) <= {"L", "M"}:
        return None
    letters = [character for character, kind in zip(word, kinds, strict=True) if kind == "L"]
    names = {unicodedata.name(letter, "").partition(" ")[0].title() for letter in letters}
    return _SCRIPTS.get(name := names.pop(), name) if len(names) == 1 else None


def _scripts_of_pieces(tokens: Iterable[str], pieces: Pieces) -> Iterable[str]:
    texts = (pieces.text(token).removeprefix(" ") for token in tokens)
    return (script for text in texts if len(text) > 1 and (script := script_of(text)))


def _whole(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that does not truncate."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    return copy


def _tokens(tokenizer: Tokenizer, rows: TextExamples) -> list[list[str]]:
    """Tokens of each row, those of both texts of a pair together; an unknown one under its own name."""
    names = {token_id: token for token, token_id in tokenizer.get_vocab().items()}
    sides = [rows.texts] if rows.pairs is None else [rows.texts, rows.pairs]
    encoded = [tokenizer.encode_batch(list(side), add_special_tokens=False) for side in sides]
    return [[names[token] for text in row for token in text.ids] for row in zip(*encoded, strict=True)]
