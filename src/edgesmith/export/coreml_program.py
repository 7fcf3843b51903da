"""A Core ML package opened again: what its weights are, and what its program computes.

Nothing here needs Core ML: coremltools reads the package into its own form (MIL), whose operators compute constants in numpy
where a converter folds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edgesmith.errors import ExportError
from edgesmith.records import LayerPlan, Plan, Scheme
from edgesmith.records.plan import BLOCK, Granularity, WeightDtype
from edgesmith.runtime.quiet import silence

with silence():  # it remarks on versions of torch and scikit-learn, and on the parts that only a Mac has
    import coremltools
    from coremltools.converters.mil.frontend.milproto.load import load as load_program
    from coremltools.converters.mil.mil import Builder, Function, types

ct: Any = coremltools
TARGET = ct.target.iOS18

_FP16 = "fp16"


def open_program(path: Path) -> Any:
    """The program of a package, its weights included, as coremltools reads it.

    Raises:
        ExportError: coremltools refuses the package.
    """
    try:
        with silence():
            package = ct.models.MLModel(str(path), skip_model_load=True)
            spec = package.get_spec()
            return load_program(spec, spec.specificationVersion, package.weights_dir)
    except (RuntimeError, ValueError, TypeError, KeyError) as problem:
        raise ExportError(f"{path} is no package that coremltools opens: {first_line(problem)}") from problem


@dataclass(frozen=True)
class StoredWeight:
    """A matrix in a package.

    Attributes:
        values: (rows, columns), unpacked.
        steps: between two neighbours of what can be stored, broadcast to `values`; 0 for floating-point numbers.
    """

    scheme: Scheme
    values: NDArray[np.float32]
    steps: NDArray[np.float32]

    def error(self, wanted: NDArray[np.float32]) -> float:
        """Largest difference to the model's values in steps; of FP16, to these values in FP16.

        What is below FP16's normal numbers has few digits in a scale, and counts as one step.
        """
        exact = wanted.astype(np.float16).astype(np.float32) if self.scheme.weight == "fp16" else wanted
        return float((np.abs(self.values - exact) / np.maximum(self.steps, np.finfo(np.float16).tiny)).max())


def block_of(columns: int) -> int:
    """Values of a row that share a scale: as many as a plan's block has, or the most below it that divide the row."""
    return max(size for size in range(1, BLOCK + 1) if columns % size == 0)


def weight_name(layer: str) -> str:
    """What the converter calls a module's weight."""
    return f"model_{layer.replace('.', '_')}_weight"


def weight_variables(program: Any, plan: Plan) -> Iterator[tuple[LayerPlan, Any]]:
    """The constant, quantized or not, that holds each planned weight: it keeps the module's name at its beginning."""
    found = {
        operator.name: operator.outputs[0]
        for operator in program.functions["main"].operations
        if operator.op_type == "const" or operator.op_type.startswith("constexpr_")
    }
    for entry in plan.layers:
        name = weight_name(entry.layer)
        endings = ("", "_to_fp16", "_quantized", "_to_fp16_quantized")
        held = [found[name + ending] for ending in endings if name + ending in found]
        if len(held) != 1:
            raise ExportError(
                f"the plan names the layer {entry.layer!r}, of which the program has {len(held)} weights; 1 is needed."
            )
        yield entry, held[0]


def stored_weights(program: Any, plan: Plan) -> dict[str, StoredWeight]:
    """Layer -> its weight, for every entry of a plan.

    Raises:
        ExportError: an entry names no weight of the program.
    """
    return {entry.layer: _stored(variable) for entry, variable in weight_variables(program, plan)}


def _stored(variable: Any) -> StoredWeight:
    operator = variable.op
    if operator.op_type == "const":
        values = np.asarray(variable.val, np.float32)
        return StoredWeight(Scheme(_dtype(variable)), values, np.zeros((1, 1), np.float32))
    scales, integers = (np.asarray(one.val).astype(np.float32) for one in (operator.scale, operator.data))
    rows, columns = integers.shape
    steps = scales.repeat(rows // scales.shape[0], axis=0).repeat(columns // scales.shape[1], axis=1)
    granularity = _granularity(variable.name, (rows, columns), scales.shape)
    return StoredWeight(Scheme(_dtype(operator.data), granularity), integers * steps, steps)


def _dtype(variable: Any) -> WeightDtype:
    """A package may hold what no plan asks for; it agrees with no entry."""
    return cast("WeightDtype", types.builtin_to_string(variable.dtype))


def _granularity(name: str, shape: tuple[int, int], scales: tuple[int, ...]) -> Granularity:
    rows, columns = shape
    forms: dict[tuple[int, ...], Granularity] = {
        (1, 1): "per_tensor",
        (rows, columns // block_of(columns)): "per_block",
        (rows, 1): "per_channel",
    }
    if scales not in forms:
        raise ExportError(f"{name} of {shape} has scales of {scales}; known: {', '.join(map(str, forms))}.")
    return forms[scales]


def evaluate(program: Any, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What a program computes, operator by operator in numpy, as coremltools folds constants; FP16 arithmetic in FP32.

    Args:
        feeds: INT32 or FP32 array of every input.

    Raises:
        ExportError: coremltools cannot fold an operator; it is named.
    """
    main = program.functions["main"]
    values: dict[str, Any] = dict(feeds)
    with silence(), Function({}, opset_version=TARGET):
        for operator in main.operations:
            if operator.op_type == "const" or operator.op_type.startswith("constexpr_"):
                values[operator.outputs[0].name] = _widened(_constant_value(operator))
                continue
            arguments = {
                name: _value(values, given) for name, given in operator.inputs.items() if given is not None
            }
            if operator.op_type == "cast" and arguments["dtype"] == _FP16:
                arguments["dtype"] = "fp32"
            made = getattr(Builder, operator.op_type)(**arguments)
            results = made if isinstance(made, tuple | list) else [made]
            for output, found in zip(operator.outputs, results, strict=True):
                if found.val is None:
                    raise ExportError(
                        f"coremltools cannot evaluate {operator.op_type} ({operator.name}) without a Mac."
                    )
                values[output.name] = found.val
    return {output.name: np.asarray(values[output.name]) for output in main.outputs}


def _constant_value(operator: Any) -> Any:
    return operator.outputs[0].val if operator.op_type == "const" else operator.materialized_val_inference()


def _value(values: Mapping[str, Any], given: Any) -> Any:
    return tuple(values[one.name] for one in given) if isinstance(given, tuple | list) else values[given.name]


def _widened(value: Any) -> Any:
    """FP16 as FP32; a flag as numpy takes it."""
    if isinstance(value, np.bool_):
        return bool(value)
    return value.astype(np.float32) if getattr(value, "dtype", None) == np.float16 else value


def first_line(problem: Exception) -> str:
    return next(iter(str(problem).strip().splitlines()), type(problem).__name__)
