"""What each runtime can execute: one row for each way to store and multiply a weight.

An exporter lowers a plan by these rows; a plan entry without a row is refused, never changed in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import get_args

from edgesmith.errors import UnsupportedError, choose_from
from edgesmith.records import RUNTIME_NAMES, LayerPlan, Task
from edgesmith.records.plan import INTEGERS, Activation, Granularity, LayerKind, Scheme, WeightDtype


@dataclass(frozen=True, kw_only=True)
class Capability:
    """One thing a runtime can do on a CPU.

    Attributes:
        granularity: what shares a scale; None where the weight has no scale.
        computes: number format of the multiplication, whatever the weight is stored in.
        gives: number format of its result.
        lowering: what the entry becomes in the runtime's own graph.
    """

    runtime: str
    kind: LayerKind
    weight: WeightDtype
    granularity: Granularity | None
    activation: Activation
    computes: WeightDtype
    lowering: str
    gives: WeightDtype = "fp32"

    def covers(self, entry: LayerPlan) -> bool:
        """Whether `entry` asks for exactly this."""
        wanted = (entry.kind, entry.weight, entry.activation)
        same_scale = self.granularity is None or entry.granularity == self.granularity
        return wanted == (self.kind, self.weight, self.activation) and same_scale

    def __str__(self) -> str:
        scale = f" {self.granularity}" if self.granularity else ""
        activation = "" if self.activation == "none" else f", activations {self.activation}"
        return f"{self.kind} {self.weight}{scale}{activation}"


def _row(
    runtime: str,
    kind: LayerKind,
    weight: WeightDtype,
    computes: WeightDtype,
    lowering: str,
    granularity: Granularity | None = None,
    activation: Activation = "none",
    gives: WeightDtype = "fp32",
) -> Capability:
    return Capability(
        runtime=runtime,
        kind=kind,
        weight=weight,
        granularity=granularity,
        activation=activation,
        computes=computes,
        lowering=lowering,
        gives=gives,
    )


_onnxruntime, _litert, _openvino, _executorch = (partial(_row, name) for name in RUNTIME_NAMES)

CAPABILITIES: tuple[Capability, ...] = (
    # INT8 is per-channel only: per-tensor weights are no faster here and cost ten times the error
    # (all-MiniLM-L6, worst cosine to FP32 of 16 texts: .989 per-channel, .907 per-tensor).
    _onnxruntime(
        "linear", "int8", "int8", "DynamicQuantizeLinear, MatMulInteger, Mul", "per_channel", "dynamic_int8"
    ),
    _onnxruntime(
        "linear", "int8", "int8", "QuantizeLinear, MatMulIntegerToFloat", "per_channel", "static_int8"
    ),
    _onnxruntime("linear", "int8", "int8", "MatMulNBits, inputs in blocks too", "per_block", "dynamic_int8"),
    _onnxruntime("linear", "int4", "int8", "MatMulNBits, inputs in blocks too", "per_block", "dynamic_int8"),
    _onnxruntime("embedding", "int8", "fp32", "Gather of rows and of their scales, Cast, Mul", "per_channel"),
    _onnxruntime("embedding", "int4", "fp32", "GatherBlockQuantized", "per_block"),
    _onnxruntime("linear", "fp16", "fp32", "Cast to FP32, MatMul"),
    _onnxruntime("embedding", "fp16", "fp32", "Gather, Cast to FP32"),
    _onnxruntime("linear", "fp32", "fp32", "MatMul"),
    _onnxruntime("embedding", "fp32", "fp32", "Gather"),
    _litert("linear", "int4", "int8", "FULLY_CONNECTED on INT4 weights", "per_channel", "dynamic_int8"),
    _litert("linear", "int8", "int8", "FULLY_CONNECTED on INT8 weights", "per_channel", "dynamic_int8"),
    # 16-bit activations would suit any layer (worst cosine .998, MiniLM), but a reference kernel computes them: 154 ms, not 2.6.
    _litert(
        "linear",
        "int8",
        "int8",
        "QUANTIZE, FULLY_CONNECTED, DEQUANTIZE",
        "per_channel",
        "static_int8",
        gives="int8",
    ),
    _litert("embedding", "int8", "fp32", "EMBEDDING_LOOKUP of INT8 rows", "per_channel"),
    _litert("linear", "fp16", "fp32", "DEQUANTIZE, FULLY_CONNECTED"),
    _litert("embedding", "fp16", "fp32", "DEQUANTIZE, EMBEDDING_LOOKUP or ADD"),
    _litert("linear", "fp32", "fp32", "FULLY_CONNECTED"),
    _litert("embedding", "fp32", "fp32", "EMBEDDING_LOOKUP or ADD"),
    # INT8 where the processor has VNNI or Arm's dot product; elsewhere the kernel unpacks the rows and computes in FP32.
    _openvino("linear", "int8", "int8", "Convert, Multiply, MatMul", "per_channel", "dynamic_int8"),
    _openvino(
        "embedding", "int8", "fp32", "Gather of rows and of their scales, Convert, Multiply", "per_channel"
    ),
    _openvino("linear", "fp16", "fp32", "Convert to FP32, MatMul"),
    _openvino("embedding", "fp16", "fp32", "Convert to FP32, Gather"),
    _openvino("linear", "fp32", "fp32", "MatMul"),
    _openvino("embedding", "fp32", "fp32", "Gather"),
    _executorch(
        "linear", "int8", "int8", "XNNPACK's FullyConnected on INT8 rows", "per_channel", "dynamic_int8"
    ),
    _executorch(
        "embedding", "int8", "fp32", "embedding of rows and of their scales, to FP32, mul", "per_channel"
    ),
    _executorch("linear", "fp16", "fp32", "to FP32, XNNPACK's FullyConnected, which packs it at every call"),
    _executorch("embedding", "fp16", "fp32", "embedding, to FP32"),
    _executorch("linear", "fp32", "fp32", "XNNPACK's FullyConnected"),
    _executorch("embedding", "fp32", "fp32", "embedding"),
)

TASKS_ON: dict[str, tuple[Task, ...]] = {
    "onnxruntime": get_args(Task),
    "litert": get_args(Task),
    "openvino": get_args(Task),
    "executorch": get_args(Task),
}
"""Runtime -> tasks whose models its exporter writes."""


def runtime_names() -> list[str]:
    """Runtimes with at least one row."""
    return sorted({row.runtime for row in CAPABILITIES})


def check_task(runtime: str, task: Task) -> None:
    """Raises `UnsupportedError`, with the runtimes that do, where a runtime does not take a task's models."""
    if task not in TASKS_ON[runtime]:
        others = [name for name in runtime_names() if task in TASKS_ON[name]]
        raise UnsupportedError(
            f"{task} on {runtime} is not supported, which takes {', '.join(TASKS_ON[runtime])}. "
            f"Type: --runtime {' or --runtime '.join(others)}"
        )


def uncalibrated_schemes(runtime: str, kind: LayerKind) -> list[Scheme]:
    """Those of `integer_schemes` that need no ranges, as `compress` chooses from.

    Linear layers have one scale a channel: what those in blocks cost in time is not measured. A table is read a row at a
    time, whatever shares its scales.
    """
    return [
        scheme
        for scheme in integer_schemes(runtime, kind)
        if scheme.activation != "static_int8" and (kind == "embedding" or scheme.granularity == "per_channel")
    ]


def integer_schemes(runtime: str, kind: LayerKind) -> list[Scheme]:
    """What the runtime can do with a weight beside keeping it in floating-point numbers, in the order of the rows."""
    return [
        Scheme(row.weight, row.granularity, row.activation)
        for row in CAPABILITIES
        if (row.runtime, row.kind) == (runtime, kind) and row.granularity is not None
    ]


def scales_tokens(runtime: str) -> bool:
    """Whether a dynamic layer finds one scale for each token, not one for all."""
    return runtime in ("litert", "executorch")


def gives_integers(runtime: str) -> bool:
    """Whether a layer with static inputs needs a range of its outputs too."""
    return any(row.runtime == runtime and row.gives in INTEGERS for row in CAPABILITIES)


def capability_of(runtime: str, entry: LayerPlan) -> Capability:
    """The row that lowers `entry`.

    Raises:
        UnsupportedError: the runtime is not known or cannot execute the entry; the text lists what it can.
    """
    rows = [row for row in CAPABILITIES if row.runtime == runtime]
    if not rows:
        raise UnsupportedError(choose_from("runtime", runtime, runtime_names()))
    for row in rows:
        if row.covers(entry):
            return row
    possible = "; ".join(str(row) for row in rows if row.kind == entry.kind)
    raise UnsupportedError(
        f"{runtime} cannot execute layer {entry.layer!r} as {entry.kind} {entry.weight} {entry.granularity}, "
        f"activations {entry.activation}. It can execute: {possible}."
    )
