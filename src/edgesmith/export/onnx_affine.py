"""A scale and a shift a channel behind a linear layer, as MobileBERT's norms are, become part of the layer.

``(x W + b) s + t`` is ``x (W s) + (b s + t)``: two operators fewer. With a residual before the scale,
``(x W + b + r) s + t`` is ``x (W s) + (b s + t) + r s``: one fewer. A matrix with a scale for each channel is rounded as
before.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper


def fold_affine(graph: onnx.GraphProto) -> None:
    """Folds every scale and shift behind a linear layer with a bias, or behind the sum of one and a residual."""
    values = _Values(graph)
    for node in list(graph.node):
        _fold(graph, values, node)
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


class _Values:
    """Who makes and who reads the values of a graph, as it was before anything was folded."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {output: node for node in graph.node for output in node.output}
        self._readers: dict[str, list[NodeProto | None]] = {output.name: [None] for output in graph.output}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def only_reader(self, name: str) -> NodeProto | None:
        readers = self._readers.get(name, [])
        return readers[0] if len(readers) == 1 else None

    def made_for(self, reader: NodeProto, name: str) -> NodeProto | None:
        """What makes a value that only `reader` reads."""
        return self._makers.get(name) if self.only_reader(name) is reader else None

    def by_channel(self, node: NodeProto | None, operator: str) -> tuple[str, TensorProto] | None:
        """The other input of a sum or product with a constant, a number for each channel, and that constant."""
        if node is None or node.op_type != operator:
            return None
        for other, name in (tuple(node.input), tuple(reversed(node.input))):
            if name in self.constants and len(self.constants[name].dims) == 1:
                return other, self.constants[name]
        return None

    def linear(self, reader: NodeProto, name: str) -> tuple[NodeProto, TensorProto, TensorProto] | None:
        """The sum that ends a linear layer whose result only `reader` reads; its matrix, (in, out), and its bias, (out,)."""
        biased = self.made_for(reader, name)
        found = self.by_channel(biased, "Add")
        if biased is None or found is None:
            return None
        product = self.made_for(biased, found[0])
        if product is None or product.op_type != "MatMul" or self.only_reader(product.input[1]) is None:
            return None
        matrix = self.constants.get(product.input[1])
        return None if matrix is None else (biased, matrix, found[1])


def _fold(graph: onnx.GraphProto, values: _Values, scaling: NodeProto) -> None:
    """Folds one product and the sum after it, if that is what they are."""
    scaled, shift = values.by_channel(scaling, "Mul"), values.only_reader(scaling.output[0])
    shifted = values.by_channel(shift, "Add")
    if scaled is None or shift is None or shifted is None:
        return
    (source, scale), (_, offset) = scaled, shifted
    layer, total, residual = values.linear(scaling, source), values.made_for(scaling, source), None
    if layer is None and total is not None and total.op_type == "Add":
        for part, other in (tuple(total.input), tuple(reversed(total.input))):
            if layer is None and (layer := values.linear(total, part)):
                residual = other
    if layer is None:
        return
    biased, matrix, bias = layer
    factor = numpy_helper.to_array(scale)
    matrix.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(matrix) * factor, matrix.name))
    name = f"{shift.output[0]}.bias"
    moved: np.ndarray = numpy_helper.to_array(bias) * factor + numpy_helper.to_array(offset)
    graph.initializer.append(numpy_helper.from_array(moved, name))
    biased.input[:] = [name if each == bias.name else each for each in biased.input]
    if total is not None and residual is not None:
        graph.node.remove(total)
        scaling.input[:] = [residual, scale.name]
        shift.input[:] = [biased.output[0], scaling.output[0]]
    else:
        graph.node.remove(scaling)
        graph.node.remove(shift)
        biased.output[:] = shift.output
