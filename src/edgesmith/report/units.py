"""Numbers as text. Every report prints them through these, so that none rounds in its own way."""

from __future__ import annotations

from edgesmith.records import CORRELATIONS, METRICS_OF, SCORED_TASK


def points(fraction: float) -> str:
    """0.0123 -> ``1.23 points``; a rounded zero has no sign."""
    return f"{round(100 * fraction, 2) + 0.0:.2f} points"


def percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"


def score(value: float, metric: str) -> str:
    """A metric's value: a correlation times 100, as GLUE's tables have it (``87.62``), any other in per cent.

    The difference of two is in `points` in either case.
    """
    return f"{100 * value:.2f}" if metric in CORRELATIONS else percent(value)


def agreement(value: float, metric: str) -> str:
    """How far two models that are judged by a metric agree: the share of equal answers; of numbers, their correlation."""
    return score(value, metric) if metric in METRICS_OF[SCORED_TASK] else percent(value)


def megabytes(size_bytes: float) -> str:
    """MB is 10^6 bytes."""
    size = size_bytes / 1e6
    return f"{size:.2f} MB" if size >= 0.095 or not size else f"{size:.2g} MB"


def milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value >= 0.095 else f"{value:.2g} ms"


def times(ratio: float) -> str:
    return f"{ratio:.2f}x"


def nats(divergence: float) -> str:
    """A Kullback-Leibler divergence."""
    return f"{divergence:.3g}"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
