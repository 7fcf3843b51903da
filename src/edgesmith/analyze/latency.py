"""A shape in a precision -> milliseconds: what pruning, precision and the search for a structure ask."""

from __future__ import annotations

from dataclasses import dataclass

from edgesmith.analyze.analysis import ask
from edgesmith.analyze.operators import Shape, is_of_images
from edgesmith.errors import UnsupportedError
from edgesmith.targets import Target


@dataclass(frozen=True, kw_only=True)
class LatencyModel:
    """Predicted latency of one input on a device's first unit, by rates that were measured there.

    Attributes:
        tokens: of a text; an image has its own.
        threads: cores that compute; None for the most that were measured.

    Raises:
        UnsupportedError: no rates were measured on the unit; its floor is no latency.
    """

    target: Target
    tokens: int
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.target.unit().rates is None:
            raise UnsupportedError(
                f"no rates were measured on {self.target.name!r}, so no latency is predicted there. Type, on the device: "
                f"edgesmith targets calibrate{'' if self.target.is_host else f' --name my-{self.target.name} -o .'}"
            )

    def __call__(self, shape: Shape, precision: str) -> float:
        """Milliseconds that are expected of a model of this shape, its linear layers in the precision.

        Raises:
            RecipeError: an unknown precision, or a number of threads or a length that is not possible.
            UnsupportedError: a precision that was not measured.
        """
        length = None if is_of_images(shape) else self.tokens
        question = ask(shape, self.target, length=length, precision=precision, threads=self.threads)
        expected = question.latency_ms(precision)[1]
        if expected is None:
            rates = self.target.unit().rates
            measured = ", ".join(rates.precisions) if rates else "none"
            raise UnsupportedError(
                f"no rates of {precision} were measured on {self.target.name!r}; measured: {measured}."
            )
        return expected
