"""A PyTorch model as an FP32 graph of ONNX, its nodes named after the modules that they come from.

What ONNX Runtime and OpenVINO start from: both lower the graph by these names.
"""

from __future__ import annotations

import ast
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor
from transformers import PreTrainedModel

from edgesmith.errors import ExportError
from edgesmith.export.logits import LogitsOnly
from edgesmith.export.onnx_affine import fold_affine
from edgesmith.models.vision import image_shape

OPSET = 20
"""The first with a Gelu operator: one kernel instead of five, and the same result."""

_VIEWS = ("Reshape", "Expand", "Slice")
"""A value says what shape their result has. Of all others ONNX Runtime works it out."""

_WEIGHTED = ("MatMul", "Gemm", "Gather", "Slice", "Add")

_Inputs = dict[str, tuple[Tensor, dict[int, Any]]]
"""Name -> an example and its dynamic dimensions."""


def export_graph(
    model: PreTrainedModel, path: Path, *, max_length: int, pairs: bool, is_fixed: bool = False
) -> None:
    """Writes the FP32 graph with dynamic batch and sequence, its nodes named after their modules.

    Args:
        model: a classifier of texts, or of images, whose height and width are fixed.
        max_length: longest sequence of text in tokens; the graph accepts 2 to this.
        pairs: whether ``token_type_ids`` is an input.
        is_fixed: the graph accepts one row only, of `max_length` tokens where it is a text.

    Raises:
        ExportError: the exporter does not support the model.
    """
    inputs = (
        _image_inputs(model, rows=1 if is_fixed else 2)
        if model.main_input_name == "pixel_values"
        else _text_inputs(max_length, pairs=pairs, is_fixed=is_fixed)
    )
    names = tuple(inputs)
    try:
        with quiet():
            torch.onnx.export(
                LogitsOnly(model, names).eval(),
                tuple(tensor for tensor, _ in inputs.values()),
                path,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(names),
                output_names=["logits"],
                dynamic_shapes=None
                if is_fixed
                else (tuple(dimensions for _, dimensions in inputs.values()),),
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as problem:
        raise ExportError(f"the model cannot be written as ONNX: {str(problem).splitlines()[0]}") from problem
    graph = onnx.load(path)
    keep_view_shapes(graph.graph)  # stale types of other values make quantize_dynamic fail
    fold_affine(graph.graph)
    _name_nodes(graph)
    onnx.save(graph, path)


def keep_view_shapes(graph: onnx.GraphProto) -> None:
    """Removes the shapes of inner values but for those of views.

    Without these, ONNX Runtime knows of no two values that they are equally large, and its search for memory to use again is
    quadratic: MobileBERT loads in 4.3 times the CPU time. Of a graph with layer norms all are removed: with them ONNX Runtime
    1.31.1 makes a SkipLayerNormalization of each norm and sum, and MiniLM in INT8 takes 1.37 times as long at 128 tokens.
    """
    operators = {node.op_type for node in graph.node}
    kept = () if "LayerNormalization" in operators else _VIEWS
    views = {output for node in graph.node if node.op_type in kept for output in node.output}
    shapes = [value for value in graph.value_info if value.name in views]
    del graph.value_info[:]
    graph.value_info.extend(shapes)


def _text_inputs(max_length: int, *, pairs: bool, is_fixed: bool) -> _Inputs:
    names = ("input_ids", "attention_mask") + (("token_type_ids",) if pairs else ())
    dimensions = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence", max=max_length)}
    # Two rows of real ids and different tensors: one tensor object for two inputs would export a wrong graph.
    shape = (1, max_length) if is_fixed else (2, min(16, max_length))
    return {name: (torch.ones(shape, dtype=torch.int64), dimensions) for name in names}


def _image_inputs(model: PreTrainedModel, *, rows: int) -> _Inputs:
    pixels = torch.zeros(rows, *image_shape(model.config))
    return {"pixel_values": (pixels, {0: torch.export.Dim("batch")})}


def _name_nodes(model: onnx.ModelProto) -> None:
    """Names each node that holds a matrix after the module that owns it, and every other node after its operator."""
    matrices = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    for index, node in enumerate(model.graph.node):
        owned = [name for name in node.input if name in matrices]
        node.name = (
            _module_of(owned[0], node) if owned and node.op_type in _WEIGHTED else f"{node.op_type}_{index}"
        )


def _module_of(weight: str, node: onnx.NodeProto) -> str:
    """Path of the module that owns a weight: from the weight's name, or, where the exporter transposed it, the scope."""
    if weight.startswith("model.") and weight.endswith(".weight"):
        return weight.removeprefix("model.").removesuffix(".weight")
    scopes = next(item.value for item in node.metadata_props if item.key == "pkg.torch.onnx.name_scopes")
    path: str = ast.literal_eval(scopes)[-2]
    return path.removeprefix("model.")


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the exporter's and the quantizer's remarks about their own deprecations and optional packages."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
