"""QNN: a folder with ONNX files of fixed shapes, quantized for the HTP backend of Qualcomm's processors.

Texts get a file for each length, images one file; a batch is one row. Lowering, by ONNX Runtime's own `get_qnn_qdq_config`:

=====================================  ==========================================================================
linear, whatever the plan says         INT8 matrix, symmetric, one scale an output channel
embedding, whatever the plan says      UINT8 table with one scale: a Gather has no more. Its rows become 16-bit after it
all activations                        UINT16, or UINT8, with one scale; the second input of a product of two activations
                                       is UINT8: HTP has no product of two 16-bit ones
=====================================  ==========================================================================

All of the graph is quantized, so nothing of a plan in FP16 or FP32 stays so. A mask of -10,000 beside scores would take
all steps of their range; it is moved up to where it still hides every token (`mask_value`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config
from transformers import PreTrainedModel

from edgesmith.errors import ExportError
from edgesmith.export.onnx_answers import compare
from edgesmith.export.onnx_graph import export_graph, quiet
from edgesmith.export.onnx_rules import Graph, check_rules
from edgesmith.export.onnx_schemes import find_node
from edgesmith.export.onnxruntime import specs
from edgesmith.export.order import Feeds, Order
from edgesmith.export.qnn_rules import RULES
from edgesmith.models.compact import MASK_VALUE
from edgesmith.records import Plan, TensorSpec
from edgesmith.records.prepared import Prepared

SETTINGS_NAME = "settings.json"
LENGTHS = (32, 64, 128, 256, 512)
"""In tokens; an input runs in the shortest that holds it. Each file has its own weights."""

HIDDEN_BY = 16.0
"""Between the lowest score of a token that counts and the highest of one that is masked: exp(-16) is 1.1e-7."""

_OPTIONS = {"backend_type": "htp", "offload_graph_io_quantization": "0"}
"""Of the provider: quantization of inputs and outputs happens on the processor too."""


def write(model: PreTrainedModel, order: Order, path: Path) -> Prepared:
    """Writes the folder: a file for each length, ``settings.json``, and context binaries where QNN's tools are installed.

    Args:
        model: a compact encoder in FP32.
        order: its rows calibrate every file; lengths that no row has are calibrated on shorter rows, padded.
        path: of the folder.

    Raises:
        ExportError: a file cannot be written, is not what is planned here, breaks a rule, or answers otherwise.
    """
    path.mkdir()
    checks: list[str] = []
    stored: dict[str, str] = {}
    files: dict[str, str] = {}
    for name, length, rows in _files(model, order):
        file = path / name
        inputs, outputs = _write_file(model, order, file, length, rows)
        stored = read_back(file, order.plan, order.activation_bits)
        pad = _padded(length)
        checks += [check_rules(file, "QNN's HTP", RULES), f"{name}: {compare(model, file, rows, pad)}"]
        files[name] = compile_context(file, order.htp_arch) if find_spec("onnxruntime_qnn") else ""
        if files[name]:
            checks.append(f"{name}: onnxruntime-qnn compiled all of it into the context binary {files[name]}")
    settings = {"provider_options": _OPTIONS, "htp_arch": order.htp_arch, "files": files}
    (path / SETTINGS_NAME).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    return Prepared(
        inputs=inputs,
        outputs=outputs,
        stored=stored,
        changes={
            entry.layer: f"{entry.scheme} -> {stored[entry.layer]}, {order.activation_bits}-bit activations"
            for entry in order.plan.layers
        },
        checks=tuple(checks),
        open="no Qualcomm device ran it; neither speed nor accuracy there is known"
        + (
            "" if any(files.values()) else ". No context binary: pip install 'edgesmith[qnn]' on x86-64 Linux"
        ),
    )


def _files(model: PreTrainedModel, order: Order) -> Iterator[tuple[str, int | None, Sequence[Feeds]]]:
    """Name, length and calibration rows of each file."""
    if model.main_input_name == "pixel_values":
        yield "model.onnx", None, order.rows
        return
    for length in (*(one for one in LENGTHS if one < order.max_length), order.max_length):
        yield f"model-{length}.onnx", length, [_shortened(row, length) for row in order.rows]


def _shortened(row: Feeds, length: int) -> Feeds:
    return {name: value[:, :length] for name, value in row.items()}


def _padded(length: int | None) -> Callable[[Feeds], Feeds]:
    """What fills rows up to a length: zeros, which the mask hides."""

    def pad(row: Feeds) -> Feeds:
        if length is None:
            return row
        return {name: np.pad(value, ((0, 0), (0, length - value.shape[1]))) for name, value in row.items()}

    return pad


def _write_file(
    model: PreTrainedModel, order: Order, file: Path, length: int | None, rows: Sequence[Feeds]
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    graph = file.with_suffix(".float.onnx")
    export_graph(model, graph, max_length=length or order.max_length, pairs=order.pairs, is_fixed=True)
    whole = onnx.load(graph)
    padded = [_padded(length)(row) for row in rows]
    if length is not None:
        _move_mask(whole, graph, padded)
    activation = QuantType.QUInt16 if order.activation_bits == 16 else QuantType.QUInt8
    with quiet():
        config = get_qnn_qdq_config(
            whole,
            _Rows(padded),
            activation_type=activation,
            weight_type=QuantType.QUInt8,
            init_overrides=_overrides(whole, activation),
        )
        config.extra_options["ForceQuantizeNoInputCheck"] = True  # also what only reshapes the input
        onnx.save(whole, graph)
        quantize(graph, file, config)
    graph.unlink()
    return _named(file)


class _Rows(CalibrationDataReader):  # type: ignore[misc]
    """Calibration rows, one after the other."""

    def __init__(self, rows: Sequence[Feeds]) -> None:
        self._rows = iter(rows)

    def get_next(self) -> dict[str, Any] | None:
        row = next(self._rows, None)
        return None if row is None else dict(row)


def mask_value(scores: tuple[float, float]) -> float:
    """What is added to hide a token: no masked score comes nearer than `HIDDEN_BY` to the lowest that counts.

    Args:
        scores: lowest and highest before the mask.
    """
    low, high = scores
    return low - high - HIDDEN_BY


def _move_mask(whole: onnx.ModelProto, graph: Path, rows: Sequence[Feeds]) -> None:
    masks = [
        one for one in whole.graph.initializer if not one.dims and numpy_helper.to_array(one) == MASK_VALUE
    ]
    if not masks:
        raise ExportError(f"the graph has no constant {MASK_VALUE:.0f} that masks tokens.")
    value = np.array(mask_value(_score_range(whole, graph, rows)), np.float32)
    for mask in masks:
        mask.CopyFrom(numpy_helper.from_array(value, mask.name))


def _score_range(whole: onnx.ModelProto, graph: Path, rows: Sequence[Feeds]) -> tuple[float, float]:
    """Lowest and highest score of attention before the mask is added, in all layers."""
    view = Graph(whole)
    scores = [view.makers[node.input[0]].input[0] for node in view.nodes if node.op_type == "Softmax"]
    shown = onnx.ModelProto()
    shown.CopyFrom(whole)
    shown.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in scores)
    onnx.save(shown, graph)
    session = InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    names = {one.name for one in session.get_inputs()}
    found = [session.run(scores, {name: row[name] for name in names}) for row in rows]
    return (
        min(float(values.min()) for row in found for values in row),
        max(float(values.max()) for row in found for values in row),
    )


def _overrides(whole: onnx.ModelProto, activation: QuantType) -> dict[str, list[dict[str, Any]]]:
    """What differs from one type for all activations and one for all weights."""
    matrices = {one.name for one in whole.graph.initializer if len(one.dims) == 2}
    symmetric = {"quant_type": QuantType.QInt8, "symmetric": True}
    overrides: dict[str, list[dict[str, Any]]] = {}
    for node in whole.graph.node:
        owned = [name for name in node.input[:2] if name in matrices]
        if node.op_type in ("MatMul", "Gemm") and owned:
            rows = any(one.name == "transB" and one.i for one in node.attribute)
            overrides[owned[0]] = [{**symmetric, "axis": 0 if rows else 1}]
        elif node.op_type == "MatMul" and activation == QuantType.QUInt16:
            narrow = {"quant_type": QuantType.QUInt8, "recv_nodes": {node.name}}
            overrides[node.input[1]] = [{"quant_type": activation, "convert": narrow}]
        elif node.op_type == "Gather" and owned:
            overrides[owned[0]] = [{"quant_type": QuantType.QUInt8}]
            if activation == QuantType.QUInt16:
                widen = {"quant_type": activation}
                overrides[node.output[0]] = [{"quant_type": QuantType.QUInt8, "convert": widen}]
    return overrides


def read_back(file: Path, plan: Plan, activation_bits: int) -> dict[str, str]:
    """Layer -> what its weight is in the file, such as ``int8 per_channel``.

    Raises:
        ExportError: a linear layer that is not INT8 with a scale an output channel, or a table that is not UINT8.
    """
    model = onnx.load(file)
    graph = Graph(model)
    stored = {}
    for entry in plan.layers:
        if entry.kind == "embedding" and not _is_gathered(graph, entry.layer):
            stored[entry.layer] = f"uint{activation_bits} per_tensor"  # a slice of it, folded into a constant
            continue
        node = find_node(model.graph, entry.layer)
        unpacked = next(one for one in map(graph.unpacked, node.input[:2]) if one and graph.is_stored(one))
        scales = graph.constants[unpacked.input[1]]
        granularity = "per_tensor" if scales.size == 1 else "per_channel"
        stored[entry.layer] = f"{graph.dtype(unpacked)} {granularity}"
        wanted = "int8 per_channel" if entry.kind == "linear" else "uint8 per_tensor"
        if stored[entry.layer] != wanted and not (
            entry.kind == "linear" and 1 in graph.constants[unpacked.input[0]].shape
        ):
            raise ExportError(f"{file.name}: {entry.layer} is {stored[entry.layer]}, wanted {wanted}.")
    return stored


def _is_gathered(graph: Graph, layer: str) -> bool:
    return any(node.name == layer and node.op_type == "Gather" for node in graph.nodes)


def _named(file: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    graph = onnx.load(file).graph
    return specs(graph.input), specs(graph.output)


def compile_context(file: Path, htp_arch: int | None) -> str:
    """Compiles a file into a context binary beside it, with the tools of `onnxruntime-qnn` on this machine.

    Returns:
        Name of the ONNX file that a device loads; the binary lies beside it.

    Raises:
        ExportError: a part of the graph does not run on HTP; QNN's own words are passed on.
    """
    context = file.with_stem(f"{file.stem}_ctx")
    arguments = [str(file), str(context), *([str(htp_arch)] if htp_arch else [])]
    done = subprocess.run(
        [sys.executable, "-m", "edgesmith.export.qnn_context", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.splitlines()
        words = next(
            (line for line in said if "Unsupported nodes" in line), said[-1] if said else "no message"
        )
        raise ExportError(f"{file.name} does not compile for HTP: {words.strip()}")
    return context.name
