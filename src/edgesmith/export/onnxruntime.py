"""ONNX Runtime: a PyTorch model and its plan become one ``model.onnx``, and the file is read back against the plan.

Lowering table (plan entry -> what the file holds):

=====================================  ==========================================================================
linear, int8 per channel, dynamic      `onnxruntime.quantization.quantize_dynamic`: MatMulInteger, one scale a column
embedding, int8 per channel (row)      Gather of INT8 rows and of their scales, Cast, Mul
fp16, any                              FP16 initializer and a Cast, folded when the session loads: computed in FP32
fp32, any                              as it is
=====================================  ==========================================================================
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgesmith.errors import ExportError
from edgesmith.export.artifact import Artifact, check_stored
from edgesmith.export.onnx_graph import export_graph, quiet
from edgesmith.export.weights import as_fp16, int8_rows
from edgesmith.records import Plan, TensorSpec

__all__ = ["MODEL_NAME", "export_graph", "lower", "read_back"]

MODEL_NAME = "model.onnx"
_DTYPES = {TensorProto.INT8: "int8", TensorProto.FLOAT16: "fp16", TensorProto.FLOAT: "fp32"}
_SUFFIXES = ("", "_MatMul", "_quant", "_MatMul_quant")
"""What `quantize_dynamic` appends to the name of a node: it makes a MatMul of a Gemm, and a MatMulInteger of that."""


def lower(graph_path: Path, plan: Plan, path: Path) -> Artifact:
    """Writes the graph with its weights as the plan says, and reads it back.

    Args:
        graph_path: what `export_graph` wrote.
        plan: entries for modules of the exported model.
        path: the file to write.

    Raises:
        ExportError: an entry names no layer of the graph, cannot be lowered, or the file does not hold what the plan
            says.
    """
    int8 = [entry for entry in plan.layers if entry.weight == "int8"]
    linear = [entry.layer for entry in int8 if entry.kind == "linear"]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        quantized = Path(folder) / MODEL_NAME
        if linear:
            with quiet():
                quantize_dynamic(
                    graph_path,
                    quantized,
                    per_channel=True,
                    weight_type=QuantType.QInt8,
                    op_types_to_quantize=["MatMul"],
                    nodes_to_quantize=[layer + suffix for layer in linear for suffix in _SUFFIXES],
                )
        model = onnx.load(quantized if linear else graph_path)
    for entry in plan.layers:
        if entry.weight == "fp16":
            _store_as_fp16(model.graph, entry.layer)
        elif entry.weight == "int8" and entry.kind == "embedding":
            _quantize_embedding(model.graph, entry.layer)
    _strip(model)
    onnx.save(model, path)
    return Artifact(
        path=path,
        inputs=_specs(model.graph.input),
        outputs=_specs(model.graph.output),
        stored=read_back(path, plan),
    )


def read_back(path: Path, plan: Plan) -> dict[str, str]:
    """Layer -> dtype of its weight in the file: ``int8``, ``fp16``, ``fp32``, or ONNX's name for another.

    Raises:
        ExportError: the file does not hold what the plan says; every difference is named.
    """
    graph = onnx.load(path).graph
    stored = {entry.layer: _stored_dtype(graph, entry.layer) for entry in plan.layers}
    check_stored(path, plan, stored)
    return stored


def _find_node(graph: onnx.GraphProto, layer: str) -> onnx.NodeProto:
    """The node that holds a layer's weight, whatever quantization made of its name."""
    names = {layer + suffix for suffix in _SUFFIXES}
    found: onnx.NodeProto | None = next((node for node in graph.node if node.name in names), None)
    if found is None:
        raise ExportError(f"the plan names the layer {layer!r}, which the graph does not have.")
    return found


def _quantize_embedding(graph: onnx.GraphProto, layer: str) -> None:
    """Replaces Gather(FP32 table) by Gather(INT8 rows) x Gather(scale of each row)."""
    gather = _find_node(graph, layer)
    if gather.op_type != "Gather":
        raise ExportError(
            f"{layer} is read by a {gather.op_type}, which has no INT8 form here. Plan it as fp16 or fp32."
        )
    table = next(tensor for tensor in graph.initializer if tensor.name == gather.input[0])
    rows = numpy_helper.to_array(table)  # (V, E)
    stored, scales = int8_rows(rows)
    ids, output = gather.input[1], gather.output[0]
    graph.initializer.remove(table)
    graph.initializer.extend(
        [
            numpy_helper.from_array(stored, f"{layer}.rows"),
            numpy_helper.from_array(scales, f"{layer}.scales"),
        ]
    )
    position = list(graph.node).index(gather)
    graph.node.remove(gather)
    for offset, node in enumerate(
        [
            helper.make_node("Gather", [f"{layer}.rows", ids], [f"{layer}.int8"], name=layer),
            helper.make_node("Gather", [f"{layer}.scales", ids], [f"{layer}.scale"], name=f"{layer}_scale"),
            helper.make_node(
                "Cast", [f"{layer}.int8"], [f"{layer}.cast"], name=f"{layer}_cast", to=TensorProto.FLOAT
            ),
            helper.make_node("Mul", [f"{layer}.cast", f"{layer}.scale"], [output], name=f"{layer}_scaled"),
        ]
    ):
        graph.node.insert(position + offset, node)


def _store_as_fp16(graph: onnx.GraphProto, layer: str) -> None:
    """Halves a weight: an FP16 initializer behind a Cast, which the runtime folds when it loads the file."""
    node = _find_node(graph, layer)
    weight = next(
        tensor for tensor in graph.initializer if tensor.name in node.input and len(tensor.dims) == 2
    )
    values = as_fp16(numpy_helper.to_array(weight), layer)
    name, full = f"{layer}.fp16", weight.name
    weight.CopyFrom(numpy_helper.from_array(values, name))
    graph.node.insert(0, helper.make_node("Cast", [name], [full], name=f"{layer}_cast", to=TensorProto.FLOAT))


def _stored_dtype(graph: onnx.GraphProto, layer: str) -> str:
    """Dtype of the matrix that a layer's node reads, through the Cast of FP16 storage."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    casts = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    sources = [casts.get(name, name) for name in _find_node(graph, layer).input]
    matrix = next(tensors[name] for name in sources if name in tensors and len(tensors[name].dims) == 2)
    stored: str = _DTYPES.get(matrix.data_type, TensorProto.DataType.Name(matrix.data_type).lower())
    return stored


def _strip(model: onnx.ModelProto) -> None:
    """Removes what only the exporter needed: metadata and shapes of inner values."""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""


def _specs(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=value.name,
            dtype=TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower(),
            shape=tuple(size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim),
        )
        for value in values
    )
