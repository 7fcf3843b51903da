"""The longest text and the largest image that meet a deadline, by predicted latency."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from edgesmith.analyze.operators import image_pixels, image_shape, is_of_images
from edgesmith.records.analysis import DeadlineLimit

if TYPE_CHECKING:
    from edgesmith.analyze.analysis import Question

MOST_PATCHES = 128
"""Along a side of the largest image that is tried: 2,048 pixels of 16 a patch."""

_BASES: tuple[Literal["floor", "expected"], ...] = ("floor", "expected")


def deadline_limits(question: Question, deadline_ms: float) -> Iterator[DeadlineLimit]:
    """A limit for each precision and each latency that can be predicted."""
    for precision in question.precisions:
        for place, basis in enumerate(_BASES):
            latency = question.latency_ms(precision)[place]
            if latency is not None:
                yield _limit(question, precision, deadline_ms, basis, latency)


def largest(meets: Callable[[int], bool], most: int) -> int | None:
    """The largest size up to `most` that meets; None where not even 1 does. What is smaller is faster."""
    low, high = 0, most + 1  # `low` meets, `high` does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if meets(middle) else (low, middle)
    return low or None


def _limit(
    question: Question,
    precision: str,
    deadline_ms: float,
    basis: Literal["floor", "expected"],
    latency_ms: float,
) -> DeadlineLimit:
    shape, place = question.shape, _BASES.index(basis)
    is_image = is_of_images(shape)
    most = MOST_PATCHES if is_image else shape.positions

    def meets(size: int) -> bool:
        found = _resized(question, size).latency_ms(precision)[place]
        return found is not None and found <= deadline_ms

    found = largest(meets, most)
    size = found
    if found is not None and is_of_images(shape):
        size = image_pixels(image_shape(shape, found))
    return DeadlineLimit(
        unit=question.unit_name,
        precision=precision,
        deadline_ms=deadline_ms,
        basis=basis,
        unit_of_size="pixels" if is_image else "tokens",
        largest=size,
        is_most=found == most,
        meets=latency_ms <= deadline_ms,
        rate=1e3 / latency_ms if latency_ms <= deadline_ms else None,
    )


def _resized(question: Question, size: int) -> Question:
    """The same for a text of so many tokens, or a square image of so many patches along a side."""
    shape = question.shape
    if is_of_images(shape):
        resized = image_shape(shape, size)
        return replace(question, shape=resized, tokens=resized.positions)
    return replace(question, tokens=size)
