"""What a machine computes and copies in a second, as `edgesmith targets calibrate` measures it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgesmith.records.measurement import Environment

KernelKind = Literal["linear", "products", "softmax", "norm", "activation"]
"""Linear layers, products of activations with one another (attention), and the functions between them."""


@dataclass(frozen=True, kw_only=True)
class KernelRate:
    """How fast a runtime executes one operator, in a graph with others of its kind.

    Attributes:
        kind: `linear` with its bias and a residual; `products` are those of attention with all that stands between its
            linear layers, layout and softmax; `norm` without the sum before it.
        precision: that a weight is stored and multiplied in.
        rows: tokens.
        width: inputs and outputs of a linear layer; of attention that of a head; of functions the last axis.
        per_s: multiply-accumulates, of functions elements, a second.
    """

    kind: KernelKind
    precision: str
    threads: int
    rows: int
    width: int
    per_s: float


@dataclass(frozen=True, kw_only=True)
class CopyRate:
    """How fast memory is copied that no cache holds.

    Attributes:
        bytes_per_s: read and written together.
    """

    threads: int
    bytes_per_s: float


@dataclass(frozen=True, kw_only=True)
class Rates:
    """A machine's, measured.

    Attributes:
        call_s: of a graph that computes next to nothing: the launch overhead of an inference.
        node_s: that each further operator of such a graph adds.
        warnings: why the figures are not to be trusted; empty on a quiet machine.
        date: as YYYY-MM-DD.
    """

    runtime: str
    kernels: tuple[KernelRate, ...]
    copies: tuple[CopyRate, ...]
    call_s: float
    node_s: float
    environment: Environment
    date: str
    warnings: tuple[str, ...] = ()

    @property
    def threads(self) -> list[int]:
        """Numbers of threads that were measured, in order."""
        return sorted({kernel.threads for kernel in self.kernels})

    @property
    def precisions(self) -> list[str]:
        """Those that linear layers were measured in."""
        return sorted({kernel.precision for kernel in self.kernels if kernel.kind == "linear"})

    def of(self, kind: KernelKind, precision: str, threads: int) -> list[KernelRate]:
        return [
            one
            for one in self.kernels
            if (one.kind, one.precision, one.threads) == (kind, precision, threads)
        ]

    def peak(self, precision: str, threads: int) -> float | None:
        """The highest rate of a linear layer; None where that was not measured."""
        return max((one.per_s for one in self.of("linear", precision, threads)), default=None)

    def copy_bandwidth(self, threads: int) -> float | None:
        """None where that number of threads was not measured."""
        return next((one.bytes_per_s for one in self.copies if one.threads == threads), None)
