"""How long an operator takes on a unit: at least, by the roofline; and likely, by rates that were measured.

The roofline is that of Williams, Waterman and Patterson (Communications of the ACM 52(4), 2009), operator by operator:
the longer of its multiply-accumulates at the unit's peak and its memory traffic at the memory's bandwidth. Traffic is
what no cache holds: weights, unless all that an inference reads fit in the last-level cache; activations only where one
operator's do not fit. A cache whose size is not known is taken to hold activations and no weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np

from edgesmith.analyze.operators import Operator
from edgesmith.records import KernelRate, Rates
from edgesmith.records.analysis import Bound
from edgesmith.targets import Target
from edgesmith.targets.profile import ELEMENT_BYTES

INTEGERS = ("int8", "int4")


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """What a unit can do in one precision; None is not known.

    Attributes:
        macs_per_s, bytes_per_s: at most.
        cache_bytes: of the last level.
        activation_bytes: of one element of an activation.
        keeps_weights: the last-level cache holds every weight that an inference reads.
    """

    precision: str
    macs_per_s: float | None
    bytes_per_s: float | None
    cache_bytes: int | None
    activation_bytes: float
    keeps_weights: bool

    @property
    def is_empty(self) -> bool:
        """Nothing can be predicted."""
        return self.macs_per_s is None and self.bytes_per_s is None


def ceiling(
    operators: Sequence[Operator],
    target: Target,
    unit_name: str,
    precision: str,
    threads: int | None,
) -> Ceiling:
    """The limits that hold for these operators.

    Args:
        threads: cores that compute; None for all.
    """
    unit = target.unit(unit_name)
    weights = sum(operator.read_bytes(precision) for operator in operators)
    cache = unit.last_level_cache_bytes
    bandwidth = target.memory_bandwidth_bytes_s
    if unit.rates:
        bandwidth = unit.rates.copy_bandwidth(threads or unit.rates.threads[-1])
    return Ceiling(
        precision=precision,
        macs_per_s=unit.peak(precision, threads),
        bytes_per_s=bandwidth,
        cache_bytes=cache,
        activation_bytes=activation_bytes(precision, unit.kind),
        keeps_weights=cache is not None and weights <= cache,
    )


def activation_bytes(precision: str, kind: str) -> float:
    """Of one element between operators: on a CPU the runtimes quantize activations as they arrive and keep FP32."""
    return 4.0 if kind == "cpu" and precision in INTEGERS else ELEMENT_BYTES[precision]


def traffic_bytes(operator: Operator, limits: Ceiling) -> float:
    """What comes from memory or goes there."""
    activations = limits.activation_bytes * (operator.read + operator.written)
    spills = limits.cache_bytes is not None and activations > limits.cache_bytes
    weights = 0.0 if limits.keeps_weights else operator.read_bytes(limits.precision)
    return weights + (activations if spills else 0.0)


def floor_s(operator: Operator, limits: Ceiling) -> tuple[float, Bound]:
    """The least seconds, and what they are spent on; a limit that is not known limits nothing."""
    traffic = traffic_bytes(operator, limits)
    compute = operator.macs / limits.macs_per_s if limits.macs_per_s else 0.0
    memory = traffic / limits.bytes_per_s if limits.bytes_per_s else 0.0
    if limits.macs_per_s is None or limits.bytes_per_s is None:
        return max(compute, memory), "unknown"
    if not operator.macs and not traffic:
        return 0.0, "cache"
    return max(compute, memory), "compute" if compute >= memory else "bandwidth"


def expected_s(operator: Operator, rates: Rates, precision: str, threads: int) -> float:
    """Seconds by measured rates: linear layers in the precision, the rest in FP32, as the runtimes here compute it."""
    if operator.kind == "softmax":
        return 0.0  # the rate of products has it
    if operator.kind == "linear":
        kernels = rates.of("linear", precision, threads)
        width = sqrt(operator.inner * operator.outer)
        return operator.macs / rate_at(kernels, operator.rows, width)
    kernels = rates.of(operator.kind, "fp32", threads)
    if operator.kind == "products":
        # of inner and outer one is the number of tokens
        head_dim = operator.inner * operator.outer / operator.rows
        return operator.macs / rate_at(kernels, operator.rows, head_dim)
    rows = operator.written / kernels[0].width
    return operator.written / rate_at(kernels, rows, kernels[0].width)


def has_rates(rates: Rates | None, precision: str, threads: int) -> bool:
    """Whether `expected_s` has what it needs."""
    return rates is not None and precision in rates.precisions and threads in rates.threads


def rate_at(kernels: Sequence[KernelRate], rows: float, width: float) -> float:
    """A rate between measured ones, linear in the logarithms of rows, width and rate; outside, that of the edge."""
    widths = sorted({kernel.width for kernel in kernels})
    along = []
    for each in widths:
        row = sorted((kernel.rows, kernel.per_s) for kernel in kernels if kernel.width == each)
        along.append(np.interp(log(rows), [log(count) for count, _ in row], [log(rate) for _, rate in row]))
    return exp(float(np.interp(log(width), [log(each) for each in widths], along)))
