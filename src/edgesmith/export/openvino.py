"""OpenVINO: a PyTorch model and its plan become ``model.xml`` and ``model.bin``, read back against the plan.

The graph comes by way of ONNX, whose nodes have their modules' names; OpenVINO's own reader takes it over.

Lowering table (plan entry -> what the files hold):

=====================================  ==========================================================================
linear, int8 per channel, dynamic      MatMul of INT8 rows through Convert and Multiply by the scale of each: OpenVINO's
                                       compressed weights. Its kernel quantizes the input as it arrives, in groups,
                                       where the processor multiplies INT8; elsewhere it computes in FP32
embedding, int8 per channel (row)      Gather of INT8 rows and of their scales, Convert, Multiply
fp16, any                              FP16 constant and a Convert, folded when the model loads: computed in FP32
fp32, any                              as it is
=====================================  ==========================================================================

`nncf.compress_weights` writes the same pattern for all layers at once; layer by layer it is shorter by hand than its
list of exceptions, and needs no second package. A MatMulInteger taken over from ONNX Runtime's file would be expanded
into a multiplication in floating point with the weights unpacked.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from edgesmith.errors import ExportError
from edgesmith.export import onnx_graph
from edgesmith.export.artifact import Artifact, check_stored
from edgesmith.export.weights import as_fp16, int8_rows
from edgesmith.records import Plan, TensorSpec
from edgesmith.runtime.openvino import import_openvino, one_line

MODEL_NAME = "model.xml"

_openvino = import_openvino()
_operators = _openvino.opset15
_DTYPES = {"i8": "int8", "f16": "fp16", "f32": "fp32"}
_DIMENSIONS = ("batch", "sequence")
_OF_GEMM = "/WithoutBiases"
"""How OpenVINO's reader ends the name of the product in a Gemm, which it splits from the addition."""
_UNPACKING = ("Convert", "Multiply", "Transpose")
"""What may lie between a stored matrix and the operator that reads it."""


def export_graph(model: PreTrainedModel, path: Path, *, max_length: int, pairs: bool) -> None:
    """Writes the FP32 model with dynamic batch and sequence, its operators named after their modules.

    Args:
        model: a classifier of texts, or of images, whose height and width are fixed.
        max_length: longest sequence of text in tokens; the graph accepts 2 to this.
        pairs: whether ``token_type_ids`` is an input.

    Raises:
        ExportError: the exporter does not support the model, or OpenVINO does not support its graph.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        graph = Path(folder) / "graph.onnx"
        onnx_graph.export_graph(model, graph, max_length=max_length, pairs=pairs)
        convert(graph, path)


def convert(graph: Path, path: Path) -> None:
    """Writes a graph that `onnx_graph.export_graph` wrote as OpenVINO's files.

    Raises:
        ExportError: OpenVINO does not support it; the operator is named.
    """
    try:
        model = _openvino.Core().read_model(graph)
    except RuntimeError as problem:
        raise ExportError(f"the model cannot be written for OpenVINO: {one_line(problem)}") from problem
    for node in model.get_ops():
        node.set_friendly_name(node.get_friendly_name().removesuffix(_OF_GEMM))
    _write(model, path)


def lower(graph_path: Path, plan: Plan, path: Path) -> Artifact:
    """Writes the model with its weights as the plan says, and reads it back.

    Args:
        graph_path: what `export_graph` wrote.
        plan: entries for modules of the exported model.
        path: the ``.xml`` file to write; the weights go beside it.

    Raises:
        ExportError: an entry names no layer of the graph, cannot be lowered, or the file does not hold what the plan
            says.
    """
    model = _openvino.Core().read_model(graph_path)
    readers = _by_name(model)
    for entry in plan.layers:
        reader = _reader(readers, entry.layer)
        if entry.weight == "fp16":
            _store_as_fp16(reader, entry.layer)
        elif entry.weight == "int8":
            quantize = _quantize_linear if entry.kind == "linear" else _quantize_embedding
            quantize(reader, entry.layer)
    _write(model, path)
    return Artifact(
        path=path, inputs=_specs(model.inputs), outputs=_specs(model.outputs), stored=read_back(path, plan)
    )


def read_back(path: Path, plan: Plan) -> dict[str, str]:
    """Layer -> dtype of its weight in the file: ``int8``, ``fp16``, ``fp32``, or OpenVINO's name for another.

    Raises:
        ExportError: the file does not hold what the plan says; every difference is named.
    """
    readers = _by_name(_openvino.Core().read_model(path))
    stored = {entry.layer: _stored_dtype(_reader(readers, entry.layer), entry.layer) for entry in plan.layers}
    check_stored(path, plan, stored)
    return stored


def _by_name(model: Any) -> dict[str, Any]:
    return {node.get_friendly_name(): node for node in model.get_ops()}


def _reader(readers: dict[str, Any], layer: str) -> Any:
    """The operator that reads a layer's weight."""
    if layer not in readers:
        raise ExportError(f"the plan names the layer {layer!r}, which the graph does not have.")
    return readers[layer]


def _weight(reader: Any, layer: str) -> tuple[Any, bool]:
    """The constant that holds a layer's matrix, and whether it is transposed on its way to the operator."""
    for position in range(reader.get_input_size()):
        source, is_transposed = reader.input_value(position).get_node(), False
        while source.get_type_name() in _UNPACKING:
            is_transposed ^= source.get_type_name() == "Transpose"
            source = source.input_value(0).get_node()
        if source.get_type_name() == "Constant" and len(source.get_output_shape(0)) == 2:
            return source, is_transposed
    raise ExportError(f"{layer} is read by a {reader.get_type_name()} without a matrix of its own.")


def _quantize_linear(product: Any, layer: str) -> None:
    """Replaces MatMul(input, FP32 matrix) by MatMul(input, INT8 rows x scale of each row)."""
    if product.get_type_name() != "MatMul":
        raise ExportError(
            f"{layer} is read by a {product.get_type_name()}, which has no INT8 form here. Plan it as fp16 or fp32."
        )
    weight, is_transposed = _weight(product, layer)
    has_rows = is_transposed != product.get_attributes()["transpose_b"]
    stored, scales = int8_rows(weight.data if has_rows else weight.data.T)  # (out, in), (out, 1)
    integers = _operators.convert(_operators.constant(np.ascontiguousarray(stored)), "f32")
    rows = _operators.multiply(integers, _operators.constant(scales))
    _replace(product, _operators.matmul(product.input_value(0), rows, False, True), layer)


def _quantize_embedding(gather: Any, layer: str) -> None:
    """Replaces Gather(FP32 table) by Gather(INT8 rows) x Gather(scale of each row)."""
    if gather.get_type_name() != "Gather":
        raise ExportError(
            f"{layer} is read by a {gather.get_type_name()}, which has no INT8 form here. Plan it as fp16 or fp32."
        )
    weight, _ = _weight(gather, layer)
    stored, scales = int8_rows(weight.data)  # (V, E), (V, 1)
    ids, axis = gather.input_value(1), gather.input_value(2)
    rows = _operators.gather(_operators.constant(stored), ids, axis)
    scale = _operators.gather(_operators.constant(scales), ids, axis)
    product = _operators.multiply(_operators.convert(rows, "f32"), scale)
    _replace(gather, product, f"{layer}.scaled")
    rows.set_friendly_name(layer)


def _store_as_fp16(reader: Any, layer: str) -> None:
    """Halves a weight: an FP16 constant behind a Convert, which the runtime folds when it loads the file."""
    weight, _ = _weight(reader, layer)
    half = _operators.constant(as_fp16(weight.data, layer))
    _replace(weight, _operators.convert(half, "f32"), f"{layer}.cast")


def _replace(old: Any, new: Any, name: str) -> None:
    new.set_friendly_name(name)
    _openvino.utils.replace_node(old, new)


def _stored_dtype(reader: Any, layer: str) -> str:
    """Dtype of the matrix that a layer's operator reads, through what unpacks it."""
    weight, _ = _weight(reader, layer)
    stored: str = weight.get_element_type().get_type_name()
    return _DTYPES.get(stored, stored)


def _write(model: Any, path: Path) -> None:
    _openvino.save_model(model, path, compress_to_fp16=False)


def _specs(ports: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=port.get_any_name(),
            dtype=np.dtype(port.get_element_type().to_dtype()).name,
            shape=tuple(
                size.get_length() if size.is_static else _DIMENSIONS[axis]
                for axis, size in enumerate(port.get_partial_shape())
            ),
        )
        for port in ports
    )
