"""ExecuTorch: a PyTorch model and its plan become one ``model.pte`` for XNNPACK, and the file is read back against the plan.

A program cannot be changed once it is written, so the FP32 graph has PyTorch's exported program beside it, and a plan is
lowered from that. Shapes: batch 1, texts of any length up to the longest.

Lowering table (plan entry -> what the file holds):

=====================================  ==========================================================================
linear, int8 per channel, dynamic      FullyConnected of XNNPACK on INT8 rows, one scale an output channel, by ExecuTorch's
                                       XNNPACKQuantizer; its input becomes INT8 as it arrives, one scale a token
embedding, int8 per channel (row)      embedding of INT8 rows and of their scales, conversion, multiplication;
                                       XNNPACKQuantizer leaves tables alone
fp16, any                              FP16 constant and a conversion at every call: computed in FP32
fp32, any                              as it is
=====================================  ==========================================================================
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch._export.verifier import SpecViolationError
from torch.export import Dim, ExportedProgram
from transformers import PreTrainedModel

from edgesmith.errors import ExportError
from edgesmith.export.artifact import Artifact, check_schemes
from edgesmith.export.executorch_program import StoredMatrix, operators_of, stored_matrices
from edgesmith.export.logits import LogitsOnly
from edgesmith.export.weights import as_fp16, int8_rows
from edgesmith.models.vision import image_shape
from edgesmith.records import Plan, Scheme, TensorSpec, graph_files
from edgesmith.runtime.executorch import INPUT_NAMES, import_executorch
from edgesmith.runtime.quiet import silence

with silence():  # torchao remarks on kernels for GPUs
    from executorch.backends.transforms.duplicate_dynamic_quant_chain import DuplicateDynamicQuantChainPass
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from executorch.exir.error import ExportError as ExirError
    from executorch.exir.error import InternalError
    from torchao.quantization.pt2e import PerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

MODEL_NAME = "model.pte"

_aten: Any = torch.ops.aten
_ERRORS = (
    AssertionError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError,
    SpecViolationError, ExirError, InternalError,
)  # fmt: skip
"""Of `torch.export` and ExecuTorch's compiler."""

_ROW_READERS = (_aten.embedding.default, _aten.slice.Tensor)
"""Of a table."""

_SMALLEST = float(np.finfo(np.float32).tiny)


def export_graph(model: PreTrainedModel, path: Path, *, max_length: int, pairs: bool) -> None:
    """Writes the FP32 program, and PyTorch's own beside it.

    Args:
        model: a classifier of texts, or of images, whose height and width are fixed.
        max_length: longest sequence of text in tokens; the program takes 1 to this.
        pairs: whether ``token_type_ids`` is an input.

    Raises:
        ExportError: PyTorch cannot export the model, or ExecuTorch has no operator for a part of it.
    """
    if model.main_input_name == "pixel_values":
        names = INPUT_NAMES[1]
        examples: tuple[Tensor, ...] = (torch.zeros(1, *image_shape(model.config)),)
        shapes: Any = None
    else:
        names = INPUT_NAMES[3 if pairs else 2]
        examples = tuple(torch.ones(1, min(16, max_length), dtype=torch.int64) for _ in names)
        shapes = (tuple({1: Dim("sequence", min=1, max=max_length)} for _ in names),)
    with silence():
        program = _export(LogitsOnly(model, names).eval(), examples, shapes)
        torch.export.save(program, _program_file(path))
    _write(program, path)


def lower(graph_path: Path, plan: Plan, path: Path) -> Artifact:
    """Writes the program with its weights as the plan says, and reads it back.

    Args:
        graph_path: what `export_graph` wrote.
        plan: entries for modules of the exported model.
        path: the file to write.

    Raises:
        ExportError: an entry names no layer of the graph, cannot be lowered, or the file does not hold what the plan says.
    """
    with silence():
        program = torch.export.load(_program_file(graph_path))
        weights = _weights(program, plan)
        is_exact = all(entry.weight == "fp32" for entry in plan.layers)
        lowered = program if is_exact else _lowered(program, plan, weights)
    _write(lowered, path)
    signature = program.graph_signature
    return Artifact(
        path=path,
        inputs=_specs(program, INPUT_NAMES[len(signature.user_inputs)], signature.user_inputs),
        outputs=_specs(program, ("logits",), signature.user_outputs),
        stored=read_back(path, weights, plan),
    )


def read_back(path: Path, weights: Mapping[str, NDArray[Any]], plan: Plan) -> dict[str, str]:
    """Layer -> dtype of its weight: ``int8``, ``fp16``, ``fp32``, or ExecuTorch's name for another.

    A program does not say which layer a constant is of; the values do.

    Args:
        weights: layer -> its weight in the model, (rows, columns).

    Raises:
        ExportError: the file does not hold what the plan says, down to what shares a scale and how inputs arrive; every
            difference is named.
    """
    matrices = list(stored_matrices(path))
    return check_schemes(
        path,
        plan,
        {entry.layer: _schemes(matrices, weights[entry.layer], entry.layer) for entry in plan.layers},
    )


def _program_file(graph: Path) -> Path:
    return graph_files(graph)[-1]


def _export(module: torch.nn.Module, examples: tuple[Tensor, ...], shapes: Any) -> ExportedProgram:
    try:
        return torch.export.export(module, examples, dynamic_shapes=shapes)
    except _ERRORS as problem:
        raise ExportError(f"PyTorch cannot export the model: {_first_line(problem)}") from problem


def _first_line(problem: Exception) -> str:
    return next(iter(str(problem).strip().splitlines()), type(problem).__name__)


# ---- a plan becomes part of PyTorch's program


def _weights(program: ExportedProgram, plan: Plan) -> dict[str, NDArray[Any]]:
    """Layer -> its weight, (rows, columns)."""
    found = {}
    for entry in plan.layers:
        if (name := _weight_name(entry.layer)) not in program.state_dict:
            raise ExportError(f"the plan names the layer {entry.layer!r}, which the graph does not have.")
        found[entry.layer] = program.state_dict[name].detach().numpy()
    return found


def _weight_name(layer: str) -> str:
    """As `LogitsOnly` has it."""
    return f"model.{layer}.weight"


def _lowered(program: ExportedProgram, plan: Plan, weights: Mapping[str, NDArray[Any]]) -> ExportedProgram:
    (examples, _), bounds = program.example_inputs, program.range_constraints
    shapes: Any = None
    module: Any = program.module(check_guards=False)
    module.validate_inputs = False  # it would fix the length of the example when it is exported again
    if linear := {entry.layer for entry in plan.layers if (entry.kind, entry.weight) == ("linear", "int8")}:
        module = _quantize_linear(module, linear, examples)
    for entry in plan.layers:
        if entry.weight == "fp16":
            _store_as_fp16(module, entry.layer, weights[entry.layer])
        elif (entry.kind, entry.weight) == ("embedding", "int8"):
            _quantize_embedding(module, entry.layer, weights[entry.layer])
    module.recompile()
    if bounds:  # of a text, whose only dimension that varies is its length
        (bound,) = bounds.values()
        shapes = tuple({1: Dim("sequence", min=1, max=int(bound.upper))} for _ in examples)
    return _export(module, examples, shapes)


class _Quantizer(XNNPACKQuantizer):  # type: ignore[misc]
    """ExecuTorch's own, without its pass that makes FP32 tensors of all numbers: indices of a mask are among them."""

    def transform_for_annotation(self, model: fx.GraphModule) -> fx.GraphModule:
        return model


def _quantize_linear(
    module: fx.GraphModule, layers: set[str], examples: tuple[Tensor, ...]
) -> fx.GraphModule:
    """INT8 for some linear layers, by ExecuTorch's quantizer."""
    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    # Its own least scale, 2^-12, would leave few steps for a row of weights below 0.03.
    observer = PerChannelMinMaxObserver.with_args(eps=_SMALLEST)
    weight = replace(config.weight, observer_or_fake_quant_ctr=observer)
    names = {_weight_name(layer) for layer in layers}
    quantizer = _Quantizer().set_global(replace(config, weight=weight))
    quantizer.set_filter_function(
        lambda node: node.target is _aten.linear.default and node.args[1].target in names
    )
    prepared = prepare_pt2e(module, quantizer)
    prepared(*examples)  # observers of weights see them
    converted: fx.GraphModule = convert_pt2e(prepared)
    DuplicateDynamicQuantChainPass()(converted)  # XNNPACK wants one for each layer that reads the same input
    return converted


def _quantize_embedding(module: fx.GraphModule, layer: str, table: NDArray[Any]) -> None:
    """Replaces embedding(FP32 table) by embedding(INT8 rows) to FP32 x embedding(scale of each row)."""
    weight = _reading(module, layer)
    if any(user.target is not _aten.embedding.default for user in weight.users):
        raise ExportError(
            f"{layer} is not only looked up, and has no INT8 form here. Plan it as fp16 or fp32."
        )
    stored, scales = (_constant(module, weight, values) for values in int8_rows(table))  # (V, E), (V, 1)
    call = module.graph.call_function
    for lookup in list(weight.users):
        with module.graph.inserting_before(lookup):
            rows, steps = (call(_aten.embedding.default, (part, lookup.args[1])) for part in (stored, scales))
            product = call(_aten.mul.Tensor, (call(_aten.to.dtype, (rows, torch.float32)), steps))
        lookup.replace_all_uses_with(product)
        module.graph.erase_node(lookup)
    module.graph.erase_node(weight)


def _store_as_fp16(module: fx.GraphModule, layer: str, values: NDArray[Any]) -> None:
    """Halves a weight; what reads rows of it reads them before they become FP32 again."""
    weight = _reading(module, layer)
    half = _constant(module, weight, as_fp16(values, layer))
    for user in list(weight.users):
        user.replace_input_with(weight, half)
        source = user if user.target in _ROW_READERS else half
        with module.graph.inserting_after(source):
            cast = module.graph.call_function(_aten.to.dtype, (source, torch.float32))
        if source is user:
            user.replace_all_uses_with(cast, delete_user_cb=partial(operator.is_not, cast))
        else:
            user.replace_input_with(half, cast)
    module.graph.erase_node(weight)


def _reading(module: fx.GraphModule, layer: str) -> fx.Node:
    """The node that is a layer's weight."""
    name = _weight_name(layer)
    node: fx.Node
    for node in module.graph.nodes:
        if node.op == "get_attr" and node.target == name:
            return node
    raise ExportError(f"the plan names the layer {layer!r}, which the graph does not read.")


def _constant(module: fx.GraphModule, weight: fx.Node, values: NDArray[Any]) -> fx.Node:
    """A new constant, read where the weight is."""
    name = f"{str(weight.target).replace('.', '_')}_{values.dtype}"
    module.register_buffer(name, torch.from_numpy(values))
    with module.graph.inserting_before(weight):
        return module.graph.get_attr(name)


# ---- PyTorch's program becomes ExecuTorch's


def _write(program: ExportedProgram, path: Path) -> None:
    """Writes a program whose operators ExecuTorch's runtime all has.

    Raises:
        ExportError: it lacks some; each is named with a module that it comes from.
    """
    with silence():
        try:
            edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            path.write_bytes(edge.to_executorch().buffer)
        except _ERRORS as problem:
            text = " ".join(str(problem).split())[:300]
            raise ExportError(
                f"the model cannot be written for ExecuTorch: {text} (from {_module_of(program, text)})"
            ) from problem
        _, runtime, _ = import_executorch()
    missing = operators_of(path) - runtime.Runtime.get().operator_registry.operator_names
    if missing:
        named = ", ".join(
            f"{name} (from {_module_of(edge.exported_program(), name)})" for name in sorted(missing)
        )
        raise ExportError(f"ExecuTorch's runtime has no kernel for {named}. Take another runtime.")


def _module_of(program: ExportedProgram, text: str) -> str:
    """A module with the operator that a text names, such as ``aten.linalg_inv`` or ``aten::linalg_inv``."""
    found: dict[str, fx.Node] = {}
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is not None and schema.name.replace("::", ".") in text.replace("::", "."):
            found.setdefault(schema.name, node)
    if not found:
        return "the model"
    scopes = [path for path, _ in found[max(found, key=len)].meta.get("nn_module_stack", {}).values()]
    return (scopes[-1] if scopes else "").removeprefix("model.") or "the model"


def _specs(program: ExportedProgram, names: tuple[str, ...], nodes: Any) -> tuple[TensorSpec, ...]:
    """Of inputs or outputs; the length of a text varies."""
    values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    return tuple(
        TensorSpec(
            name=name,
            dtype=str(values[node].dtype).removeprefix("torch."),
            shape=tuple(size if isinstance(size, int) else "sequence" for size in values[node].shape),
        )
        for name, node in zip(names, nodes, strict=True)
    )


# ---- the file is read back


def _schemes(matrices: list[StoredMatrix], weight: NDArray[Any], layer: str) -> list[Scheme]:
    """Of the file's matrices with a layer's values; one, if nothing went wrong."""
    found = [matrix.scheme for matrix in matrices if matrix.holds(weight)]
    if not found:
        raise ExportError(f"the file does not hold the weight of the layer {layer!r}.")
    return list(dict.fromkeys(found))
