"""What TensorRT asks of an ONNX file with explicit quantization.

The rules of placement are NVIDIA's recommendations; the others stop its parser or its builder.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgesmith.export.onnx_rules import WEIGHTED, Graph, Rule

_GUIDE = "TensorRT documentation, Explicit Quantization"
_PLACEMENT = f"{_GUIDE}, Q/DQ Layer-Placement Recommendations"
_SCHEMES = "TensorRT documentation, Working with Quantized Types"
_PARSER = "onnx-tensorrt, onnxOpImporters.cpp, QuantDequantLinearHelper"
_OPERATORS = "onnx-tensorrt, docs/operators.md for TensorRT 10.15"

OPSETS = range(9, 21)
"""Of TensorRT 10.0, the first for JetPack 6.1; TensorRT 10.15 goes up to 24."""

_NAMES = (
    "AffineGrid Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CenterCropPad Col2Im Compress "
    "ConcatFromSequence ConvInteger DFT Det DynamicQuantizeLinear ImageDecoder MatMulInteger MaxRoiPool MaxUnpool "
    "MelWeightMatrix Multinomial NegativeLogLikelihoodLoss Optional OptionalGetElement OptionalHasElement QLinearConv "
    "QLinearMatMul RegexFullMatch SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength "
    "SequenceMap SoftmaxCrossEntropyLoss SplitToSequence StringConcat StringNormalizer StringSplit TfIdfVectorizer "
    "Unique"
)
UNSUPPORTED = frozenset(_NAMES.split())
"""Operators of ONNX; the same as `OnnxParser.supports_operator` of TensorRT-RTX 1.7.1 says."""

_HALF = float(np.finfo(np.float16).max)


def _other_types(graph: Graph) -> Iterator[str]:
    for node in graph.pairs():
        if graph.dtype(node) != np.int8:
            yield f"{node.name} rounds to {graph.dtype(node)}"


def _shifted(graph: Graph) -> Iterator[str]:
    for node in graph.pairs():
        if len(node.input) > 2:
            zero = graph.constants.get(node.input[2])
            if zero is None or zero.any():
                told = "that is no constant" if zero is None else str(zero.flat[np.flatnonzero(zero)[0]])
                yield f"{node.name} has a zero point {told}"


def _bad_scales(graph: Graph) -> Iterator[str]:
    for node in graph.pairs():
        scales = graph.scales(node)
        if scales is None:
            yield f"{node.name} has a scale that is no constant"
        elif not (np.isfinite(scales) & (scales > 0)).all():
            yield f"{node.name} has a scale of {scales[~(np.isfinite(scales) & (scales > 0))].flat[0]}"


def _activations_by_channel(graph: Graph) -> Iterator[str]:
    for node in graph.pairs():
        scales = graph.scales(node)
        if node.input[0] not in graph.constants and scales is not None and scales.size > 1:
            yield f"{node.name} has {scales.size} scales for an activation"


def _weights_by_tensor(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        name = graph.weight(node)
        unpacked = graph.unpacked(name) if name else None
        if unpacked is None:
            continue
        matrix, scales = graph.constants[unpacked.input[0]], graph.scales(unpacked)
        axis = next((one.i for one in unpacked.attribute if one.name == "axis"), 1)
        columns = node.op_type == "MatMul" or not any(
            one.name == "transB" and one.i for one in node.attribute
        )
        wanted = matrix.ndim - 1 if columns and node.op_type in ("MatMul", "Gemm") else 0
        if scales is None or scales.size != matrix.shape[wanted] or axis % matrix.ndim != wanted:
            count = 0 if scales is None else scales.size
            yield f"{node.name} has {count} scales along axis {axis} for {matrix.shape[wanted]} output channels along axis {wanted}"


def _lopsided(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        name = graph.weight(node)
        constant = graph.makers[name].op_type == "DequantizeLinear" if name in graph.makers else False
        if name is not None:
            (other,) = (one for one in node.input[:2] if one != name)
            if constant != (graph.unpacked(other) is not None):
                yield f"{node.name} has INT8 {'weights' if constant else 'inputs'} only"


def _idle(graph: Graph) -> Iterator[str]:
    for node in graph.pairs():
        if node.op_type == "DequantizeLinear" and not graph.is_stored(node):
            for reader in graph.readers.get(node.output[0], []):
                if reader.op_type not in (*WEIGHTED, "Add"):
                    yield f"{node.name} feeds {reader.op_type} {reader.name}"


def _rounded_biases(graph: Graph) -> Iterator[str]:
    for node in graph.pairs():
        if graph.is_stored(node):
            for reader in graph.readers.get(node.output[0], []):
                if reader.op_type == "Add" or (
                    reader.op_type in WEIGHTED and node.output[0] in reader.input[2:]
                ):
                    yield f"{node.name} unpacks a bias for {reader.name}"


def _loose_integers(graph: Graph) -> Iterator[str]:
    for name, value in graph.constants.items():
        for reader in graph.readers.get(name, []) if value.dtype == np.int8 else []:
            if reader.op_type not in ("QuantizeLinear", "DequantizeLinear"):
                yield f"{reader.op_type} {reader.name} reads the INT8 constant {name!r}"


def _wide_weights(graph: Graph) -> Iterator[str]:
    for node in graph.pairs():
        if graph.is_stored(node) and (graph.constants[node.input[0]] == -128).any():
            yield f"{node.name} unpacks a weight of -128"


def _unknown_operators(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.domain not in ("", "ai.onnx") or node.op_type in UNSUPPORTED:
            yield f"{node.name} is a {node.domain + '.' if node.domain else ''}{node.op_type}"


def _other_opsets(graph: Graph) -> Iterator[str]:
    if graph.opset not in OPSETS:
        yield f"the file has opset {graph.opset}"


def _beyond_half(graph: Graph) -> Iterator[str]:
    for name, value in graph.constants.items():
        if value.dtype.kind == "f" and not (np.abs(value) <= _HALF).all():
            readers = ", ".join(f"{node.op_type} {node.name}" for node in graph.readers.get(name, []))
            yield f"{readers} reads {value[~(np.abs(value) <= _HALF)].flat[0]:.3g}"


RULES = (
    Rule("QuantizeLinear and DequantizeLinear work on INT8", _SCHEMES, _other_types),
    Rule("quantization is symmetric: zero points are 0", _PARSER, _shifted),
    Rule("scales are constant, finite and positive", _PARSER, _bad_scales),
    Rule("activations have one scale", _PLACEMENT, _activations_by_channel),
    Rule("weights have one scale an output channel", _PLACEMENT, _weights_by_tensor),
    Rule("all inputs of a weighted operator are quantized, or none", _PLACEMENT, _lopsided),
    Rule("an activation is quantized only for a weighted operator or a residual Add", _PLACEMENT, _idle),
    Rule("biases stay in floating point", _OPERATORS + ": no INT32 in DequantizeLinear", _rounded_biases),
    Rule(
        "INT8 constants are read by DequantizeLinear only",
        "builder of TensorRT-RTX 1.7.1: 'Quantized constant is only allowed before DQ'",
        _loose_integers,
    ),
    Rule(
        "INT8 weights lie in [-127, 127]",
        "tensorflow-quantization toolkit of NVIDIA, G_NARROW_RANGE: 'TensorRT only supports narrow range'",
        _wide_weights,
    ),
    Rule("operators are ONNX's, and supported", _OPERATORS, _unknown_operators),
    Rule(f"the opset is {OPSETS[0]} to {OPSETS[-1]}", "onnx-tensorrt, docs/operators.md", _other_opsets),
    Rule(
        f"constants fit FP16 (at most {_HALF:.0f})",
        "IEEE 754 binary16; beyond it an engine in FP16 gets infinity, and a mask of it NaN",
        _beyond_half,
    ),
)  # fmt: skip
