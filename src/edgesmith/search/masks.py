"""Which units stay under limits of cost: the mask search and rearrangement of Kwon et al. 2022 (arXiv:2204.09656)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

BISECTIONS = 10
"""Of what a limit leaves: to a thousandth."""

Floats = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Units:
    """Units that stand side by side: the heads of an attention, the neurons of an FFN.

    Attributes:
        kind: units of one kind cost the same, wherever they are.
        importance: (units,), what is lost with each; 0 or more.
        cost: of one unit, an entry a limit.
        multiple: how many are kept is one of its multiples, as far as the numbers of units of this kind allow it.
    """

    kind: str
    importance: Floats
    cost: tuple[float, ...]
    multiple: int = 1


@dataclass(frozen=True)
class _Blocks:
    """Units in falling order of importance, `size` at a time."""

    order: Indices
    sums: Floats
    size: int


def least_cost(groups: Sequence[Units]) -> tuple[float, ...]:
    """What the fewest units cost that leave some in every group."""
    sizes = _block_sizes(groups)
    return tuple(np.sum([np.multiply(group.cost, sizes[group.kind]) for group in groups], axis=0).tolist())


def search_masks(groups: Sequence[Units], limits: Sequence[float]) -> list[Indices]:
    """The units that stay: those whose removal loses the least importance, within the limits.

    Solves ``min sum of importance removed`` subject to ``sum of cost kept <= limit`` for each limit, with at least one
    block of units left in every group, exactly: for every number of blocks of the first kind it takes as many of the
    second as the limits leave (arXiv:2204.09656, section 4.1, algorithm 1). That a group keeps some, that units come in
    blocks, and that there may be several limits is ours.

    Args:
        groups: of at most two kinds.
        limits: on the summed cost of what stays; not less than `least_cost`.

    Returns:
        The sorted indices that stay in each group.
    """
    kinds = list(dict.fromkeys(group.kind for group in groups))
    sizes = _block_sizes(groups)
    blocks = [_blocks(group, sizes[group.kind]) for group in groups]
    owners = {kind: [g for g, group in enumerate(groups) if group.kind == kind] for kind in kinds}
    pools = [_pool(blocks, owners[kind]) for kind in kinds]
    costs = [np.multiply(groups[owners[kind][0]].cost, sizes[kind]) for kind in kinds]
    spare = np.subtract(limits, least_cost(groups))
    taken = _best_counts([sums for _, sums in pools], costs, spare)
    counts = np.ones(len(groups), np.int64)
    for (owner, _), number in zip(pools, taken, strict=True):
        np.add.at(counts, owner[:number], 1)
    return [np.sort(block.order[: count * block.size]) for block, count in zip(blocks, counts, strict=True)]


def search_masks_within(
    groups: Sequence[Units],
    limits: Sequence[float],
    is_inside: Callable[[list[Indices]], bool],
) -> list[Indices]:
    """As `search_masks`, and inside a limit that is no sum of units' costs, such as a latency.

    What the limits leave beside `least_cost` is bisected until what stays is inside.

    Args:
        is_inside: asked of what stays in each group; the fewer units, the rather it is, and the fewest are.
    """
    found = search_masks(groups, limits)
    if is_inside(found):
        return found
    least = np.asarray(least_cost(groups))
    spare = np.subtract(limits, least)
    found, low, high = search_masks(groups, least.tolist()), 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        tried = search_masks(groups, (least + middle * spare).tolist())
        if is_inside(tried):
            found, low = tried, middle
        else:
            high = middle
    return found


def rearrange(fisher: Floats, kept: Indices) -> Indices:
    """As many units of one group, so chosen that what is removed together loses little together.

    ``1/2 (1-m)' F (1-m)`` is the loss by the block of the Fisher information that belongs to the group. Every kept unit in
    turn, the least important first, joins those removed, and the one goes back whose return lowers the loss most: which
    may be itself (arXiv:2204.09656, section 4.2, greedy).

    Args:
        fisher: (units, units), symmetric.
        kept: sorted indices.
    """
    removed = np.ones(len(fisher), bool)
    removed[kept] = False
    if removed.any():
        diagonal = fisher.diagonal()
        shared = fisher[:, removed].sum(axis=1)  # of each unit with all that are removed
        for unit in kept[np.argsort(diagonal[kept], kind="stable")]:
            removed[unit] = True
            shared = shared + fisher[:, unit]
            # the loss without unit i: total - 2 shared_i + F_ii
            gain = np.where(removed, 2 * shared - diagonal, -np.inf)
            back = int(gain.argmax()) if gain.max() > gain[unit] else int(unit)
            removed[back] = False
            shared = shared - fisher[:, back]
    return np.flatnonzero(~removed)


def _block_sizes(groups: Sequence[Units]) -> dict[str, int]:
    """Kind -> units of a block: the largest divisor of its multiple that divides every group of the kind."""
    sizes: dict[str, list[int]] = {}
    for group in groups:
        sizes.setdefault(group.kind, [group.multiple]).append(len(group.importance))
    return {kind: reduce(gcd, numbers) for kind, numbers in sizes.items()}


def _blocks(group: Units, size: int) -> _Blocks:
    order = np.argsort(-group.importance, kind="stable")
    return _Blocks(order, group.importance[order].reshape(-1, size).sum(axis=1), size)


def _pool(blocks: Sequence[_Blocks], owners: Sequence[int]) -> tuple[Indices, Floats]:
    """The blocks of some groups that are not kept in any case, most important first: their groups, and importances."""
    owner = np.concatenate([np.full(len(blocks[g].sums) - 1, g) for g in owners])
    sums = np.concatenate([blocks[g].sums[1:] for g in owners])
    order = np.argsort(-sums, kind="stable")
    return owner[order], sums[order]


def _best_counts(pools: Sequence[Floats], costs: Sequence[Floats], spare: Floats) -> list[int]:
    """How many of each pool's best blocks are kept."""
    first = np.concatenate([[0.0], np.cumsum(pools[0])])
    if len(pools) == 1:
        return [_affordable(costs[0], spare, len(pools[0]))]
    second = np.concatenate([[0.0], np.cumsum(pools[1])])
    best, counts = -1.0, [0, 0]
    for number in range(_affordable(costs[0], spare, len(pools[0])) + 1):
        others = _affordable(costs[1], spare - number * costs[0], len(pools[1]))
        if first[number] + second[others] > best:
            best, counts = first[number] + second[others], [number, others]
    return counts


def _affordable(cost: Floats, spare: Floats, most: int) -> int:
    """How many blocks the limits leave room for."""
    return min(most, *(int(left / each + 1e-9) for left, each in zip(spare, cost, strict=True) if each > 0))


def drop_least(
    importance: Floats,
    cost: Callable[[Indices], Sequence[float]],
    limits: Sequence[float],
    *,
    multiple: int = 1,
) -> Indices:
    """Drops units, the least important first, until the rest keeps the limits or one block of them is left.

    Args:
        importance: (units,).
        cost: of the units that stay, an entry a limit.
        multiple: units are dropped by so many, or by the largest divisor of it that divides their number.

    Returns:
        The sorted indices that stay.
    """
    size = gcd(multiple, len(importance))
    order = np.argsort(-importance, kind="stable")
    left = len(order)
    while left > size and any(np.greater(cost(np.sort(order[:left])), limits)):
        left -= size
    return np.sort(order[:left])
