"""Core ML: a PyTorch model and its plan become one ``.mlpackage``, and the package is read back against the plan.

Core ML runs on Apple's systems only. Here the package is written by `coremltools`, opened again, each weight compared with
the model's, and the program evaluated in numpy by coremltools' own constant folding; Core ML itself does not run it.

Lowering table (plan entry -> what the package holds; integers by `coremltools.optimize.coreml`):

=====================================  ==========================================================================
linear or embedding, int8 or int4,     ``constexpr_blockwise_shift_scale`` of integers and FP16 scales, unpacked to FP16;
per channel (row), block or tensor     a block is the largest that divides the channel, 32 values at most;
                                       inputs stay FP16 whatever the plan says of them: Core ML has no dynamic INT8, and its
                                       static INT8 is calibrated by running the model, which only a Mac can
fp16, any                              FP16, computed in FP16
fp32, any                              FP32, computed in FP32 between two casts
=====================================  ==========================================================================

What no entry names (norms, softmax, products of activations) computes in FP16, as coremltools has it by default; if the
plan says fp32 of every layer, in FP32.

Shapes: batch 1, and for texts a list of lengths, `ct.EnumeratedShapes`. Apple's guide names them for best performance
(apple.github.io/coremltools/docs-guides, "Flexible Input Shapes"); of a range only the default shape runs on the Neural
Engine, of a list each can (Apple engineer, developer.apple.com/forums/thread/724930). Lists for several inputs need iOS 18
or macOS 15, as do INT4 and blocks ("What's New" of the guide's part on optimization).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from edgesmith import __version__
from edgesmith.errors import ExportError, ParityError, UnsupportedError
from edgesmith.export.artifact import check_schemes
from edgesmith.export.coreml_program import (
    TARGET,
    StoredWeight,
    block_of,
    ct,
    evaluate,
    first_line,
    open_program,
    stored_weights,
    weight_name,
    weight_variables,
)
from edgesmith.export.logits import LogitsOnly
from edgesmith.export.order import Order
from edgesmith.models.vision import image_shape
from edgesmith.records import Plan, Scheme, TensorSpec
from edgesmith.records.plan import BLOCK, INTEGERS
from edgesmith.records.prepared import Prepared
from edgesmith.runtime.quiet import silence

LENGTHS = (16, 32, 64, 128, 256, 512)
"""In tokens; an input runs in the shortest that holds it. Few, for a device prepares the model for each."""

SMALLEST_BLOCK = 8
"""Values that share a scale: of 8 in INT4, the FP16 scale already takes half as many bytes as they do."""

TOLERANCE = 0.02
"""Largest difference of a logit, as a share of the largest: constants of the program, such as 1 / sqrt(d), are FP16."""

_NAMES = ("input_ids", "attention_mask", "token_type_ids")
_OPEN = "Core ML did not run it (it runs on Apple's systems only), so nothing is known of its speed or its answers there"


def lengths(max_length: int) -> tuple[int, ...]:
    """The lengths that a text may have, padding included; two at least, or the position table is cut when converted."""
    shorter = [length for length in LENGTHS if length < max_length] or [max_length // 2]
    return (*shorter, max_length)


def write(model: PreTrainedModel, order: Order, path: Path) -> Prepared:
    """Writes the package with its weights as the plan says, reads it back, and holds its answers against the model's.

    Args:
        model: compact classifier of texts, tokens or images.
        path: the ``.mlpackage`` to write.

    Raises:
        UnsupportedError: the plan asks for blocks that a layer cannot be cut into.
        ExportError: coremltools cannot convert the model, an entry names no weight of the program, or the package does not
            hold what the plan says.
        ParityError: the program computes something else than the model.
    """
    plan = _lowered(model, order.plan)
    with silence():
        package = _quantize(_convert(model, order, plan), plan)
        _describe(package, order)
        package.save(str(path))
    read_back(path, model, plan)
    description = package.get_spec().description
    error = check_answers(path, model, order, plan)
    return Prepared(
        inputs=_specs(description.input),
        outputs=_specs(description.output),
        stored={entry.layer: _told(entry.scheme) for entry in plan.layers},
        changes=dict(_changes(model, order.plan, plan)),
        checks=(
            f"coremltools {ct.__version__} opens the package again, for {TARGET.name} or later",
            f"each of {len(plan.layers)} planned weights has the plan's dtype and granularity, and the model's values within one "
            "step",
            f"its program, evaluated in numpy by coremltools in FP32, gives the logits of PyTorch with these weights: largest "
            f"difference {error:.1g} of the largest logit",
        ),
        open=_OPEN,
    )


def read_back(path: Path, model: PreTrainedModel, plan: Plan) -> dict[str, str]:
    """Layer -> dtype of its weight: ``int4``, ``int8``, ``fp16``, ``fp32``, or Core ML's name for another.

    Args:
        plan: weights only; it says nothing of inputs.

    Raises:
        ExportError: the package does not hold what the plan says, or other values than the model; every difference is
            named.
    """
    weights = stored_weights(open_program(path), plan)
    found = check_schemes(path, plan, {layer: [weight.scheme] for layer, weight in weights.items()})
    errors = {layer: weight.error(_weight(model, layer).numpy()) for layer, weight in weights.items()}
    wrong = [f"{layer} by {error:.1f} steps" for layer, error in errors.items() if not error <= 1]
    if wrong:
        raise ExportError(
            f"{path.name} holds other weights than the model: {'; '.join(wrong)}; allowed: 1 step. Plan them as fp32."
        )
    return found


def _lowered(model: PreTrainedModel, plan: Plan) -> Plan:
    """The plan as Core ML has it: weights alone. A block that is a whole channel is a channel.

    Raises:
        UnsupportedError: no block of a useful size divides a channel.
    """
    entries = []
    for entry in plan.layers:
        columns, granularity = _weight(model, entry.layer).shape[1], entry.granularity
        if entry.scheme.is_integer and granularity == "per_block":
            if block_of(columns) < min(SMALLEST_BLOCK, columns):
                raise UnsupportedError(
                    f"{entry.layer} has {columns} inputs, which no block of {SMALLEST_BLOCK} to {BLOCK} divides, as Core ML "
                    "needs it. Take a plan with one scale a channel: --runtime litert, if the run has it."
                )
            granularity = "per_channel" if block_of(columns) == columns else granularity
        entries.append(replace(entry, granularity=granularity, activation="none", input_range=None))
    return replace(plan, layers=tuple(entries))


def _weight(model: PreTrainedModel, layer: str) -> Tensor:
    try:
        return model.get_parameter(f"{layer}.weight").detach()
    except AttributeError:
        raise ExportError(f"the plan names the layer {layer!r}, which the model does not have.") from None


def _changes(model: PreTrainedModel, planned: Plan, lowered: Plan) -> Iterator[tuple[str, str]]:
    """Layer -> what became of a plan entry that Core ML has no exact form of."""
    for entry in planned.layers:
        block, told = block_of(_weight(model, entry.layer).shape[1]), []
        if lowered.entry(entry.layer).granularity == "per_block" and block < BLOCK:
            told.append(f"blocks of {BLOCK} are planned; {block} divide its channels")
        if entry.activation != "none":
            told.append(
                f"{entry.activation.replace('_int8', ' INT8')} inputs are planned; they stay floating-point"
            )
        if told:
            yield entry.layer, "; ".join(told)


def _told(scheme: Scheme) -> str:
    return scheme.stored if scheme.is_integer else scheme.weight


def check_answers(path: Path, model: PreTrainedModel, order: Order, plan: Plan) -> float:
    """Largest difference between the program's logits and PyTorch's, as a share of the largest logit.

    Raises:
        ParityError: it is more than `TOLERANCE`.
    """
    program = open_program(path)
    reference = _with_stored(model, stored_weights(program, plan), plan)
    errors = []
    for feeds in _samples(model, order):
        with torch.no_grad():
            wanted = reference(
                **{name: torch.from_numpy(value) for name, value in feeds.items()}
            ).logits.numpy()
        found = evaluate(program, feeds)["logits"]
        errors.append(float(np.abs(found - wanted).max() / np.abs(wanted).max()))
        if not errors[-1] <= TOLERANCE:  # NaN is not
            raise ParityError(
                f"{path.name} computes other logits than the model with its weights: largest difference {errors[-1]:.2g} of "
                f"the largest logit; allowed: {TOLERANCE}. Please report it, with the model."
            )
    return max(errors)


def _with_stored(model: PreTrainedModel, weights: dict[str, StoredWeight], plan: Plan) -> PreTrainedModel:
    """A copy that has the package's weights, and everything else in the package's precision."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        if not _is_exact(plan):
            for parameter in copied.parameters():
                parameter.copy_(parameter.half().float())
        for layer, weight in weights.items():
            _weight(copied, layer).copy_(torch.from_numpy(weight.values))
    return copied


def _samples(model: PreTrainedModel, order: Order) -> Iterator[dict[str, NDArray[Any]]]:
    """Noise: an image, or texts of random tokens, padded to the two shortest lengths."""
    random = np.random.default_rng(0)
    if _reads_images(model):
        _, (pixels,), _ = _image_inputs(model)
        yield {model.main_input_name: random.standard_normal(pixels.shape, np.float32)}
        return
    for size in lengths(order.max_length)[:2]:
        real = (np.arange(size) < size - size // 4).astype(np.int32)[None]  # (1, S)
        ids = random.integers(1, model.config.vocab_size, (1, size), np.int32) * real
        types = random.integers(0, 2, (1, size), np.int32) * real
        yield dict(zip(_text_names(order), (ids, real, types), strict=False))


def _convert(model: PreTrainedModel, order: Order, plan: Plan) -> Any:
    """The program in floating-point numbers, before anything is quantized.

    By way of `torch.jit.trace`: `torch.export` loses the names of weights or gives operators that coremltools 9.0 does not
    know (``alias``); whatever depends on the length goes through the trace as an operation on shapes.
    """
    names, examples, inputs = _image_inputs(model) if _reads_images(model) else _text_inputs(order)
    try:
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            LogitsOnly(model, names).eval(), examples, check_trace=False
        )
        return ct.convert(
            traced,
            inputs=inputs,
            outputs=[ct.TensorType(name="logits", dtype=np.float32)],
            convert_to="mlprogram",
            minimum_deployment_target=TARGET,
            compute_precision=_precision(plan),
            skip_model_load=True,
        )
    except (RuntimeError, ValueError, NotImplementedError, TypeError, KeyError) as problem:
        raise ExportError(f"the model cannot be written for Core ML: {first_line(problem)}") from problem


_Inputs = tuple[tuple[str, ...], tuple[Tensor, ...], list[Any]]
"""Names, an example of each, and their declaration."""


def _reads_images(model: PreTrainedModel) -> bool:
    return model.main_input_name == "pixel_values"


def _text_names(order: Order) -> tuple[str, ...]:
    return _NAMES if order.pairs else _NAMES[:2]


def _text_inputs(order: Order) -> _Inputs:
    names, sizes = _text_names(order), lengths(order.max_length)
    shapes = [(1, length) for length in sizes]
    declared = [
        ct.TensorType(name=name, shape=ct.EnumeratedShapes(shapes=shapes, default=shapes[-1]), dtype=np.int32)
        for name in names
    ]
    return names, tuple(torch.ones(shapes[-1], dtype=torch.int32) for _ in names), declared


def _image_inputs(model: PreTrainedModel) -> _Inputs:
    pixels = torch.zeros(1, *image_shape(model.config))
    declared = ct.TensorType(name=model.main_input_name, shape=pixels.shape, dtype=np.float32)
    return (model.main_input_name,), (pixels,), [declared]


def _precision(plan: Plan) -> Any:
    """Of each operator: FP32 where it reads a weight that is planned so."""
    if _is_exact(plan):
        return ct.precision.FLOAT32
    exact = {weight_name(entry.layer) for entry in plan.layers if entry.weight == "fp32"}
    return ct.transform.FP16ComputePrecision(
        op_selector=lambda operator: not any(_reads(operator, name) for name in exact)
    )


def _is_exact(plan: Plan) -> bool:
    return all(entry.weight == "fp32" for entry in plan.layers)


def _reads(operator: Any, constant: str) -> bool:
    """Whether the constant is an input; before the last passes its name has the module's dots."""
    names = (getattr(value, "name", None) or "" for value in operator.inputs.values())
    return any(name.replace(".", "_") == constant for name in names)


def _quantize(package: Any, plan: Plan) -> Any:
    """Every integer entry, by the name of its constant."""
    configs = {
        weight.name: ct.optimize.coreml.OpLinearQuantizerConfig(
            mode="linear_symmetric",
            dtype=entry.weight,
            granularity=entry.granularity,
            block_size=block_of(weight.shape[1]),
            weight_threshold=0,
        )
        for entry, weight in weight_variables(package._mil_program, plan)
        if entry.weight in INTEGERS
    }
    return ct.optimize.coreml.linear_quantize_weights(
        package, ct.optimize.coreml.OptimizationConfig(op_name_configs=configs)
    )


def _describe(package: Any, order: Order) -> None:
    package.author, package.version = "edgesmith", __version__
    package.short_description = f"{order.task}: logits of {len(order.labels)} labels, a batch of 1"
    package.user_defined_metadata["labels"] = json.dumps(order.labels)
    package.user_defined_metadata["task"] = order.task


def _specs(features: Any) -> tuple[TensorSpec, ...]:
    """Of a specification; a length that may vary is a dynamic dimension."""
    specs = []
    for feature in features:
        array = feature.type.multiArrayType
        is_flexible = array.WhichOneof("ShapeFlexibility") is not None
        dtype = ct.proto.FeatureTypes_pb2.ArrayFeatureType.ArrayDataType.Name(array.dataType).lower()
        shape: tuple[int | str, ...] = (1, "sequence") if is_flexible else tuple(map(int, array.shape))
        specs.append(TensorSpec(name=feature.name, dtype=dtype, shape=shape))
    return tuple(specs)
