from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import sem

from edgesmith.search.groups import FEWEST_ROWS, GroupLoss, longest_quarter


def test_the_loss_of_a_group_has_its_standard_error():
    lost = np.repeat([-1, 0, 1], (10, 70, 20))
    found = GroupLoss.of(lost)
    assert (found.rows, found.mean) == (100, pytest.approx(0.1))
    assert found.error == pytest.approx(sem(lost))


@pytest.mark.parametrize(
    ("mean", "error", "exceeds"),
    [
        (0.0227, 0.0083, True),  # SST-2's two layers, which lose four points on the test rows
        (0.0227, 0.0130, False),
        (0.009, 0.001, False),
        (-0.02, 0.001, False),
    ],
)
def test_a_group_counts_where_it_is_over_the_limit_by_a_standard_error(mean, error, exceeds):
    assert GroupLoss(rows=1475, mean=mean, error=error).exceeds(0.01) is exceeds


def test_the_longest_quarter_is_longer_than_three_quarters():
    lengths = np.random.default_rng(0).permutation(400)
    assert sorted(lengths[longest_quarter(lengths)]) == list(range(300, 400))


def test_rows_of_equal_length_and_few_rows_have_no_longest():
    assert not longest_quarter(np.full(1000, 17)).any()
    assert not longest_quarter(np.arange(3 * FEWEST_ROWS)).any()
