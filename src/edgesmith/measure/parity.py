"""Does the artifact compute what the model computes? Outputs of both on the same rows, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesmith.errors import ParityError

Logits = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How close two outputs are.

    Attributes:
        name: the output.
        n: rows.
        max_abs_error: largest difference of any value.
        min_cosine: cosine similarity of the worst row.
        label_agreement: fraction of rows with the same largest value.
    """

    name: str
    n: int
    max_abs_error: float
    min_cosine: float
    label_agreement: float


def check_parity(reference: Logits, candidate: Logits, *, tolerance: float, name: str) -> Parity:
    """Compares an artifact's output with its model's.

    Args:
        reference, candidate: shape (n, classes), n >= 1.
        tolerance: largest absolute difference that is allowed.
        name: of the output, for messages.

    Raises:
        ParityError: shapes differ, a value is NaN or infinite, or a difference is above the tolerance.
    """
    _check_comparable(reference, candidate, name)
    left, right = reference.astype(np.float64), candidate.astype(np.float64)
    error = np.abs(left - right).max(axis=1)  # (n,)
    worst = int(error.argmax())
    if error[worst] > tolerance:
        raise ParityError(
            f"output {name!r} differs from the model's by {error[worst]:.3g} at row {worst} of {len(error)}; "
            f"tolerance {tolerance:.3g}. Export again in FP32 to see whether the graph or its precision is at fault."
        )
    return Parity(
        name=name,
        n=len(error),
        max_abs_error=float(error[worst]),
        min_cosine=float(_cosine(left, right).min()),
        label_agreement=float((left.argmax(axis=1) == right.argmax(axis=1)).mean()),
    )


def sqnr_db(reference: Logits, candidate: Logits) -> float | None:
    """Signal-to-quantization-noise ratio of two arrays of one shape in decibels; None where they are equal."""
    noise = float(np.square(reference.astype(np.float64) - candidate).sum())
    if noise == 0:
        return None
    return float(10 * np.log10(np.square(reference.astype(np.float64)).sum() / noise))


def _check_comparable(reference: Logits, candidate: Logits, name: str) -> None:
    if reference.ndim != 2 or reference.shape != candidate.shape or not reference.size:
        raise ParityError(
            f"output {name!r} has shape {candidate.shape}, the model's has {reference.shape}; "
            "expected one and the same (n, classes) with n >= 1. Run both on the same rows."
        )
    for owner, values in (("model", reference), ("artifact", candidate)):
        bad = int((~np.isfinite(values)).sum())
        if bad:
            raise ParityError(
                f"output {name!r} of the {owner} has {bad} of {values.size} values that are NaN or infinite; "
                "expected none. Look for mask constants and scales that overflow."
            )


def _cosine(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine of each pair of rows, (n,); two rows of zeros are equal, so theirs is 1."""
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    dots = (left * right).sum(axis=1)
    both_zero = ~left.any(axis=1) & ~right.any(axis=1)
    return np.where(both_zero, 1.0, dots / np.where(norms > 0, norms, 1.0))
