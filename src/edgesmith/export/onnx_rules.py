"""Rules that an ONNX file must keep for a runtime that is not here, and the node that breaks one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from edgesmith.errors import ExportError

WEIGHTED = ("MatMul", "Gemm", "Conv", "ConvTranspose")
"""Operators that multiply with weights."""

_PAIR = ("QuantizeLinear", "DequantizeLinear")


class Graph:
    """A file as the rules look at it.

    Attributes:
        nodes: in their order.
        sizes: input or output of the graph -> its dimensions, a name for each that is dynamic.
        constants: name -> value, of initializers and of Constant nodes.
        makers: value -> the node that it comes from.
        readers: value -> the nodes that take it.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
        self.nodes: list[onnx.NodeProto] = list(graph.node)
        self.sizes = {
            value.name: tuple(size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.output)
        }
        self.inputs = {value.name: value.type.tensor_type.elem_type for value in graph.input}
        self.constants: dict[str, npt.NDArray[Any]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        self.makers = {output: node for node in self.nodes for output in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            if node.op_type == "Constant":
                value = helper.get_node_attr_value(node, "value")
                self.constants[node.output[0]] = numpy_helper.to_array(value)
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def pairs(self) -> Iterator[onnx.NodeProto]:
        """Every QuantizeLinear and DequantizeLinear."""
        return (node for node in self.nodes if node.op_type in _PAIR)

    def dtype(self, node: onnx.NodeProto) -> np.dtype[Any]:
        """What a QuantizeLinear gives or a DequantizeLinear takes; without a zero point, ONNX says UINT8."""
        for name in (*node.input[2:], *(node.input[:1] if node.op_type == _PAIR[1] else ())):
            if name in self.constants:
                return self.constants[name].dtype
        return np.dtype(np.uint8)

    def scales(self, node: onnx.NodeProto) -> npt.NDArray[Any] | None:
        """Of a QuantizeLinear or DequantizeLinear; None where they are no constant."""
        return self.constants.get(node.input[1])

    def is_stored(self, node: onnx.NodeProto) -> bool:
        """Whether a DequantizeLinear unpacks a constant."""
        return node.op_type == _PAIR[1] and node.input[0] in self.constants

    def unpacked(self, name: str) -> onnx.NodeProto | None:
        """The DequantizeLinear that a value comes from."""
        maker = self.makers.get(name)
        return maker if maker is not None and maker.op_type == _PAIR[1] else None

    def weight(self, node: onnx.NodeProto) -> str | None:
        """The input of a weighted operator that is a constant matrix, as it is or unpacked."""
        if node.op_type not in WEIGHTED:
            return None
        for name in node.input[:2]:
            maker = self.makers.get(name)
            is_unpacked = maker is not None and maker.op_type in ("Cast", "DequantizeLinear")
            if (maker.input[0] if maker is not None and is_unpacked else name) in self.constants:
                return str(name)
        return None


@dataclass(frozen=True)
class Rule:
    """What a runtime's documentation, or its own tool, asks of a file.

    Attributes:
        text: the rule, a sentence part.
        source: where it is written, or which tool said it.
        broken: what breaks it, beginning with the node's name.
    """

    text: str
    source: str
    broken: Callable[[Graph], Iterator[str]]


def check_rules(path: Path, runtime: str, rules: Sequence[Rule]) -> str:
    """Holds a file against all rules.

    Returns:
        What was checked, in a sentence.

    Raises:
        ExportError: a rule is broken; the first node that breaks each is named, with the rule and its source.
    """
    graph = Graph(onnx.load(path))
    broken = []
    for rule in rules:
        places = list(rule.broken(graph))
        if places:
            more = f", and {len(places) - 1} more" if len(places) > 1 else ""
            broken.append(f"{places[0]}{more}; {rule.text} ({rule.source})")
    if broken:
        raise ExportError(
            f"{path.name} breaks {len(broken)} of the {len(rules)} rules for {runtime}: {'. '.join(broken)}."
        )
    return f"{path.name} keeps the {len(rules)} rules for {runtime} that edgesmith knows"
