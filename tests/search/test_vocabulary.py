from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from edgesmith.search.vocabulary import Gap


def lost(*counts: int) -> np.ndarray:
    """Rows that are won, as before, and lost."""
    return np.repeat([-1, 0, 1], counts)


def test_the_gap_is_the_difference_of_two_means_with_its_standard_error():
    gap = Gap.of(lost(0, 80, 20), lost(10, 370, 20))
    assert gap.unseen == pytest.approx(0.2)
    assert gap.rest == pytest.approx(0.025)
    assert gap.width == pytest.approx(0.175)
    variances = 0.2 * 0.8 * 100 / 99, (30 / 400 - 0.025**2) * 400 / 399
    assert gap.error == pytest.approx(sqrt(variances[0] / 100 + variances[1] / 400))


@pytest.mark.parametrize(
    ("unseen", "rest", "error", "max_drop", "inside"),
    [
        (0.010, 0.005, 0.001, 0.01, True),  # inside the budget
        (0.048, 0.000, 0.008, 0.015, False),
        (0.007, 0.000, 0.008, 0.002, True),  # over it, as chance alone may be
        (-0.02, 0.010, 0.008, 0.0, True),  # better on unseen words
    ],
)
def test_a_gap_counts_where_it_is_over_the_budget_and_more_than_chance(unseen, rest, error, max_drop, inside):
    assert Gap(unseen=unseen, rest=rest, error=error).is_inside(max_drop) is inside
