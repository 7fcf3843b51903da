"""TensorRT: a folder with an ONNX file of explicit quantization, and how to build an engine of it.

Lowering table (plan entry -> what the file holds):

=====================================  ==========================================================================
linear, int8 per channel, static       QuantizeLinear and DequantizeLinear (INT8, zero point 0) before the input, INT8
                                       matrix with one scale an output channel behind a DequantizeLinear, MatMul
embedding, int8 per channel (row)      INT8 rows, one scale a row, behind a DequantizeLinear, Gather
fp16, any                              FP16 initializer and a Cast
fp32, any                              as it is
=====================================  ==========================================================================

Bias, attention between tokens, softmax and norms stay in floating point. Rows and length are dynamic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from edgesmith.errors import ExportError, UnsupportedError
from edgesmith.export.artifact import Artifact
from edgesmith.export.onnx_answers import compare
from edgesmith.export.onnx_rules import check_rules
from edgesmith.export.onnxruntime import MODEL_NAME, export_graph, lower
from edgesmith.export.order import Feeds, Order
from edgesmith.export.tensorrt_rules import RULES
from edgesmith.records import TensorSpec
from edgesmith.records.plan import INTEGERS
from edgesmith.records.prepared import Prepared

BUILD_NAME = "build.json"
MAX_BATCH = 8
SHORTEST = 2
"""Tokens: the special ones."""

Profile = dict[str, dict[str, list[int]]]
"""Input -> ``min``, ``opt`` and ``max`` -> its dimensions."""


def write(model: PreTrainedModel, order: Order, path: Path) -> Prepared:
    """Writes the folder: ``model.onnx``, and ``build.json`` with the optimization profile and the line to type.

    Args:
        model: a compact encoder in FP32.
        order: linear layers with INT8 weights have static inputs in its plan; its rows are compared.
        path: of the folder.

    Raises:
        UnsupportedError: the plan has something that TensorRT has no form for.
        ExportError: the file cannot be written, does not hold the plan, breaks a rule, or answers otherwise.
    """
    _check_plan(order)
    path.mkdir()
    graph, file = path / "graph.onnx", path / MODEL_NAME
    export_graph(model, graph, max_length=order.max_length, pairs=order.pairs)
    artifact = lower(graph, order.plan, file, explicit=True)
    graph.unlink()
    build = describe_build(artifact, order.rows, order.max_length)
    (path / BUILD_NAME).write_text(json.dumps(build, indent=1) + "\n", encoding="utf-8")
    checks = [check_rules(file, "TensorRT", RULES), str(compare(model, file, order.rows))]
    engine = build_without_gpu(file, build["profile"])
    if engine:
        checks.append(engine)
    return Prepared(
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        stored={entry.layer: str(entry.scheme) for entry in order.plan.layers},
        changes={},
        checks=tuple(checks),
        open="no NVIDIA device ran it; neither speed nor accuracy there is known. On the device, type: "
        + build["trtexec"],
    )


def _check_plan(order: Order) -> None:
    for entry in order.plan.layers:
        scheme = entry.scheme
        wanted = "static_int8" if entry.kind == "linear" else "none"
        if scheme.weight in INTEGERS and (str(scheme.stored), scheme.activation) != (
            "int8 per_channel",
            wanted,
        ):
            raise UnsupportedError(
                f"{entry.layer} is planned {scheme}; TensorRT's file has int8 per channel"
                f"{' with static inputs' if entry.kind == 'linear' else ''}, fp16 and fp32."
            )


def describe_build(artifact: Artifact, rows: Sequence[Feeds], max_length: int) -> dict[str, Any]:
    """The optimization profile, and `trtexec` with it.

    The profile is made for one row of the median length among `rows`; it allows `MAX_BATCH` rows of any length.
    """
    first = artifact.inputs[0].name
    lengths = [row[first].shape[1] for row in rows] or [max_length]
    typical = int(np.median(lengths))
    chosen = {"min": (1, SHORTEST), "opt": (1, typical), "max": (MAX_BATCH, max_length)}
    profile: Profile = {
        spec.name: {point: _shape(spec, *sizes) for point, sizes in chosen.items()}
        for spec in artifact.inputs
    }
    return {
        "onnx": artifact.path.name,
        "profile": profile,
        "trtexec": trtexec_line(artifact.path.name, profile),
    }


def _shape(spec: TensorSpec, batch: int, length: int) -> list[int]:
    """With the dynamic dimensions filled in: the first is the batch, another the length."""
    return [
        size if isinstance(size, int) else (batch if axis == 0 else length)
        for axis, size in enumerate(spec.shape)
    ]


def trtexec_line(name: str, profile: Profile) -> str:
    """What to type on the device. Types are the file's: no flag for precision."""
    shapes = {
        point: ",".join(f"{name}:{'x'.join(map(str, sizes[point]))}" for name, sizes in profile.items())
        for point in ("min", "opt", "max")
    }
    told = " ".join(f"--{point}Shapes={text}" for point, text in shapes.items())
    return f"trtexec --onnx={name} --stronglyTyped {told} --saveEngine={Path(name).with_suffix('.engine')}"


def build_without_gpu(file: Path, profile: Mapping[str, Mapping[str, Sequence[int]]]) -> str | None:
    """Has NVIDIA's own parser and builder make an engine, where TensorRT-RTX is installed: it needs no GPU for that.

    Returns:
        What was built, in a sentence; None where it is not installed.

    Raises:
        ExportError: the parser or the builder refuses the file; its message is passed on.
    """
    try:
        library: Any = import_module("tensorrt_rtx")
    except ModuleNotFoundError:
        return None
    said: list[str] = []

    class _Log(library.ILogger):  # type: ignore[misc]
        def log(self, severity: Any, message: str) -> None:
            if severity <= library.ILogger.ERROR:
                said.append(message)

    builder = library.Builder(_Log())
    network = builder.create_network(1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = library.OnnxParser(network, builder.logger)
    if not parser.parse(file.read_bytes()):
        problem = parser.get_error(0)
        raise ExportError(
            f"TensorRT-RTX {library.__version__} cannot read {problem.node_name()}: {problem.desc()}"
        )
    config, shapes = builder.create_builder_config(), builder.create_optimization_profile()
    for name, sizes in profile.items():
        shapes.set_shape(name, *(list(sizes[point]) for point in ("min", "opt", "max")))
    config.add_optimization_profile(shapes)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError(f"TensorRT-RTX {library.__version__} cannot build {file.name}: {' '.join(said)}")
    return f"TensorRT-RTX {library.__version__} built an engine of {engine.nbytes / 1e6:.1f} MB without a GPU"
