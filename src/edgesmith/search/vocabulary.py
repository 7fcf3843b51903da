"""Which tokens students keep: those of the training texts, or more, where words that occur in none cost too much."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

FEWEST_ROWS = 50
"""Rows of either kind below which nothing is read off their difference."""

ONE_SIDED = 1.645
"""Standard errors of a difference that chance exceeds once in twenty times."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What a student loses on rows with words of no training text, beside what it loses on the rest; as fractions.

    Attributes:
        error: standard error of the difference.
    """

    unseen: float
    rest: float
    error: float

    @staticmethod
    def of(lost: npt.NDArray[np.int64], unseen: npt.NDArray[np.bool_]) -> Gap:
        """From the loss of every row, (N,) in -1, 0 and 1, and (N,) bool: which rows hold such words."""
        groups = lost[unseen], lost[~unseen]
        return Gap(
            unseen=float(groups[0].mean()),
            rest=float(groups[1].mean()),
            error=sqrt(sum(float(rows.var(ddof=1)) / len(rows) for rows in groups)),
        )

    @property
    def width(self) -> float:
        return self.unseen - self.rest

    def is_inside(self, max_drop: float) -> bool:
        """Whether the gap is inside the budget, or may be chance."""
        return self.width <= max(max_drop, ONE_SIDED * self.error)
