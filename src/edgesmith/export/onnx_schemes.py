"""Schemes in an ONNX graph: static and block-wise layers are written, and any layer's scheme is read back.

A graph's nodes that hold a matrix are named after their modules, whatever quantization appends to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    DefaultWeightOnlyQuantizer,
)

from edgesmith.errors import ExportError
from edgesmith.export.weights import int8_rows
from edgesmith.records import LayerPlan, Scheme
from edgesmith.records.plan import (
    BITS,
    BLOCK,
    INTEGERS,
    Activation,
    Granularity,
    WeightDtype,
    int8_step,
    uint8_steps,
)

SUFFIXES = ("", "_MatMul", "_quant", "_MatMul_quant")
"""What `quantize_dynamic` appends to the name of a node: it makes a MatMul of a Gemm, and a MatMulInteger of that."""

CONTRIBUTED = "com.microsoft"
"""Domain of the block-wise operators."""

_INT8_INPUTS = 4
"""``accuracy_level`` of a MatMulNBits that quantizes its inputs to INT8, in blocks as its weight."""

_DTYPES: dict[int, str] = {
    TensorProto.INT4: "int4",
    TensorProto.UINT4: "int4",
    TensorProto.INT8: "int8",
    TensorProto.FLOAT16: "fp16",
    TensorProto.FLOAT: "fp32",
}


def find_node(graph: onnx.GraphProto, layer: str) -> onnx.NodeProto:
    """The node that holds a layer's weight."""
    names = {layer + suffix for suffix in SUFFIXES}
    found: onnx.NodeProto | None = next((node for node in graph.node if node.name in names), None)
    if found is None:
        raise ExportError(f"the plan names the layer {layer!r}, which the graph does not have.")
    return found


def quantize_statically(graph: onnx.GraphProto, entry: LayerPlan, *, symmetric: bool = False) -> None:
    """Puts QuantizeLinear and DequantizeLinear before a MatMul, and its weight in INT8 behind a DequantizeLinear.

    ONNX Runtime makes one MatMulIntegerToFloat of them. The output is not quantized: what follows adds a bias.

    Args:
        symmetric: the input becomes INT8 with zero point 0, not UINT8 with one that fits its range.
    """
    if entry.input_range is None:
        raise ExportError(f"{entry.layer} is planned with static activations and has no range of inputs.")
    name, node = entry.layer, find_node(graph, entry.layer)
    weight = _weight_of(graph, node)
    stored, scales = int8_rows(numpy_helper.to_array(weight).T)  # (N, K), (N, 1)
    if symmetric:
        scale, zero_point = int8_step(entry.input_range), np.array(0, np.int8)
    else:
        scale, offset = uint8_steps(entry.input_range)
        zero_point = np.array(offset, np.uint8)
    constants: dict[str, Any] = {
        f"{name}.step": np.float32(scale),
        f"{name}.zero": zero_point,
        f"{name}.int8": stored.T,
        f"{name}.scales": scales[:, 0],
        f"{name}.zeros": np.zeros(len(scales), np.int8),
    }
    before = [
        helper.make_node(
            "QuantizeLinear", [node.input[0], f"{name}.step", f"{name}.zero"], [f"{name}.rounded"], f"{name}_input"
        ),
        helper.make_node(
            "DequantizeLinear", [f"{name}.rounded", f"{name}.step", f"{name}.zero"], [f"{name}.input"], f"{name}_back"
        ),
        helper.make_node(
            "DequantizeLinear",
            [f"{name}.int8", f"{name}.scales", f"{name}.zeros"],
            [f"{name}.weight"],
            f"{name}_weight",
            axis=1,
        ),
    ]  # fmt: skip
    _insert(graph, node, before)
    node.input[:] = [f"{name}.input", f"{name}.weight"]
    _drop(graph, weight)
    graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(array).reshape(np.shape(array)), key)
        for key, array in constants.items()
    )


def store_in_blocks(graph: onnx.GraphProto, entry: LayerPlan) -> None:
    """Replaces a MatMul by a MatMulNBits, or a Gather by a GatherBlockQuantized, with the runtime's own quantizer."""
    node = find_node(graph, entry.layer)
    weight = _weight_of(graph, node)
    config = DefaultWeightOnlyQuantConfig(
        block_size=BLOCK,
        is_symmetric=True,
        bits=BITS[entry.weight],
        accuracy_level=None if entry.activation == "none" else _INT8_INPUTS,
    )
    (replaced,) = DefaultWeightOnlyQuantizer(config).quantize(node, [graph])
    if replaced is node:
        raise ExportError(
            f"{entry.layer} is read by a {node.op_type}, which has no block-wise form here. Plan it as fp16 or fp32."
        )
    replaced.name = node.name
    _insert(graph, node, [replaced])
    graph.node.remove(node)
    _drop(graph, weight)


def stored_scheme(graph: onnx.GraphProto, layer: str) -> Scheme:
    """What a layer's weight is stored in and how its inputs arrive, as the graph says."""
    node = find_node(graph, layer)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    if node.domain == CONTRIBUTED:
        return _block_scheme(node, tensors[node.input[1 if node.op_type == "MatMulNBits" else 0]])
    made_by = {output: maker for maker in graph.node for output in maker.output}
    for name in node.input:
        maker = made_by.get(name)
        behind = maker is not None and maker.op_type in ("Cast", "DequantizeLinear")
        matrix = tensors.get(maker.input[0] if maker is not None and behind else name)
        if matrix is not None and len(matrix.dims) == 2:
            break
    else:
        raise ExportError(f"the node of the layer {layer!r} reads no matrix.")
    dtype = _DTYPES.get(matrix.data_type, TensorProto.DataType.Name(matrix.data_type).lower())
    granularity = _granularity(tensors, matrix, node, layer) if dtype in INTEGERS else "per_channel"
    first = made_by.get(node.input[0]) if node.op_type != "Gather" else None
    arrives = first is not None and first.op_type == "DequantizeLinear"
    return _scheme(
        dtype,
        granularity,
        "dynamic_int8" if node.op_type == "MatMulInteger" else "static_int8" if arrives else "none",
    )


def _granularity(
    tensors: Mapping[str, TensorProto], matrix: TensorProto, node: onnx.NodeProto, layer: str
) -> str:
    """How many scales belong to an integer matrix."""
    name = f"{layer}.scales"
    if node.op_type == "MatMulInteger":
        name = f"{matrix.name.removesuffix('_quantized')}_scale"
    if name not in tensors:
        raise ExportError(
            f"the scales of the layer {layer!r} are not in the file; expected a tensor {name!r}."
        )
    channels = matrix.dims[0 if node.op_type == "Gather" else 1]
    return "per_channel" if np.prod(tensors[name].dims) == channels else "per_tensor"


def _block_scheme(node: onnx.NodeProto, weight: TensorProto) -> Scheme:
    settings = {attribute.name: attribute.i for attribute in node.attribute}
    dtype = f"int{settings['bits']}" if "bits" in settings else _DTYPES.get(weight.data_type, "unknown")
    size = settings["block_size"]
    is_dynamic = settings.get("accuracy_level") == _INT8_INPUTS
    return _scheme(
        dtype,
        "per_block" if size == BLOCK else f"per_block_of_{size}",
        "dynamic_int8" if is_dynamic else "none",
    )


def _scheme(weight: str, granularity: str, activation: str) -> Scheme:
    """A file may hold what no plan asks for; such a scheme agrees with no entry."""
    return Scheme(
        cast("WeightDtype", weight), cast("Granularity", granularity), cast("Activation", activation)
    )


def _weight_of(graph: onnx.GraphProto, node: onnx.NodeProto) -> TensorProto:
    found: TensorProto = next(
        tensor for tensor in graph.initializer if tensor.name in node.input and len(tensor.dims) == 2
    )
    return found


def _drop(graph: onnx.GraphProto, weight: TensorProto) -> None:
    """Removes a weight that nothing reads any more."""
    if not any(weight.name in node.input for node in graph.node):
        graph.initializer.remove(weight)


def _insert(graph: onnx.GraphProto, before: onnx.NodeProto, nodes: Iterable[onnx.NodeProto]) -> None:
    position = list(graph.node).index(before)
    for offset, node in enumerate(nodes):
        graph.node.insert(position + offset, node)
