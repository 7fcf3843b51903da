"""What an ExecuTorch program holds, read from its file: its kernels, and every matrix with how it is stored.

XNNPACK's parts of a program are graphs of their own, which ExecuTorch's `flatc` turns into JSON; their constants are named data
of the program. The rest are calls of kernels on tensors of the program.
"""

from __future__ import annotations

import importlib.resources
import json
import math
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesmith.records import Scheme
from edgesmith.records.plan import Activation, Granularity, WeightDtype
from edgesmith.runtime.quiet import silence

with silence():  # torchao, which it imports, remarks on kernels for GPUs
    import executorch.backends.xnnpack.serialization as xnnpack
    from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader
    from executorch.exir._serialize._flatbuffer import _run_flatc
    from executorch.exir._serialize._program import PTEFile, deserialize_pte_binary
    from executorch.exir.scalar_type import ScalarType
    from executorch.exir.schema import KernelCall
    from executorch.exir.schema import Tensor as ProgramTensor

_DTYPES: dict[str, WeightDtype] = {"int8": "int8", "float16": "fp16", "float32": "fp32"}
_STORED = {ScalarType.CHAR: "int8", ScalarType.HALF: "float16", ScalarType.FLOAT: "float32"}
_XNN_STORED = {"xnn_datatype_qcint8": "int8", "xnn_datatype_fp16": "float16", "xnn_datatype_fp32": "float32"}
_XNN_DYNAMIC = "xnn_datatype_qdint8"
_LOOKUP = "aten::embedding"

_INFINITE = re.compile(r"\binf\b(?=\s*[,}\n])")
"""As `flatc` writes the bound of a ReLU, which is no JSON."""


@dataclass(frozen=True)
class StoredMatrix:
    """A constant of the file.

    Attributes:
        values: as stored, (rows, columns).
        scales: of integers, (rows, 1) or (1, 1); 1 otherwise.
        activation: how what it is multiplied with arrives.
    """

    values: NDArray[Any]
    scales: NDArray[np.float32]
    activation: Activation = "none"

    @property
    def scheme(self) -> Scheme:
        has_rows = len(self.scales) == len(self.values)
        granularity: Granularity = "per_channel" if has_rows else "per_tensor"
        return Scheme(_DTYPES[self.values.dtype.name], granularity, self.activation)

    def holds(self, weight: NDArray[Any]) -> bool:
        """Whether it is a weight, (rows, columns), within half a step of it in this dtype."""
        if self.values.shape != weight.shape:
            return False
        step: NDArray[Any] | float = 0.0
        if self.scheme.is_integer:
            step = self.scales
        elif self.scheme.weight == "fp16":
            step = np.spacing(np.abs(weight).astype(np.float16)).astype(np.float32)
        error = np.abs(self.values.astype(np.float32) * self.scales - weight)
        return bool((error <= 0.501 * step).all())  # half a step, and the rounding of the product in FP32


def operators_of(path: Path) -> set[str]:
    """Kernels that a program calls, such as ``aten::embedding.out``; what is inside a delegate does not count."""
    (plan,) = deserialize_pte_binary(path.read_bytes()).program.execution_plan
    return {f"{kernel.name}.{kernel.overload}".rstrip(".") for kernel in plan.operators}


def stored_matrices(path: Path) -> Iterator[StoredMatrix]:
    """Every constant of two dimensions."""
    file = deserialize_pte_binary(path.read_bytes())
    yield from _xnnpack_matrices(file)
    yield from _program_matrices(file)


def _xnnpack_matrices(file: PTEFile) -> Iterator[StoredMatrix]:
    """Constants of XNNPACK's graphs; the input of a FullyConnected is quantized as it arrives, or is not."""
    for graph in _xnnpack_graphs(file):
        values = [value["xvalue_union"] for value in graph["xvalues"]]
        tensors = {(value.get("tensor_value") or value)["id_out"]: value for value in values}
        products = [node["xnode_union"] for node in graph["xnodes"] if "filter_id" in node["xnode_union"]]
        inputs = {product["filter_id"]: tensors[product["input1_id"]] for product in products}
        for number, value in tensors.items():
            tensor = value.get("tensor_value") or value
            shape = _without_ones(tensor["dims"])
            if tensor["constant_buffer_idx"] and tensor["datatype"] in _XNN_STORED and len(shape) == 2:
                dtype = _XNN_STORED[tensor["datatype"]]
                content = _constant(file, graph, tensor["constant_buffer_idx"])
                arriving = inputs.get(number, {}).get("tensor_value", {}).get("datatype")
                yield StoredMatrix(
                    np.frombuffer(content, dtype).reshape(shape),
                    _scales(file, graph, value.get("quant_params", {})),
                    "dynamic_int8" if arriving == _XNN_DYNAMIC else "none",
                )


def _xnnpack_graphs(file: PTEFile) -> list[dict[str, Any]]:
    """As ExecuTorch's schema has them."""
    (plan,) = file.program.execution_plan
    schema = importlib.resources.files(xnnpack).joinpath("schema.fbs").read_bytes()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "schema.fbs").write_bytes(schema)
        binaries = [folder / f"{place}.bin" for place in range(len(plan.delegates))]
        for delegate, binary in zip(plan.delegates, binaries, strict=True):
            data = bytes(file.program.backend_delegate_data[delegate.processed.index].data)
            header = XNNHeader.from_bytes(data[: XNNHeader.EXPECTED_LENGTH])
            binary.write_bytes(data[header.flatbuffer_offset :][: header.flatbuffer_size])
        options = ("--json", "--defaults-json", "--strict-json", "-o", name)
        _run_flatc([*options, str(folder / "schema.fbs"), "--", *map(str, binaries)])
        texts = (binary.with_suffix(".json").read_text(encoding="utf-8") for binary in binaries)
        return [json.loads(_INFINITE.sub("Infinity", text)) for text in texts]


def _constant(file: PTEFile, graph: dict[str, Any], index: int) -> bytes:
    """Named data of the program."""
    named, key = file.named_data, graph["constant_data"][index]["named_key"]
    return bytes(named.buffers[named.pte_data[key].buffer_index])


def _scales(file: PTEFile, graph: dict[str, Any], quantization: dict[str, Any]) -> NDArray[np.float32]:
    """(rows, 1), or (1, 1)."""
    if index := quantization.get("scale_buffer_idx"):
        return np.frombuffer(_constant(file, graph, index), np.float32).reshape(-1, 1)
    return np.full((1, 1), quantization.get("scale", 1.0), np.float32)


def _program_matrices(file: PTEFile) -> Iterator[StoredMatrix]:
    """Constants of the program itself; rows of integers are looked up together with their scales."""
    (plan,) = file.program.execution_plan
    constants = {
        place: _read(file, value.val)
        for place, value in enumerate(plan.values)
        if isinstance(value.val, ProgramTensor) and _is_matrix(value.val)
    }
    scales_of: dict[int, NDArray[Any]] = {}
    lookups = list(_lookups(plan))
    for table, ids in lookups:
        for other, others in lookups:
            if table in constants and ids == others and constants.get(other, np.empty(0)).shape[1:] == (1,):
                scales_of[table] = constants[other]
    for place, values in constants.items():
        is_integer = values.dtype == np.int8
        yield StoredMatrix(values, scales_of[place] if is_integer else np.ones((1, 1), np.float32))


def _lookups(plan: Any) -> Iterator[tuple[int, int]]:
    """Table and ids of every lookup, as places among the values."""
    for instruction in plan.chains[0].instructions:
        call = instruction.instr_args
        if isinstance(call, KernelCall) and plan.operators[call.op_index].name == _LOOKUP:
            yield call.args[0], call.args[1]


def _is_matrix(tensor: ProgramTensor) -> bool:
    is_constant = tensor.data_buffer_idx > 0 and tensor.allocation_info is None
    return is_constant and tensor.scalar_type in _STORED and len(_without_ones(tensor.sizes)) == 2


def _read(file: PTEFile, tensor: ProgramTensor) -> NDArray[Any]:
    content = bytes(file.program.constant_buffer[tensor.data_buffer_idx].storage)
    shape = _without_ones(tensor.sizes)
    return np.frombuffer(content, _STORED[tensor.scalar_type], math.prod(shape)).reshape(
        shape
    )  # padded behind


def _without_ones(sizes: list[int]) -> tuple[int, ...]:
    """A shape without the batch of one before a matrix."""
    shape = tuple(sizes)
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape
