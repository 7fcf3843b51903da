"""ONNX Runtime: a PyTorch model and its plan become one ``model.onnx``, and the file is read back against the plan.

Lowering table (plan entry -> what the file holds):

=====================================  ==========================================================================
linear, int8 per channel, dynamic      `onnxruntime.quantization.quantize_dynamic`: MatMulInteger, one scale a column
linear, int8 per channel, static       QuantizeLinear and DequantizeLinear around the input, MatMul; fused when it loads
linear, int8 or int4 per block         `onnxruntime.quantization.matmul_nbits_quantizer`: MatMulNBits
embedding, int4 per block              the same: GatherBlockQuantized
embedding, int8 per channel (row)      Gather of INT8 rows and of their scales, Cast, Mul
fp16, any                              FP16 initializer and a Cast, folded when the session loads: computed in FP32
fp32, any                              as it is
=====================================  ==========================================================================
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.onnx_model import ONNXModel

from edgesmith.errors import ExportError
from edgesmith.export.artifact import Artifact, check_schemes
from edgesmith.export.onnx_graph import export_graph, keep_view_shapes, quiet
from edgesmith.export.onnx_schemes import (
    CONTRIBUTED,
    SUFFIXES,
    find_node,
    quantize_statically,
    store_in_blocks,
    stored_scheme,
)
from edgesmith.export.weights import as_fp16, int8_rows
from edgesmith.records import Plan, TensorSpec
from edgesmith.records.plan import INTEGERS

__all__ = ["MODEL_NAME", "export_graph", "lower", "read_back"]

MODEL_NAME = "model.onnx"


def lower(graph_path: Path, plan: Plan, path: Path, *, explicit: bool = False) -> Artifact:
    """Writes the graph with its weights as the plan says, and reads it back.

    Args:
        graph_path: what `export_graph` wrote.
        plan: entries for modules of the exported model.
        path: the file to write.
        explicit: the file is for TensorRT: all that is INT8 stands behind a DequantizeLinear, with zero point 0.

    Raises:
        ExportError: an entry names no layer of the graph, cannot be lowered, or the file does not hold what the plan
            says.
    """
    linear = [
        entry.layer
        for entry in plan.layers
        if (entry.kind, entry.weight, entry.granularity) == ("linear", "int8", "per_channel")
        and entry.activation != "static_int8"
    ]
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
                    nodes_to_quantize=[layer + suffix for layer in linear for suffix in SUFFIXES],
                )
        model = onnx.load(quantized if linear else graph_path)
    with quiet():
        _lower_others(model, plan, explicit)
    _strip(model)
    onnx.save(model, path)
    return Artifact(
        path=path,
        inputs=specs(model.graph.input),
        outputs=specs(model.graph.output),
        stored=read_back(path, plan),
    )


def _lower_others(model: onnx.ModelProto, plan: Plan, explicit: bool) -> None:
    """Whatever `quantize_dynamic` does not do."""
    if any(entry.activation == "static_int8" or entry.granularity == "per_block" for entry in plan.layers):
        ONNXModel(model).replace_gemm_with_matmul()
        if all(opset.domain != CONTRIBUTED for opset in model.opset_import):
            model.opset_import.append(helper.make_opsetid(CONTRIBUTED, 1))
    for entry in plan.layers:
        if entry.weight == "fp16":
            _store_as_fp16(model.graph, entry.layer)
        elif entry.granularity == "per_block" and entry.weight in INTEGERS:
            store_in_blocks(model.graph, entry)
        elif entry.activation == "static_int8":
            quantize_statically(model.graph, entry, symmetric=explicit)
        elif entry.weight == "int8" and entry.kind == "embedding":
            _quantize_embedding(model.graph, entry.layer, explicit)


def read_back(path: Path, plan: Plan) -> dict[str, str]:
    """Layer -> dtype of its weight in the file: ``int8``, ``fp16``, ``fp32``, or ONNX's name for another.

    Raises:
        ExportError: the file does not hold what the plan says, down to what shares a scale and how inputs arrive; every
            difference is named.
    """
    graph = onnx.load(path).graph
    stored = {entry.layer: [stored_scheme(graph, entry.layer)] for entry in plan.layers}
    return check_schemes(path, plan, stored)


def _quantize_embedding(graph: onnx.GraphProto, layer: str, explicit: bool) -> None:
    """Replaces Gather(FP32 table) by Gather(INT8 rows) x Gather(scale of each row).

    Args:
        explicit: by Gather(DequantizeLinear(INT8 rows)) instead, which a runtime may unpack when it loads.
    """
    gather = find_node(graph, layer)
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
    if explicit:
        graph.initializer[-1].CopyFrom(numpy_helper.from_array(scales[:, 0], f"{layer}.scales"))
        graph.initializer.append(numpy_helper.from_array(np.zeros(len(rows), np.int8), f"{layer}.zeros"))
        parts = [f"{layer}.rows", f"{layer}.scales", f"{layer}.zeros"]
        unpack = helper.make_node("DequantizeLinear", parts, [f"{layer}.table"], f"{layer}_table", axis=0)
        graph.node.insert(position, unpack)
        gather.input[0] = f"{layer}.table"
        return
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
    node = find_node(graph, layer)
    weight = next(
        tensor for tensor in graph.initializer if tensor.name in node.input and len(tensor.dims) == 2
    )
    values = as_fp16(numpy_helper.to_array(weight), layer)
    name, full = f"{layer}.fp16", weight.name
    weight.CopyFrom(numpy_helper.from_array(values, name))
    graph.node.insert(0, helper.make_node("Cast", [name], [full], name=f"{layer}_cast", to=TensorProto.FLOAT))


def _strip(model: onnx.ModelProto) -> None:
    """Removes what only the exporter needed: metadata and most shapes of inner values."""
    del model.metadata_props[:]
    keep_view_shapes(model.graph)
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""


def specs(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """Inputs or outputs of a graph."""
    return tuple(
        TensorSpec(
            name=value.name,
            dtype=TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower(),
            shape=tuple(size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim),
        )
        for value in values
    )
