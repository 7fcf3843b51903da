"""How much of a model may stay: shares of its MACs, its parameters and its predicted latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from edgesmith.analyze.cost import macs, parameters
from edgesmith.errors import RecipeError
from edgesmith.models.coupling import Shape
from edgesmith.models.site import Site
from edgesmith.pipeline.coupled import unit_cost
from edgesmith.recipe import CutConfig
from edgesmith.search.masks import Units

_WORDS = {"macs": "MACs", "parameters": "parameters", "latency": "predicted latency"}

PRECISION = "fp32"
"""Of the model that pruning leaves."""


@dataclass(frozen=True)
class Limits:
    """The shares that a configuration sets, of a whole model.

    Attributes:
        tokens: of the input that MACs are counted for.
        latency_ms: of a shape in a precision, predicted; None where the configuration does not limit it.
    """

    config: CutConfig
    shape: Shape
    tokens: int
    latency_ms: Callable[[Shape, str], float] | None = None

    @property
    def _sums(self) -> dict[str, float]:
        """Shares of what is the sum of all units' costs; of all MACs where only latency is limited, which is no sum."""
        return {name: share for name, share in self.config.shares.items() if name != "latency"} or {
            "macs": 1.0
        }

    @property
    def values(self) -> list[float]:
        """What may stay, an entry a limit."""
        return [
            share * whole
            for share, whole in zip(self.config.shares.values(), self.costs(self.shape), strict=True)
        ]

    def costs(self, shape: Shape) -> tuple[float, ...]:
        """What a shape costs, an entry a limit."""
        return tuple(self._cost(name, shape) for name in self.config.shares)

    def _cost(self, name: str, shape: Shape) -> float:
        if name == "macs":
            return macs(shape, self.tokens)
        return parameters(shape) if name == "parameters" else self._predicted(shape)

    def _predicted(self, shape: Shape) -> float:
        return self.latency_ms(shape, PRECISION) if self.latency_ms else 0.0

    def is_fast(self, shape: Shape) -> bool:
        """Whether a shape is predicted to keep the limit of latency; any does where there is none."""
        share = self.config.latency
        return share is None or self._predicted(shape) <= share * self._predicted(self.shape)

    def unit_costs(self, places: list[Site], site: Site) -> tuple[float, ...]:
        """What goes with one unit of a site, an entry a limit on a sum."""
        one, work = unit_cost(self.shape, places, site, self.tokens)
        counts = {"macs": work, "parameters": one}
        return tuple(counts[name] for name in self._sums)

    def left_for(self, groups: Sequence[Units]) -> list[float]:
        """What the limits on sums leave for units that may go, beside all that stays in any case."""
        candidates = np.sum([np.multiply(len(group.importance), group.cost) for group in groups], axis=0)
        whole = [self._cost(name, self.shape) for name in self._sums]
        fixed = np.subtract(whole, candidates)
        left: list[float] = np.subtract(np.multiply(list(self._sums.values()), whole), fixed).tolist()
        return left

    def check(self, least: Sequence[float], left: str) -> None:
        """Refuses limits under which nothing would be left somewhere.

        Args:
            least: what the smallest model costs that could come out, an entry a limit.
            left: what that model has, in words.

        Raises:
            RecipeError: that is more than a limit allows.
        """
        whole = self.costs(self.shape)
        for name, limit, needed, total in zip(self.config.shares, self.values, least, whole, strict=True):
            if needed > limit:
                layers = "" if set(self.config.units) == {"layers"} else ", or --units layers"
                raise RecipeError(
                    f"--{name} {100 * self.config.shares[name]:g}% would leave nothing in some layer: with {left} there still "
                    f"are {100 * needed / total:.1f} % of the {_WORDS[name]}. "
                    f"Type: --{name} {ceil(100 * needed / total)}%{layers}."
                )
