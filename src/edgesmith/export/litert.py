"""LiteRT: a PyTorch model and its plan become one ``model.tflite``, and the file is read back against the plan.

Shapes are static there: the file has one signature for images, and one for each length bucket of texts; all of them share
the weights.

Lowering table (plan entry -> what the file holds; every one by `ai_edge_quantizer`):

=====================================  ==========================================================================
linear, int8 or int4 per channel,      FULLY_CONNECTED with integer weights, one scale an output channel; the kernel
dynamic                                quantizes its input to INT8 as it arrives, one scale a token
linear, int8 per channel, static       QUANTIZE, FULLY_CONNECTED on INT8 throughout, DEQUANTIZE; what comes before and
                                       after stays in floating point
embedding, int8 per channel (row)      EMBEDDING_LOOKUP of INT8 rows, one scale a row
fp16, any                              FP16 buffer and a DEQUANTIZE, folded when the file loads: computed in FP32; for a
                                       table that is added whole (positions of patches) by the quantizer's own
                                       transformation, which its recipes do not offer for ADD
fp32, any                              as it is
=====================================  ==========================================================================
"""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import litert_torch
import numpy as np
import torch
from ai_edge_litert.schema_py_generated import QuantizationParametersT, TensorType
from ai_edge_litert.tools import flatbuffer_utils
from ai_edge_quantizer import quantizer
from ai_edge_quantizer.qtyping import NonLinearQuantParams, TFLOperationName
from ai_edge_quantizer.recipe import AlgorithmName
from ai_edge_quantizer.transformations.dequant_insert import insert_dequant
from ai_edge_quantizer.transformations.transformation_utils import TransformationInput
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgesmith.errors import ExportError
from edgesmith.export.artifact import Artifact, check_schemes
from edgesmith.export.weights import as_fp16
from edgesmith.models.compact import CompactBert
from edgesmith.models.vision import image_shape
from edgesmith.records import LayerPlan, Plan, Scheme, TensorSpec
from edgesmith.records.plan import BITS, INTEGERS, Activation, WeightDtype, uint8_steps
from edgesmith.runtime.litert import IMAGE, LENGTH, signature_name
from edgesmith.runtime.quiet import silence

MODEL_NAME = "model.tflite"

BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Lengths in tokens; an input runs in the shortest that holds it. Kernels work on 16 tokens at once (LOG.md)."""

_OPERATIONS = {"linear": TFLOperationName.FULLY_CONNECTED, "embedding": TFLOperationName.EMBEDDING_LOOKUP}
_SUM = TFLOperationName.ADD.value
"""Of a whole table, as the positions of patches are read."""
_READERS = {_SUM, *(operation.value for operation in _OPERATIONS.values())}
_FOLDED = "~"
"""Ends the name of an operator that reads another weight than the module's, with the scale of the norm before it."""
_DTYPES = {
    TensorType.INT4: "int4",
    TensorType.INT8: "int8",
    TensorType.FLOAT16: "fp16",
    TensorType.FLOAT32: "fp32",
}


def buckets(max_length: int) -> tuple[int, ...]:
    """The lengths that a model of at most `max_length` tokens is exported for."""
    return (*(length for length in BUCKETS if length < max_length), max_length)


def export_graph(
    model: PreTrainedModel, path: Path, *, max_length: int, pairs: bool, is_fixed: bool = False
) -> None:
    """Writes the FP32 file, its operators named after the modules that they come from.

    Args:
        model: of texts, for a signature a bucket; or a classifier of images of one size, for the signature `IMAGE`.
        max_length: longest sequence of text in tokens, that of the last bucket.
        pairs: whether ``token_type_ids`` is an input.
        is_fixed: there is the last bucket only.

    Raises:
        ExportError: the converter does not support the model.
    """
    lengths = (max_length,) if is_fixed else buckets(max_length)
    whole = _WithPositions(model).eval()
    converter: Any = litert_torch
    for name, examples in _signatures(model, lengths, pairs=pairs).items():
        converter = converter.signature(name, whole, sample_kwargs=examples)
    try:
        with silence():
            converter.convert().export(str(path))
    except (RuntimeError, ValueError, NotImplementedError) as problem:
        raise ExportError(
            f"the model cannot be written for LiteRT: {str(problem).splitlines()[0]}"
        ) from problem
    file = flatbuffer_utils.read_model(str(path))
    _name_operators(file, whole)
    flatbuffer_utils.write_model(file, str(path))


def _signatures(
    model: PreTrainedModel, lengths: Sequence[int], *, pairs: bool
) -> dict[str, dict[str, Tensor]]:
    """Name of each signature -> an example of every input, one row each."""
    if model.main_input_name == "pixel_values":
        return {IMAGE: {"pixel_values": torch.zeros(1, *image_shape(model.config))}}
    names = ("input_ids", "attention_mask") + (("token_type_ids",) if pairs else ())
    return {
        signature_name(length): {name: torch.ones(1, length, dtype=torch.int32) for name in names}
        for length in lengths
    }


def lower(graph_path: Path, plan: Plan, path: Path) -> Artifact:
    """Writes the file with its weights as the plan says, and reads it back.

    Args:
        graph_path: what `export_graph` wrote.
        plan: entries for modules of the exported model.
        path: the file to write.

    Raises:
        ExportError: an entry names no layer of the file, cannot be lowered, or the file does not hold what the plan
            says.
    """
    work = quantizer.Quantizer(str(graph_path))
    for entry in plan.layers:
        _add_to_recipe(work, entry)
    if work.get_quantization_recipe():
        ranges = _tensor_ranges(flatbuffer_utils.read_model(str(graph_path)), plan)
        with silence():
            work.quantize(ranges or None).export_model(str(path), overwrite=True)
    else:  # nothing to quantize is an error there
        shutil.copyfile(graph_path, path)
    file = flatbuffer_utils.read_model(str(path))
    for entry in plan.layers:
        if entry.weight == "fp16":
            _halve_sum(file, entry.layer)
    stored = _read_back(file, path, plan)
    _slim(file)
    flatbuffer_utils.write_model(file, str(path))
    return Artifact(path=path, inputs=_specs(file, "inputs"), outputs=_specs(file, "outputs"), stored=stored)


def folded_layers(graph_path: Path) -> frozenset[str]:
    """Layers that cannot be static: the converter has folded a norm's scale into their weights, so that they read something else.

    Args:
        graph_path: what `export_graph` wrote.
    """
    names = (
        tensor.name.decode()
        for subgraph in flatbuffer_utils.read_model(str(graph_path)).subgraphs
        for tensor in subgraph.tensors
    )
    return frozenset(name.rpartition("@")[0] for name in names if name.endswith(_FOLDED))


def read_back(path: Path, plan: Plan) -> dict[str, str]:
    """Layer -> dtype of its weight in every signature: ``int8``, ``fp16``, ``fp32``, or LiteRT's name for another.

    Args:
        path: a file whose operators still have their names.

    Raises:
        ExportError: the file does not hold what the plan says, down to what shares a scale and how inputs arrive; every
            difference is named.
    """
    return _read_back(flatbuffer_utils.read_model(str(path)), path, plan)


def _read_back(file: Any, path: Path, plan: Plan) -> dict[str, str]:
    stored = {entry.layer: _stored_schemes(file, entry.layer) for entry in plan.layers}
    dtypes = check_schemes(path, plan, stored)
    for entry in plan.layers:
        if entry.activation == "static_int8":
            _check_steps(file, path, entry)
            _check_kernel(file, entry)
    return dtypes


def _check_steps(file: Any, path: Path, entry: LayerPlan) -> None:
    """Raises `ExportError` where a static layer's scales or zero points are not those of its ranges."""
    for subgraph, _, operator in _operators_of(file, entry.layer):
        for side, index, value_range in (
            ("inputs", operator.inputs[0], entry.input_range),
            ("outputs", operator.outputs[0], entry.output_range),
        ):
            stored = subgraph.tensors[index].quantization
            scale, zero_point = uint8_steps(value_range or (0.0, 0.0))
            found = float(stored.scale[0]), int(stored.zeroPoint[0]) + 128
            if abs(found[0] - scale) > 1e-3 * scale or abs(found[1] - zero_point) > 1:
                raise ExportError(
                    f"{path.name} has steps of {found[0]:.4g} and zero point {found[1]} for the {side} of {entry.layer}, planned "
                    f"{scale:.4g} and {zero_point}."
                )


class _WithPositions(nn.Module):
    """The model as a function of its tensors, the positions of a text's tokens computed from the mask.

    Constant positions would be folded into a table of their own for every bucket; read through the mask, one table
    serves all. Padding reads position 0, which the attention mask hides. A compact model's token types, where they are no
    input, are one row for all tokens, which would be folded into one as long as the bucket.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters

    def forward(self, **tensors: Tensor) -> Tensor:
        inputs = dict(tensors)
        if self._takes_positions:
            mask = tensors["attention_mask"]
            inputs["position_ids"] = torch.arange(mask.shape[1], dtype=mask.dtype) * mask  # (1, S)
        if isinstance(self.model, CompactBert) and "token_type_ids" not in tensors:
            inputs["token_type_ids"] = torch.zeros(1, 1, dtype=torch.int32)
        logits: Tensor = self.model(**inputs).logits
        return logits


def _name_operators(file: Any, model: nn.Module) -> None:
    """Names the output of every operator that reads a module's weight ``<module>@<subgraph>``.

    Args:
        file: its tensors are named after the scopes of the modules that made them.
        model: what was converted.
    """
    owners = {}  # by scope and shape; a table that is added whole belongs to the module that adds it
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            for place in (name, name.rpartition(".")[0]) if isinstance(module, nn.Embedding) else (name,):
                owners[_scope(model, place), tuple(module.weight.shape)] = name.removeprefix("model."), module
    modules = dict(owners.values())
    for number, subgraph in enumerate(file.subgraphs):
        outputs: dict[str, tuple[float, Any, Any]] = {}
        for operator in subgraph.operators:
            if flatbuffer_utils.opcode_to_name(file, operator.opcodeIndex) in _READERS:
                output, weight = subgraph.tensors[operator.outputs[0]], subgraph.tensors[operator.inputs[1]]
                data = file.buffers[weight.buffer].data
                # A sum's table has a batch before it.
                shape = () if data is None else tuple(weight.shape[-2:])
                scopes = f"{output.name.decode()};{weight.name.decode()}".split(";")
                found = (owners[scope, shape] for scope in scopes if (scope, shape) in owners)
                likeness, owner = max(((_likeness(data, module), name) for name, module in found), default=(0.0, ""))  # fmt: skip
                if owner and (owner not in outputs or likeness > outputs[owner][0]):
                    outputs[owner] = likeness, output, data
        for owner, (_, output, data) in outputs.items():
            is_whole = np.allclose(
                _values(modules[owner]), np.frombuffer(bytes(data), np.float32), rtol=1e-5, atol=0
            )
            output.name = f"{owner}@{number}{'' if is_whole else _FOLDED}".encode()


def _likeness(data: Any, module: nn.Module) -> float:
    """Cosine of a constant and a module's weight: 1, or less where the converter has folded something into it.

    It tells a table from a folded row of token types, which is summed in the same scope; and query, key and value without
    biases, which the converter merges, so that each has the scope of the first too.
    """
    values = _values(module)
    stored = np.frombuffer(bytes(data), np.float32)
    scale = float(np.linalg.norm(values) * np.linalg.norm(stored))
    return float(np.vdot(values, stored)) / scale if scale else 0.0


def _values(module: nn.Module) -> Any:
    return module.get_parameter("weight").detach().numpy().ravel()


def _scope(model: nn.Module, path: str) -> str:
    """What the converter calls the results of a submodule: class and name of every module on the way to it."""
    parts, module = [_class(model)], model
    for name in path.split("."):
        module = module.get_submodule(name)
        if not isinstance(module, nn.ModuleList):  # which is never called
            parts.append(f"{_class(module)}_{name}")
    return "/".join(parts)


def _class(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _add_to_recipe(work: quantizer.Quantizer, entry: LayerPlan) -> None:
    regex, operation = f"^{re.escape(entry.layer)}@", _OPERATIONS[entry.kind]
    if entry.activation == "static_int8":
        work.add_static_config(regex, operation, activation_num_bits=8, weight_num_bits=BITS[entry.weight])
    elif entry.weight in INTEGERS:
        work.add_dynamic_config(regex, operation, num_bits=BITS[entry.weight])
    elif entry.weight == "fp16":
        work.add_weight_only_config(regex, operation, num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING)


_MOST_STEPS = 128
"""Steps of the output that one of the products may be: beyond it ruy, which multiplies where XNNPACK does not, aborts the process
(``RUY_CHECK_LE(shift, 7)``, github.com/tensorflow/tensorflow/issues/48307)."""


def _check_kernel(file: Any, entry: LayerPlan) -> None:
    """Raises `ExportError` where a step of a static layer's products is many of its outputs."""
    for subgraph, _, operator in _operators_of(file, entry.layer):
        scales = [
            subgraph.tensors[index].quantization.scale
            for index in (*operator.inputs[:2], operator.outputs[0])
        ]
        steps = float(scales[0][0] * np.max(scales[1]) / scales[2][0])
        if steps >= _MOST_STEPS:
            raise ExportError(
                f"LiteRT cannot compute {entry.layer} with static activations: a step of its products is {steps:.3g} of its "
                f"outputs, and must be below {_MOST_STEPS}, because a few weights are far larger than the rest. Plan it as "
                "dynamic."
            )


def _tensor_ranges(file: Any, plan: Plan) -> dict[str, dict[str, Any]]:
    """What the quantizer calls the statistics of a tensor, for what static layers read and give."""
    found = {}
    for entry in plan.layers:
        if entry.activation != "static_int8":
            continue
        if entry.input_range is None or entry.output_range is None:
            raise ExportError(
                f"{entry.layer} is planned with static activations and has no range of inputs and outputs."
            )
        for subgraph, _, operator in _operators_of(file, entry.layer):
            if subgraph.tensors[operator.outputs[0]].name.decode().endswith(_FOLDED):
                raise ExportError(
                    f"{entry.layer} is planned with static activations, and the converter folded the norm before it into its "
                    "weight, so that its inputs are not those that were measured. Migrate the scales of its inputs first, as "
                    "edgesmith quantize does, or plan it as dynamic."
                )
            ends = (operator.inputs[0], entry.input_range), (operator.outputs[0], entry.output_range)
            for tensor, (low, high) in ends:
                found[subgraph.tensors[tensor].name.decode()] = {
                    "min": np.array([[low]], np.float32),
                    "max": np.array([[high]], np.float32),
                }
    return found


class _SharedQuantization(QuantizationParametersT):  # type: ignore[misc]
    """Scales that are written once and referred to by every signature; left alone, each would hold a copy."""

    def __init__(self, original: QuantizationParametersT) -> None:
        self.__dict__.update(vars(original))
        self._offset: int | None = None

    def Pack(self, builder: Any) -> int:
        if self._offset is None:
            self._offset = super().Pack(builder)
        return self._offset


def _slim(file: Any) -> None:
    """Removes what a fifth of a small file is: names, and a copy of the scales in each signature."""
    shared: dict[int, _SharedQuantization] = {}
    for subgraph in file.subgraphs:
        for tensor in subgraph.tensors:
            tensor.name = b""
            buffer = int(tensor.buffer)
            is_constant = file.buffers[buffer].data is not None
            if is_constant and tensor.quantization is not None and tensor.quantization.scale is not None:
                tensor.quantization = shared.setdefault(buffer, _SharedQuantization(tensor.quantization))


def _operators_of(file: Any, layer: str) -> Iterator[tuple[Any, int, Any]]:
    """Subgraph, place in it and operator of everything that reads a layer's weight."""
    for number, subgraph in enumerate(file.subgraphs):
        for place, operator in enumerate(subgraph.operators):
            name = subgraph.tensors[operator.outputs[0]].name.decode()
            if name.removesuffix(_FOLDED) == f"{layer}@{number}":
                yield subgraph, place, operator


def _halve_sum(file: Any, layer: str) -> None:
    """Stores a table that is added whole as FP16; one that is looked up is left to the quantizer."""
    for subgraph, place, operator in list(_operators_of(file, layer)):
        if flatbuffer_utils.opcode_to_name(file, operator.opcodeIndex) == _SUM:
            table = operator.inputs[1]
            values = np.frombuffer(bytes(file.buffers[subgraph.tensors[table].buffer].data), np.float32)
            halves = NonLinearQuantParams(16, as_fp16(values, layer))
            insert_dequant(TransformationInput(table, file, subgraph, -1, [place], halves))


def _stored_schemes(file: Any, layer: str) -> list[Scheme]:
    """What a layer's operators read in all signatures, through the DEQUANTIZE of FP16 storage; one, if nothing went wrong."""
    found = []
    for subgraph, _, operator in _operators_of(file, layer):
        made_by = {other.outputs[0]: other for other in subgraph.operators}
        weight = operator.inputs[1]
        source = made_by[weight].inputs[0] if weight in made_by else weight
        kind = flatbuffer_utils.opcode_to_name(file, operator.opcodeIndex)
        is_product = kind == TFLOperationName.FULLY_CONNECTED.value and weight not in made_by
        arriving = subgraph.tensors[operator.inputs[0]].type if is_product else None
        found.append(_scheme(subgraph.tensors[source], arriving))
    if not found:
        raise ExportError(f"the plan names the layer {layer!r}, which the file does not have.")
    return list(dict.fromkeys(found))


def _scheme(weight: Any, arriving: int | None) -> Scheme:
    """Of a weight, and the type of what it is multiplied with as it is stored: a kernel quantizes a floating-point input.

    A file may hold what no plan asks for; such a scheme agrees with no entry.
    """
    dtype = _DTYPES.get(weight.type) or flatbuffer_utils.type_to_name(weight.type).lower()
    if dtype not in INTEGERS:
        return Scheme(cast("WeightDtype", dtype))
    has_channels = len(weight.quantization.scale) == weight.shape[0]
    activation: Activation = "none"
    if arriving is not None:
        activation = "dynamic_int8" if arriving == TensorType.FLOAT32 else "static_int8"
    return Scheme(cast("WeightDtype", dtype), "per_channel" if has_channels else "per_tensor", activation)


def _specs(file: Any, side: str) -> tuple[TensorSpec, ...]:
    """Inputs or outputs of the first signature; the length of a bucket is a dynamic dimension for its user."""
    signature = file.signatureDefs[0]
    tensors = file.subgraphs[signature.subgraphIndex].tensors
    specs = []
    for entry in getattr(signature, side):
        tensor = tensors[entry.tensorIndex]
        shape: list[int | str] = [int(size) for size in tensor.shape]
        if signature.signatureKey != IMAGE.encode() and (side == "inputs" or len(shape) == 3):
            shape[1] = LENGTH  # of a text's inputs, (1, S), and of logits of its tokens, (1, S, labels)
        specs.append(
            TensorSpec(
                name=entry.name.decode(),
                dtype=flatbuffer_utils.type_to_name(tensor.type).lower(),
                shape=tuple(shape),
            )
        )
    return tuple(specs)
