from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from edgesmith.search.masks import (
    Units,
    drop_least,
    least_cost,
    rearrange,
    search_masks,
    search_masks_within,
)


def random_groups(seed: int) -> list[Units]:
    generator = np.random.default_rng(seed)
    heads = [Units(kind="heads", importance=generator.exponential(size=3), cost=(5.0, 7.0)) for _ in range(2)]
    neurons = [
        Units(kind="neurons", importance=generator.exponential(size=4), cost=(2.0, 1.0)) for _ in range(2)
    ]
    return [heads[0], neurons[0], heads[1], neurons[1]]


def total_cost(groups, kept) -> np.ndarray:
    return np.sum(
        [np.multiply(len(units), group.cost) for group, units in zip(groups, kept, strict=True)], axis=0
    )


def worth(groups, kept) -> float:
    return float(sum(group.importance[list(units)].sum() for group, units in zip(groups, kept, strict=True)))


def brute_force(groups, limits) -> float:
    """The most importance that any choice with a unit in every group keeps within the limits."""
    options = [
        [
            part
            for size in range(1, len(group.importance) + 1)
            for part in combinations(range(len(group.importance)), size)
        ]
        for group in groups
    ]
    return max(
        worth(groups, kept)
        for kept in product(*options)
        if np.all(total_cost(groups, kept) <= np.asarray(limits) + 1e-9)
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limits", [(14.0, 16.0), (25.0, 100.0), (100.0, 24.0), (33.0, 30.0)])
def test_the_search_is_as_good_as_trying_everything(seed, limits):
    groups = random_groups(seed)
    kept = search_masks(groups, limits)
    assert all(len(units) >= 1 for units in kept)
    assert np.all(total_cost(groups, kept) <= np.asarray(limits) + 1e-9)
    assert worth(groups, kept) == pytest.approx(brute_force(groups, limits))


@pytest.mark.parametrize("limit_ms", [40.0, 60.0, 95.0, 1e9])
def test_what_stays_keeps_a_latency_that_is_no_sum(limit_ms):
    """A block more of the most important units would not."""
    groups = [
        Units(kind="neurons", importance=np.random.default_rng(seed).exponential(size=64), cost=(1.0,))
        for seed in range(3)
    ]

    def latency_ms(kept) -> float:
        return 10 + sum(len(units) ** 0.75 for units in kept)

    kept = search_masks_within(groups, (192.0,), lambda found: latency_ms(found) <= limit_ms)
    assert latency_ms(kept) <= limit_ms
    count = sum(map(len, kept))
    assert [units.tolist() for units in kept] == [
        units.tolist() for units in search_masks(groups, (float(count),))
    ]
    assert count == 192 or latency_ms(search_masks(groups, (count + 1.0,))) > limit_ms


def test_limits_of_cost_hold_beside_a_latency():
    groups = random_groups(1)
    kept = search_masks_within(groups, (25.0, 30.0), lambda found: len(found[1]) + len(found[3]) <= 3)
    assert len(kept[1]) + len(kept[3]) <= 3
    assert np.all(total_cost(groups, kept) <= (25.0, 30.0))


def test_limits_that_bind_nothing_keep_everything():
    groups = random_groups(0)
    assert [len(units) for units in search_masks(groups, (1e9, 1e9))] == [3, 4, 3, 4]


def test_the_least_that_can_stay_is_a_unit_in_every_group():
    groups = random_groups(0)
    assert least_cost(groups) == (2 * 5 + 2 * 2, 2 * 7 + 2 * 1)
    assert [len(units) for units in search_masks(groups, least_cost(groups))] == [1, 1, 1, 1]


def test_units_come_in_blocks_of_the_most_important():
    importance = np.arange(64.0)
    groups = [
        Units(kind="neurons", importance=part, cost=(1.0,), multiple=16)
        for part in (importance, importance[::-1])
    ]
    kept = search_masks(groups, [70.0])
    assert sorted(map(len, kept)) == [32, 32]
    assert kept[0].tolist() == list(range(32, 64)) and kept[1].tolist() == list(range(32))
    assert least_cost(groups) == (32.0,)


def test_blocks_fit_groups_of_any_size():
    """40 and 24 have no 16 in common but 8."""
    groups = [Units(kind="neurons", importance=np.ones(size), cost=(1.0,), multiple=16) for size in (40, 24)]
    assert least_cost(groups) == (16.0,)
    assert sum(map(len, search_masks(groups, [33.0]))) == 32


def test_what_is_equal_is_still_within_the_limit():
    groups = [Units(kind="neurons", importance=np.zeros(8), cost=(1.0,)) for _ in range(3)]
    assert sum(map(len, search_masks(groups, [11.0]))) == 11


def test_rearrangement_sees_what_units_lose_together():
    """Units 0 and 1 cancel out: each alone matters more than 2, both together not at all."""
    gradients = np.array([[3.0, -3.0, 1.0, 9.0]])
    fisher = gradients.T @ gradients
    diagonal = np.array(
        [2, 3]
    )  # what the diagonal says of 9, 9, 1, 81 and two that stay: 3 and one of the nines
    assert rearrange(fisher, np.array([0, 3])).tolist() == [2, 3]
    assert rearrange(fisher, diagonal).tolist() == [2, 3]


def loss(fisher, kept) -> float:
    removed = np.setdiff1d(np.arange(len(fisher)), kept)
    return float(fisher[np.ix_(removed, removed)].sum())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [1, 4, 8])
def test_rearrangement_never_loses_more_and_keeps_as_many(seed, count):
    gradients = np.random.default_rng(seed).normal(size=(6, 8))
    fisher = gradients.T @ gradients
    first = np.sort(np.argsort(-fisher.diagonal())[:count])
    kept = rearrange(fisher, first)
    assert len(kept) == count and kept.tolist() == sorted(set(kept.tolist()))
    assert loss(fisher, kept) <= loss(fisher, first) + 1e-9
    best = min(loss(fisher, np.array(each)) for each in combinations(range(8), count))
    assert loss(fisher, kept) >= best - 1e-9


def test_rearrangement_of_independent_units_changes_nothing():
    kept = np.array([1, 3])
    assert rearrange(np.diag([1.0, 4.0, 2.0, 3.0]), kept).tolist() == [1, 3]


def test_the_least_important_are_dropped_until_the_rest_is_cheap_enough():
    importance, asked = np.array([4.0, 1.0, 3.0, 2.0]), []

    def cost(kept):
        asked.append(kept.tolist())
        return (10.0 * len(kept),)

    assert drop_least(importance, cost, [25.0]).tolist() == [0, 2]
    assert asked == [[0, 1, 2, 3], [0, 2, 3], [0, 2]]
    assert drop_least(importance, cost, [0.0]).tolist() == [0]
    assert drop_least(importance, cost, [35.0], multiple=2).tolist() == [0, 2]
    assert drop_least(importance, cost, [40.0]).tolist() == [0, 1, 2, 3]
