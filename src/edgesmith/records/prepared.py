"""Formats that are written and checked here, and run elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from edgesmith.records.manifest import TensorSpec


@dataclass(frozen=True, kw_only=True)
class Format:
    """What `edgesmith export --to` writes.

    Attributes:
        suffix: how the name of the file, or of a package, ends.
        extra: of edgesmith that the writer needs.
        title: what it is, in words.
        calibrated: the writer needs rows of data.
        static: linear layers with INT8 weights need static INT8 inputs, symmetric.
    """

    suffix: str
    extra: str
    title: str
    calibrated: bool = False
    static: bool = False


FORMATS: dict[str, Format] = {
    "coreml": Format(suffix=".mlpackage", extra="coreml", title="Core ML, for Apple devices"),
    "tensorrt": Format(
        suffix="",
        extra="onnxruntime",
        title="ONNX for TensorRT, for NVIDIA devices",
        calibrated=True,
        static=True,
    ),
    "qnn": Format(
        suffix="", extra="onnxruntime", title="ONNX for QNN, for Qualcomm devices", calibrated=True
    ),
}
"""By name; ``edgesmith.export.<name>`` has the writer, ``write(model, order, path) -> Prepared``."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A file that was written and read back.

    Attributes:
        stored: layer -> what its weight is in the file, such as ``int8 per_channel``.
        changes: plan entries that the format lowers to something else -> what they became, in words.
        checks: what was checked, in sentences.
        open: what was not, in a sentence.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    stored: dict[str, str]
    changes: dict[str, str]
    checks: tuple[str, ...]
    open: str


@dataclass(frozen=True, kw_only=True)
class PreparedRecord:
    """What `edgesmith export` did.

    Attributes:
        run: the folder that model and plan came from.
        plan_of: runtime whose plan it is.
        size_bytes: of the file, or of all files of a package.
    """

    path: str
    format: str
    run: str
    plan_of: str
    size_bytes: int
    file: Prepared
