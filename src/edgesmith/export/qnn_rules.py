"""What QNN's HTP backend (Hexagon) asks of a quantized ONNX file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto, helper

from edgesmith.export.onnx_rules import Graph, Rule

_EP = "onnxruntime-qnn, docs/execution_providers/QNN-ExecutionProvider.md"

_NAMES = (
    "Abs Add And ArgMax ArgMin Asin Atan AveragePool BatchNormalization Cast Ceil Clip Concat Conv ConvTranspose Cos CumSum "
    "DepthToSpace DequantizeLinear Div Einsum Elu Equal Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm "
    "GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Identity "
    "InstanceNormalization Inverse IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax "
    "LpNormalization MatMul Max MaxPool Mean Min Mod Mul Neg NonZero Not Or PRelu Pad Pow QuantizeLinear RMSNormalization "
    "RandomNormalLike RandomUniformLike Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu "
    "Reshape Resize RoiAlign RotaryEmbedding Round STFT ScatterElements ScatterND Sigmoid Sign Sin Slice Softmax Softplus "
    "SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Unsqueeze Upsample Where"
)
OPERATORS = frozenset(_NAMES.split())
CONTRIBUTED = ("com.microsoft", frozenset({"DequantizeLinear", "QuantizeLinear"}))
"""Domain, and what of it is used: 16-bit quantization below opset 21."""

PRODUCTS = {("uint8", "uint8"), ("uint8", "uint16"), ("uint16", "uint8")}
"""Types of the inputs of a MatMul of two activations."""

WIDEST_SCORES = 1024.0
"""Between the ends of a softmax's input. exp(-104) is 0 in FP32, so a mask far below the scores gains nothing and takes
steps from them: -3.4e38 leaves none, in 16 bits -10,000 leaves a step of 0.15."""

_ACTIVATIONS = ("uint8", "uint16")
_STORED = ("uint8", "int8", "uint16", "int32")


def _dynamic(graph: Graph) -> Iterator[str]:
    for name, sizes in graph.sizes.items():
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            yield f"{name} has the shape {sizes}"


def _unknown_operators(graph: Graph) -> Iterator[str]:
    domain, contributed = CONTRIBUTED
    for node in graph.nodes:
        known = contributed if node.domain == domain else OPERATORS if node.domain in ("", "ai.onnx") else ()
        if node.op_type not in known and node.op_type != "Constant":
            yield f"{node.name} is a {node.domain + '.' if node.domain else ''}{node.op_type}"


def _in_floating_point(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Cast", "Constant"):
            continue
        for name in filter(None, node.input):
            if graph.unpacked(name) is None and not _is_integer(graph, name):
                yield f"{node.op_type} {node.name} reads {name!r} in floating point"


def _is_integer(graph: Graph, name: str) -> bool:
    if name in graph.constants:
        return graph.constants[name].dtype.kind in "iub"
    if name in graph.inputs:
        return graph.inputs[name] in (TensorProto.INT32, TensorProto.INT64)
    maker = graph.makers[name]
    return maker.op_type == "Cast" and helper.get_node_attr_value(maker, "to") in (
        TensorProto.INT32,
        TensorProto.INT64,
    )


def _other_types(graph: Graph) -> Iterator[str]:
    for node in graph.pairs():
        allowed = _STORED if graph.is_stored(node) else _ACTIVATIONS
        if str(graph.dtype(node)) not in allowed:
            yield f"{node.name} has the type {graph.dtype(node)}"


def _shifted_weights(graph: Graph) -> Iterator[str]:
    for node in graph.pairs():
        zeros = graph.constants[node.input[2]] if len(node.input) > 2 else np.zeros(1)
        if graph.is_stored(node) and graph.dtype(node) == np.int8 and zeros.any():
            yield f"{node.name} has a zero point other than 0"


def _bad_scales(graph: Graph) -> Iterator[str]:
    for node in graph.pairs():
        scales = graph.scales(node)
        if scales is None or not (np.isfinite(scales) & (scales > 0)).all():
            yield f"{node.name} has a scale that is {'no constant' if scales is None else 'not finite and positive'}"


def _activations_by_channel(graph: Graph) -> Iterator[str]:
    for node in graph.pairs():
        scales = graph.scales(node)
        if not graph.is_stored(node) and scales is not None and scales.size > 1:
            yield f"{node.name} has {scales.size} scales for an activation"


def _products(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        unpacked = [graph.unpacked(name) for name in node.input[:2]]
        if node.op_type == "MatMul" and graph.weight(node) is None and None not in unpacked:
            left, right = (str(graph.dtype(one)) for one in unpacked if one is not None)
            if (left, right) not in PRODUCTS:
                yield f"{node.name} multiplies {left} by {right}"


def _coarse_scores(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        unpacked = graph.unpacked(node.input[0]) if node.op_type == "Softmax" else None
        scale = graph.scales(unpacked) if unpacked is not None else None
        if unpacked is not None and scale is not None:
            width = float(scale.max()) * np.iinfo(graph.dtype(unpacked)).max
            if not width <= WIDEST_SCORES:
                yield f"{node.name} reads scores over a range of {width:.4g}"


RULES = (
    Rule("all shapes are fixed", f"{_EP}, Model requirements", _dynamic),
    Rule("operators are supported", f"{_EP}, Supported ONNX operators", _unknown_operators),
    Rule(
        "every operator reads quantized values or integers: one that does not leaves the integer graph",
        f"{_EP}, Running a model with QNN EP's HTP backend",
        _in_floating_point,
    ),
    Rule(
        "activations are UINT8 or UINT16, constants these, INT8 or, as biases, INT32",
        f"{_EP}, Generating a quantized model",
        _other_types,
    ),
    Rule(
        "INT8 weights are symmetric",
        "QAIRT documentation, HtpOpDefSupplement, FullyConnected",
        _shifted_weights,
    ),
    Rule("scales are constant, finite and positive", "ONNX, QuantizeLinear", _bad_scales),
    Rule("activations have one scale", "QAIRT documentation, HtpOpDefSupplement", _activations_by_channel),
    Rule(
        "activations are multiplied as UINT8 by UINT8, or one of the two as UINT16",
        f"{_EP}, Supported ONNX operators, MatMul",
        _products,
    ),
    Rule(
        f"scores of attention, their mask included, lie within {WIDEST_SCORES:.0f} of each other",
        "exp(-104) is 0 in FP32",
        _coarse_scores,
    ),
)
