"""Which layers get which precision: an integer programme over measured divergences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from edgesmith.records.plan import WeightDtype

REPAIRS = 8
"""Most layers that are raised after the programme's answer was measured."""


@dataclass(frozen=True)
class Precision:
    """One way to store a layer's weight.

    Attributes:
        bytes: of the weight.
        divergence: in nats, when only this layer is stored so; noise below zero counts as zero.
    """

    dtype: WeightDtype
    bytes: int
    divergence: float


def assign_precision(options: Mapping[str, list[Precision]], max_divergence: float) -> dict[str, Precision]:
    """One option a layer: the fewest bytes that the summed divergence allows.

    Minimises ``sum bytes_ij x_ij`` over binary ``x`` with ``sum_j x_ij = 1`` for each layer i and
    ``sum divergence_ij x_ij <= max_divergence``.

    Args:
        options: layer -> its options, of which one has no divergence.
        max_divergence: budget in nats.
    """
    flat = [(layer, option) for layer, several in options.items() for option in several]
    if not flat:
        return {}
    divergence = np.array([max(0.0, option.divergence) for _, option in flat])
    # An option that does not fit alone is ruled out, so that a budget of 0 is exact.
    fits = divergence <= max_divergence
    # In units of the budget: the solver's tolerance is absolute, and divergences are small numbers.
    share = np.where(fits, divergence, 0.0) / (max_divergence or 1.0)
    one_a_layer = np.array([[float(layer == owner) for owner, _ in flat] for layer in options])
    solution = milp(
        c=[float(option.bytes) for _, option in flat],
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, fits),
        constraints=[LinearConstraint([share], ub=1.0), LinearConstraint(one_a_layer, lb=1.0, ub=1.0)],
        options={"mip_rel_gap": 0.0},
    )
    # The options without divergence are always allowed, so the programme has a solution.
    return {layer: option for (layer, option), chosen in zip(flat, solution.x, strict=True) if chosen > 0.5}


def verify_precision(
    chosen: Mapping[str, Precision],
    options: Mapping[str, list[Precision]],
    divergence: Callable[[Mapping[str, Precision]], float],
    max_divergence: float,
) -> tuple[dict[str, Precision], float]:
    """Measures the layers together and raises the most sensitive, one step at a time, until the budget is met.

    Single divergences add up only roughly, so the sum that the programme kept to is not yet the truth.

    Args:
        divergence: in nats, of all layers together.

    Returns:
        The option of each layer, and their joint divergence. After `REPAIRS` raises it may exceed the budget.
    """
    kept = dict(chosen)
    joint = divergence(kept)
    for _ in range(REPAIRS):
        lossy = [layer for layer, option in kept.items() if option.divergence > 0]
        if joint <= max_divergence or not lossy:
            break
        worst = max(lossy, key=lambda layer: kept[layer].divergence)
        better = [option for option in options[worst] if option.divergence < kept[worst].divergence]
        kept[worst] = min(better, key=lambda option: option.bytes)
        joint = divergence(kept)
    return kept, joint
