"""What a trimmed vocabulary does to texts that it was not trimmed for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TextCoverage:
    """Whole texts, before any truncation and without special tokens, under both tokenizers.

    Attributes:
        rows_with_trimmed: rows that hold at least one token that was trimmed away.
        tokens: under the teacher's tokenizer.
        trimmed: how many of these were trimmed away.
        tokens_after: under the trimmed tokenizer.
    """

    rows: int
    rows_with_trimmed: int
    tokens: int
    trimmed: int
    tokens_after: int

    @property
    def trimmed_share(self) -> float:
        return self.trimmed / self.tokens if self.tokens else 0.0

    @property
    def growth(self) -> float:
        """How much longer the texts get: 0.1 is 10 % more tokens."""
        return self.tokens_after / self.tokens - 1 if self.tokens else 0.0


@dataclass(frozen=True, kw_only=True)
class RowGroup:
    """Accuracies of teacher and artifact on some of the test rows; see `Verdict` for the names."""

    n: int
    teacher: float
    artifact: float
    drop: float
    drop_ci95: tuple[float, float]
    mcnemar_p: float | None


@dataclass(frozen=True, kw_only=True)
class ScriptPieces:
    """How many vocabulary pieces of two characters or more a script has.

    Attributes:
        script: such as ``Latin``, ``Cyrillic`` or ``Han``.
        before, after: trimming.
    """

    script: str
    before: int
    after: int


@dataclass(frozen=True, kw_only=True)
class VocabularyCoverage:
    """Measured on rows that the vocabulary was not trimmed for.

    Attributes:
        with_unseen: test rows that hold a token of no training text, trimmed away or not; None where there is none.
        without_unseen: the other test rows; None where there is none.
        scripts: those that the teacher's vocabulary has pieces of, by falling number.
    """

    validation: TextCoverage
    test: TextCoverage
    with_unseen: RowGroup | None
    without_unseen: RowGroup | None
    scripts: tuple[ScriptPieces, ...]

    @property
    def lost_scripts(self) -> tuple[ScriptPieces, ...]:
        """Scripts that are spelled in single characters from now on."""
        return tuple(script for script in self.scripts if not script.after)
