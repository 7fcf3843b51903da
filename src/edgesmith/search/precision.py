"""Which layers get which precision: integer programmes over measured divergences.

One takes the least bytes and time under a divergence, as `compress` does; the other the least divergence under limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from edgesmith.records.plan import Scheme

REPAIRS = 8
"""Most layers that are raised after the programme's answer was measured."""

_WORST = 1e6
"""Most median divergences that a choice weighs: the solver's numbers stay in range, and what is worse is as bad."""

_TIE = 1e-3
"""What all of the bytes weigh beside the median divergence of a choice."""


@dataclass(frozen=True)
class Choice:
    """One scheme of a layer.

    Attributes:
        bytes: of the weight.
        divergence: in nats, when only this layer is so.
        macs: of the layer, for one input.
    """

    scheme: Scheme
    bytes: int
    divergence: float
    macs: float = 0.0

    @property
    def int8_macs(self) -> float:
        """Those on INT8 activations."""
        return 0.0 if self.scheme.activation == "none" else self.macs

    @property
    def static_macs(self) -> float:
        """Those on INT8 activations whose range is known beforehand."""
        return self.macs if self.scheme.activation == "static_int8" else 0.0


def assign_precision(options: Mapping[str, list[Choice]], max_divergence: float) -> dict[str, Choice]:
    """One option a layer: the least bytes and time that the summed divergence allows.

    Minimises ``sum cost_ij x_ij`` over binary ``x`` with ``sum_j x_ij = 1`` for each layer i and
    ``sum divergence_ij x_ij <= max_divergence``. A cost is the option's share of all bytes at their most, and its share of
    all MACs where these are on floating-point activations, which take several times as long.

    Args:
        options: layer -> its options, of which one has no divergence.
        max_divergence: budget in nats.
    """
    flat = [(layer, option) for layer, several in options.items() for option in several]
    if not flat:
        return {}
    divergence = np.array([max(0.0, option.divergence) for _, option in flat])
    most_bytes = sum(max(option.bytes for option in several) for several in options.values())
    macs = sum(max(option.macs for option in several) for several in options.values())
    # An option that does not fit alone is ruled out, so that a budget of 0 is exact.
    fits = divergence <= max_divergence
    # In units of the budget: the solver's tolerance is absolute, and divergences are small numbers.
    share = np.where(fits, divergence, 0.0) / (max_divergence or 1.0)
    one_a_layer = np.array([[float(layer == owner) for owner, _ in flat] for layer in options])
    solution = milp(
        # In bytes: the solver's gap is absolute too.
        c=[
            option.bytes + most_bytes * (option.macs - option.int8_macs) / (macs or 1.0) for _, option in flat
        ],
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, fits),
        constraints=[LinearConstraint([share], ub=1.0), LinearConstraint(one_a_layer, lb=1.0, ub=1.0)],
        options={"mip_rel_gap": 0.0},
    )
    # The options without divergence are always allowed, so the programme has a solution.
    return {layer: option for (layer, option), chosen in zip(flat, solution.x, strict=True) if chosen > 0.5}


def verify_precision(
    chosen: Mapping[str, Choice],
    options: Mapping[str, list[Choice]],
    divergence: Callable[[Mapping[str, Choice]], float],
    max_divergence: float,
) -> tuple[dict[str, Choice], float]:
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


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds of a model whose linear layers are all in FP32, all in INT8, and at most.

    What a layer saves is taken to be in proportion to its MACs.
    """

    fp32_ms: float
    int8_ms: float
    limit_ms: float

    def at(self, share: float) -> float:
        """With this share of the linear layers' MACs on INT8 inputs."""
        return self.fp32_ms - share * (self.fp32_ms - self.int8_ms)

    @property
    def least_share(self) -> float | None:
        """That keeps the limit; None where all of them do not."""
        if self.fp32_ms <= self.limit_ms:
            return 0.0
        if self.int8_ms > self.limit_ms:
            return None
        return (self.fp32_ms - self.limit_ms) / (self.fp32_ms - self.int8_ms)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a plan must keep to; MACs are of all layers, for one input."""

    bytes: float
    int8_macs: float = 0.0
    static_macs: float = 0.0


def least_divergence(options: Mapping[str, Sequence[Choice]], limits: Limits) -> dict[str, Choice] | None:
    """One choice a layer: the least summed divergence that the limits allow; None where nothing keeps them.

    Minimises ``sum divergence_ij x_ij`` over binary ``x`` with ``sum_j x_ij = 1`` for each layer i,
    ``sum bytes_ij x_ij <= bytes`` and the same, from below, of both kinds of MACs. Where divergences are equal, bytes decide.
    """
    flat = [(layer, choice) for layer, several in options.items() for choice in several]
    if not flat:
        return {}
    if limits.bytes <= 0:
        return None
    divergence = np.array([max(0.0, choice.divergence) for _, choice in flat])
    size = np.array([choice.bytes for _, choice in flat]) / limits.bytes
    # In units of a common divergence: the solver's tolerance is absolute, and divergences are small numbers.
    unit = np.median(divergence[divergence > 0]) if divergence.any() else 1.0
    kept = [LinearConstraint([size], ub=1.0)]
    for name in ("int8_macs", "static_macs"):
        least = getattr(limits, name)
        if least > 0:
            share = np.array([getattr(choice, name) for _, choice in flat]) / least
            kept.append(LinearConstraint([share], lb=1.0))
    one_a_layer = np.array([[float(layer == owner) for owner, _ in flat] for layer in options])
    solution = milp(
        c=np.minimum(divergence / unit, _WORST) + _TIE * size,
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, 1),
        constraints=[*kept, LinearConstraint(one_a_layer, lb=1.0, ub=1.0)],
        options={"mip_rel_gap": 0.0},
    )
    if solution.x is None:
        return None
    return {layer: choice for (layer, choice), chosen in zip(flat, solution.x, strict=True) if chosen > 0.5}


@dataclass(frozen=True)
class Trial:
    """A plan that was measured.

    Attributes:
        loss: of quality, on validation rows.
        raised: the layer that lost its choice before it was made.
    """

    chosen: dict[str, Choice]
    loss: float
    raised: str | None = None

    @property
    def divergence(self) -> float:
        """Summed over the layers, in nats."""
        return sum(max(0.0, choice.divergence) for choice in self.chosen.values())

    @property
    def bytes(self) -> int:
        return sum(choice.bytes for choice in self.chosen.values())


def try_plans(
    options: Mapping[str, Sequence[Choice]],
    limits: Limits,
    loss: Callable[[Mapping[str, Choice]], float],
    max_loss: float,
    max_trials: int,
) -> list[Trial]:
    """Measures the programme's answer; where it loses too much, the worst layer's choice is taken away, and it answers again.

    It ends with the first plan inside `max_loss`, after `max_trials`, or where nothing keeps the limits any more.

    Args:
        loss: of all layers together.

    Returns:
        The trials in their order; none where the limits cannot be kept.
    """
    left = {layer: list(several) for layer, several in options.items()}
    trials: list[Trial] = []
    raised = None
    while len(trials) < max_trials:
        chosen = least_divergence(left, limits)
        if chosen is None:
            break
        trials.append(Trial(chosen, loss(chosen), raised))
        raised = max(chosen, key=lambda layer: chosen[layer].divergence, default=None)
        if trials[-1].loss <= max_loss or raised is None or chosen[raised].divergence <= 0:
            break
        worst = chosen[raised].divergence
        left[raised] = [choice for choice in left[raised] if choice.divergence < worst]
    return trials
