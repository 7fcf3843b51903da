"""Which tokens students keep: those of the training texts, or more, where words that occur in none cost too much."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgesmith.search.groups import GroupLoss

Vocabulary = Literal["texts", "letters"]

VOCABULARIES: dict[Vocabulary, str] = {
    "texts": "the training texts use",
    "letters": "the training texts use or their letters can write",
}
"""What each keeps, beside all single characters."""


_ONE_SIDED = 1.645
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
    def of(unseen: npt.NDArray[np.float64], rest: npt.NDArray[np.float64]) -> Gap:
        """From the loss of every row, for classes -1, 0 or 1, in each of two groups."""
        ours, others = GroupLoss.of(unseen), GroupLoss.of(rest)
        return Gap(unseen=ours.mean, rest=others.mean, error=hypot(ours.error, others.error))

    @property
    def width(self) -> float:
        return self.unseen - self.rest

    def is_inside(self, max_drop: float) -> bool:
        """Whether the gap is inside the budget, or may be chance."""
        return self.width <= max(max_drop, _ONE_SIDED * self.error)
