"""Bytes of a folder, and the bytes that a model's weights take in FP32."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesmith.errors import MeasureError
from edgesmith.records import model_files

_LENGTH_BYTES = 8  # a safetensors file opens with its header's length, little-endian
_FP32_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Bytes that a verdict speaks of.

    Attributes:
        device: everything the device loads.
        model: weights and graph.
        baseline: FP32 safetensors of the handed-in model.
    """

    device: int
    model: int
    baseline: int


def folder_bytes(path: str | Path) -> int:
    """Bytes of all files under a folder.

    Raises:
        MeasureError: there is no such folder.
    """
    if not Path(path).is_dir():
        raise MeasureError(f"size: {path} is not a folder; expected the folder of a bundle or a model.")
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())


def model_bytes(path: Path) -> int:
    """Bytes of a runtime's model, weights and graph, in however many files."""
    return sum(file.stat().st_size for file in model_files(path))


def fp32_safetensors_bytes(path: str | Path) -> int:
    """Bytes of a model's safetensors if every floating-point tensor were FP32; reads the headers only.

    Integer and boolean tensors keep their size. For weights that are FP32 already this is the size on disk.

    Args:
        path: a ``.safetensors`` file, or a folder with one or more shards.

    Raises:
        MeasureError: no safetensors file, or one that is damaged.
    """
    files = sorted(Path(path).glob("*.safetensors")) if Path(path).is_dir() else [Path(path)]
    if not files or not all(file.is_file() for file in files):
        raise MeasureError(f"size: no .safetensors file at {path}. Save the model with `save_pretrained`.")
    return sum(_fp32_bytes(file) for file in files)


def _fp32_bytes(file: Path) -> int:
    header, header_bytes = _read_header(file)
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    return _LENGTH_BYTES + header_bytes + sum(_tensor_bytes(entry) for entry in tensors)


def _read_header(file: Path) -> tuple[dict[str, Any], int]:
    """Tensor name -> dtype, shape and offsets; and the header's length in bytes."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if length > file.stat().st_size - _LENGTH_BYTES:
            raise MeasureError(f"size: {file} is no safetensors file or is cut short. Save the model again.")
        try:
            header = json.loads(stream.read(length))
        except ValueError as problem:
            raise MeasureError(
                f"size: {file} has a damaged header ({problem}). Save the model again."
            ) from None
    return header, length


def _tensor_bytes(entry: dict[str, Any]) -> int:
    elements: int = math.prod(entry["shape"])
    start, end = entry["data_offsets"]
    stored: int = end - start
    is_float = entry["dtype"].startswith(("F", "BF"))  # F64, F32, F16, BF16, F8_E4M3, F8_E5M2
    return elements * _FP32_BYTES if is_float else stored
