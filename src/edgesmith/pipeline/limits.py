"""How much of a model may stay: shares of its MACs and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from edgesmith.analyze.cost import macs, parameters
from edgesmith.errors import RecipeError
from edgesmith.models.coupling import Shape
from edgesmith.models.site import Site
from edgesmith.pipeline.coupled import unit_cost
from edgesmith.recipe import CutConfig
from edgesmith.search.masks import Units, least_cost

_WORDS = {"macs": "MACs", "parameters": "parameters"}


@dataclass(frozen=True)
class Limits:
    """The shares that a configuration sets, of a whole model.

    Attributes:
        tokens: of the input that MACs are counted for.
    """

    config: CutConfig
    shape: Shape
    tokens: int

    @property
    def shares(self) -> dict[str, float]:
        """Of MACs and parameters, those that are limited."""
        shares = {"macs": self.config.macs, "parameters": self.config.parameters}
        return {name: share for name, share in shares.items() if share is not None}

    @property
    def values(self) -> list[float]:
        """What may stay, an entry a limit."""
        return [
            share * whole for share, whole in zip(self.shares.values(), self.costs(self.shape), strict=True)
        ]

    def costs(self, shape: Shape) -> tuple[float, ...]:
        """What a shape costs, an entry a limit."""
        counts = {"macs": macs(shape, self.tokens), "parameters": parameters(shape)}
        return tuple(counts[name] for name in self.shares)

    def unit_costs(self, places: list[Site], site: Site) -> tuple[float, ...]:
        """What goes with one unit of a site, an entry a limit."""
        one, work = unit_cost(self.shape, places, site, self.tokens)
        counts = {"macs": work, "parameters": one}
        return tuple(counts[name] for name in self.shares)

    def left_for(self, groups: Sequence[Units]) -> list[float]:
        """What the limits leave for units that may go, beside all that stays in any case.

        Raises:
            RecipeError: less than some units in every group cost.
        """
        candidates = np.sum([np.multiply(len(group.importance), group.cost) for group in groups], axis=0)
        fixed = np.subtract(self.costs(self.shape), candidates)
        least = (fixed + least_cost(groups)).tolist()
        self.check(least, f"the fewest {' and '.join(self.config.units)} in each layer")
        left: list[float] = np.subtract(self.values, fixed).tolist()
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
        for name, limit, needed, total in zip(self.shares, self.values, least, whole, strict=True):
            if needed > limit:
                layers = "" if set(self.config.units) == {"layers"} else ", or --units layers"
                raise RecipeError(
                    f"--{name} {100 * self.shares[name]:g}% would leave nothing in some layer: with {left} there still "
                    f"are {100 * needed / total:.1f} % of the {_WORDS[name]}. "
                    f"Type: --{name} {ceil(100 * needed / total)}%{layers}."
                )
