"""What a student loses on some of the validation rows, beside chance: a mean over all of them can hide it."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

FEWEST_ROWS = 50
"""Rows of a group below which nothing is read off it."""


@dataclass(frozen=True, kw_only=True)
class GroupLoss:
    """Mean loss of a group of rows, as a fraction, and its standard error."""

    rows: int
    mean: float
    error: float

    @staticmethod
    def of(lost: npt.NDArray[np.float64]) -> GroupLoss:
        """From the loss of every row, of classes -1, 0 or 1; two rows or more."""
        return GroupLoss(
            rows=len(lost), mean=float(lost.mean()), error=sqrt(float(lost.var(ddof=1)) / len(lost))
        )

    def exceeds(self, limit: float) -> bool:
        """Whether the loss is over the limit by more than a standard error.

        No more doubt than that: a dearer artifact costs less than one that fails on such rows.
        """
        return self.mean - self.error > limit


def longest_quarter(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """(N,) the rows longer than three quarters of all; none where that would be fewer than `FEWEST_ROWS`.

    Training rows are often pieces of what a device reads: SST-2's are phrases, its test rows whole sentences.
    """
    longest = lengths > np.quantile(lengths, 0.75)
    return longest if longest.sum() >= FEWEST_ROWS else np.zeros_like(longest)
