"""LiteRT: a PyTorch model and its plan become one ``model.tflite``, and the file is read back against the plan.

Shapes are static there, so the file has one signature for each length bucket; all of them share the weights.

Lowering table (plan entry -> what the file holds; every one by `ai_edge_quantizer`):

=====================================  ==========================================================================
linear, int8 or int4 per channel,      FULLY_CONNECTED with integer weights, one scale an output channel; the kernel
dynamic                                quantizes its input to INT8 as it arrives, one scale a token
embedding, int8 per channel (row)      EMBEDDING_LOOKUP of INT8 rows, one scale a row
fp16, any                              FP16 buffer and a DEQUANTIZE, folded when the file loads: computed in FP32
fp32, any                              as it is
=====================================  ==========================================================================
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, cast

import litert_torch
import torch
from ai_edge_litert.schema_py_generated import QuantizationParametersT, TensorType
from ai_edge_litert.tools import flatbuffer_utils
from ai_edge_quantizer import quantizer
from ai_edge_quantizer.qtyping import TFLOperationName
from ai_edge_quantizer.recipe import AlgorithmName
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgesmith.errors import ExportError, UnsupportedError
from edgesmith.export.artifact import Artifact, check_schemes
from edgesmith.export.quiet import silence
from edgesmith.records import LayerPlan, Plan, Scheme, TensorSpec
from edgesmith.records.plan import BITS, INTEGERS, Activation, WeightDtype
from edgesmith.runtime.litert import LENGTH, signature_name

MODEL_NAME = "model.tflite"

BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Lengths in tokens; an input runs in the shortest that holds it. Kernels work on 16 tokens at once (LOG.md)."""

_OPERATIONS = {"linear": TFLOperationName.FULLY_CONNECTED, "embedding": TFLOperationName.EMBEDDING_LOOKUP}
_READERS = {operation.value for operation in _OPERATIONS.values()}
_DTYPES = {
    TensorType.INT4: "int4",
    TensorType.INT8: "int8",
    TensorType.FLOAT16: "fp16",
    TensorType.FLOAT32: "fp32",
}


def buckets(max_length: int) -> tuple[int, ...]:
    """The lengths that a model of at most `max_length` tokens is exported for."""
    return (*(length for length in BUCKETS if length < max_length), max_length)


def export_graph(model: PreTrainedModel, path: Path, *, max_length: int, pairs: bool) -> None:
    """Writes the FP32 file, a signature a bucket, its operators named after the modules that they come from.

    Args:
        model: a classifier of texts.
        max_length: longest sequence in tokens, that of the last bucket.
        pairs: whether ``token_type_ids`` is an input.

    Raises:
        UnsupportedError: the model reads images.
        ExportError: the converter does not support the model.
    """
    if model.main_input_name != "input_ids":
        raise UnsupportedError("LiteRT bundles are made of text models only. Type: --runtime onnxruntime")
    names = ("input_ids", "attention_mask") + (("token_type_ids",) if pairs else ())
    whole = _WithPositions(model, names).eval()
    converter: Any = litert_torch
    for length in buckets(max_length):
        examples = {name: torch.ones(1, length, dtype=torch.int32) for name in names}
        converter = converter.signature(signature_name(length), whole, sample_kwargs=examples)
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
    with silence():
        work.quantize().export_model(str(path), overwrite=True)
    stored = read_back(path, plan)
    file = flatbuffer_utils.read_model(str(path))
    _slim(file)
    flatbuffer_utils.write_model(file, str(path))
    return Artifact(path=path, inputs=_specs(file, "inputs"), outputs=_specs(file, "outputs"), stored=stored)


def read_back(path: Path, plan: Plan) -> dict[str, str]:
    """Layer -> dtype of its weight in every signature: ``int8``, ``fp16``, ``fp32``, or LiteRT's name for another.

    Args:
        path: a file whose operators still have their names.

    Raises:
        ExportError: the file does not hold what the plan says, down to what shares a scale and how inputs arrive; every
            difference is named.
    """
    file = flatbuffer_utils.read_model(str(path))
    stored = {entry.layer: _stored_schemes(file, entry.layer) for entry in plan.layers}
    return check_schemes(path, plan, stored)


class _WithPositions(nn.Module):
    """The model as a function of its tensors, its positions computed from the mask.

    Constant positions would be folded into a table of their own for every bucket; read through the mask, one table
    serves all. Padding reads position 0, which the attention mask hides.
    """

    def __init__(self, model: PreTrainedModel, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self._names = model, names
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters

    def forward(self, **tensors: Tensor) -> Tensor:
        inputs = dict(tensors)
        if self._takes_positions:
            mask = tensors["attention_mask"]
            inputs["position_ids"] = torch.arange(mask.shape[1], dtype=mask.dtype) * mask  # (1, S)
        logits: Tensor = self.model(**inputs).logits
        return logits


def _name_operators(file: Any, model: nn.Module) -> None:
    """Names the output of every operator that reads a module's weight ``<module>@<subgraph>``.

    Args:
        file: its tensors are named after the scopes of the modules that made them.
        model: what was converted.
    """
    owners = {
        _scope(model, name): name.removeprefix("model.")
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Embedding)
    }
    for number, subgraph in enumerate(file.subgraphs):
        for operator in subgraph.operators:
            if flatbuffer_utils.opcode_to_name(file, operator.opcodeIndex) in _READERS:
                output, weight = subgraph.tensors[operator.outputs[0]], subgraph.tensors[operator.inputs[1]]
                scopes = f"{output.name.decode()};{weight.name.decode()}".split(";")
                owner = next((owners[scope] for scope in scopes if scope in owners), None)
                if owner is not None:
                    output.name = f"{owner}@{number}".encode()


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
    if entry.weight in INTEGERS:
        work.add_dynamic_config(regex, operation, num_bits=BITS[entry.weight])
    elif entry.weight == "fp16":
        work.add_weight_only_config(regex, operation, num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING)


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
            if tensor.quantization is not None and tensor.quantization.scale is not None:
                buffer = int(tensor.buffer)
                tensor.quantization = shared.setdefault(buffer, _SharedQuantization(tensor.quantization))


def _stored_schemes(file: Any, layer: str) -> list[Scheme]:
    """What a layer's operators read in all signatures, through the DEQUANTIZE of FP16 storage; one, if nothing went wrong."""
    found = []
    for number, subgraph in enumerate(file.subgraphs):
        made_by = {operator.outputs[0]: operator for operator in subgraph.operators}
        for operator in subgraph.operators:
            if subgraph.tensors[operator.outputs[0]].name == f"{layer}@{number}".encode():
                weight = operator.inputs[1]
                source = made_by[weight].inputs[0] if weight in made_by else weight
                is_lookup = (
                    flatbuffer_utils.opcode_to_name(file, operator.opcodeIndex)
                    == TFLOperationName.EMBEDDING_LOOKUP.value
                )
                is_restored = weight in made_by or is_lookup  # floating-point numbers come out of it
                arriving = None if is_restored else subgraph.tensors[operator.inputs[0]].type
                found.append(_scheme(subgraph.tensors[source], arriving))
    if not found:
        raise ExportError(f"the plan names the layer {layer!r}, which the file does not have.")
    return list(dict.fromkeys(found))


def _scheme(weight: Any, arriving: int | None) -> Scheme:
    """Of a weight, and the type of what it is multiplied with: a kernel quantizes a floating-point input as it arrives.

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
        is_sequence = side == "inputs"
        specs.append(
            TensorSpec(
                name=entry.name.decode(),
                dtype=flatbuffer_utils.type_to_name(tensor.type).lower(),
                shape=(1, LENGTH) if is_sequence else tuple(int(size) for size in tensor.shape),
            )
        )
    return tuple(specs)
