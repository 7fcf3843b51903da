"""A machine whose rates are formulas, so that what is predicted from them is one too."""

from __future__ import annotations

from edgesmith.records import CopyRate, Environment, KernelRate, Rates
from edgesmith.targets import Target, Unit

CALL_S, NODE_S = 1e-5, 1e-6
SPEEDS = {"fp32": 1e6, "int8": 3e6}
"""Of linear layers: multiply-accumulates a second for each row and unit of width."""

OTHER_PER_S = 1e8
"""Of everything else."""


def formula_rates() -> Rates:
    """One thread, rows 1 and 16, widths 64 and 256."""
    linear = [
        KernelRate(
            kind="linear", precision=precision, threads=1, rows=rows, width=width, per_s=speed * rows * width
        )
        for precision, speed in SPEEDS.items()
        for rows in (1, 16)
        for width in (64, 256)
    ]
    others = [
        KernelRate(kind=kind, precision="fp32", threads=1, rows=rows, width=64, per_s=OTHER_PER_S)
        for kind in ("products", "softmax", "norm", "activation")
        for rows in (1, 16)
    ]
    return Rates(
        runtime="onnxruntime",
        kernels=(*linear, *others),
        copies=(CopyRate(threads=1, bytes_per_s=1e11),),
        call_s=CALL_S,
        node_s=NODE_S,
        environment=Environment(processor="p", cores=1, system="s", python="3", packages={}),
        date="2026-01-01",
    )


def calibrated() -> Target:
    """A profile with these rates."""
    unit = Unit(
        kind="cpu", rates=formula_rates(), precisions=("fp32", "int8"), sources={"precisions": "measured"}
    )
    return Target(name="mine", description="measured", runtimes=("onnxruntime",), units={"cpu": unit})
