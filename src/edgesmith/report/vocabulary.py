"""What vocabulary trimming does to rows that it was not done for."""

from __future__ import annotations

from collections.abc import Sequence

from edgesmith.records import RowGroup, ScriptPieces, TextCoverage, Verdict
from edgesmith.report.facts import Table
from edgesmith.report.units import counted, percent, points, score


def vocabulary(verdict: Verdict) -> Table:
    """Coverage of texts outside the training rows, and the drop where tokens are missing; no rows without trimming."""
    found = verdict.coverage
    rows = found and (
        ("validation texts", _text_coverage(found.validation)),
        ("test texts", _text_coverage(found.test)),
        ("test rows with a token of no training text", _row_group(found.with_unseen, verdict.metric)),
        ("test rows without", _row_group(found.without_unseen, verdict.metric)),
        ("scripts left in single characters only", _scripts(found.lost_scripts)),
    )
    return Table(
        title="Tokens that were trimmed away", columns=("what", "value"), align="ll", rows=rows or ()
    )


def _text_coverage(texts: TextCoverage) -> str:
    return (
        f"{percent(texts.trimmed_share)} of {counted(texts.tokens, 'token')} trimmed away, in "
        f"{texts.rows_with_trimmed:,} of {counted(texts.rows, 'row')}; {percent(texts.growth)} longer"
    )


def _row_group(rows: RowGroup | None, metric: str) -> str:
    if rows is None:
        return "no row"
    low, high = rows.drop_ci95
    return (
        f"{metric}: teacher {score(rows.teacher, metric)}, artifact {score(rows.artifact, metric)}, drop {points(rows.drop)} "
        f"(95 % interval {points(low)} to {points(high)}), {counted(rows.n, 'row')}"
    )


def _scripts(scripts: Sequence[ScriptPieces]) -> str:
    return (
        ", ".join(f"{one.script} (before: {counted(one.before, 'longer piece')})" for one in scripts)
        or "none"
    )
