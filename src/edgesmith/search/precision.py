"""Which layers get the higher precision: an integer programme over measured sensitivities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

REPAIRS = 8
"""Most layers that are raised after the programme's answer was measured."""


def assign_precision(
    sensitivity: Mapping[str, float], saved_bytes: Mapping[str, int], max_divergence: float
) -> list[str]:
    """Layers to put in INT8: as many bytes saved as the summed divergence allows.

    Maximises ``sum saved_i x_i`` over binary ``x`` with ``sum sensitivity_i x_i <= max_divergence``.

    Args:
        sensitivity: layer -> divergence when only that layer is INT8, in nats.
        saved_bytes: layer -> bytes that INT8 saves.
        max_divergence: budget in nats.
    """
    layers = list(sensitivity)
    divergence = np.array([max(0.0, sensitivity[layer]) for layer in layers])
    # A layer that does not fit alone is ruled out, so that a budget of 0 is exact.
    fits = divergence <= max_divergence
    # In units of the budget: the solver's tolerance is absolute, and divergences are small numbers.
    share = np.where(fits, divergence, 0.0) / (max_divergence or 1.0)
    solution = milp(
        c=[-float(saved_bytes[layer]) for layer in layers],
        integrality=np.ones(len(layers)),
        bounds=Bounds(0, fits),
        constraints=LinearConstraint([share], ub=1.0),
        options={"mip_rel_gap": 0.0},
    )
    # x = 0 is always allowed, so the programme has a solution.
    return [layer for layer, chosen in zip(layers, solution.x, strict=True) if chosen > 0.5]


def verify_precision(
    int8: Sequence[str],
    sensitivity: Mapping[str, float],
    divergence: Callable[[Sequence[str]], float],
    max_divergence: float,
) -> tuple[list[str], float]:
    """Measures the layers together and raises the most sensitive, one by one, until the budget is met.

    Single divergences add up only roughly, so the sum that the programme kept to is not yet the truth.

    Args:
        divergence: of a set of INT8 layers, in nats.

    Returns:
        The layers that stay in INT8, and their joint divergence. After `REPAIRS` raises it may exceed the budget.
    """
    kept = list(int8)
    joint = divergence(kept)
    for _ in range(REPAIRS):
        if joint <= max_divergence or not kept:
            break
        kept.remove(max(kept, key=lambda layer: sensitivity[layer]))
        joint = divergence(kept)
    return kept, joint
