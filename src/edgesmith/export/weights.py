"""The arithmetic of stored weights, the same for every exporter that writes them itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgesmith.errors import ExportError


def int8_rows(
    rows: npt.NDArray[np.floating[Any]],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Symmetric INT8 with one scale a row.

    Args:
        rows: (rows, columns); a row is a token of a table or an output channel.

    Returns:
        Integers in [-127, 127], (rows, columns), and scales, (rows, 1); their product is the weight.
    """
    scales = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny)
    return np.clip(np.rint(rows / scales), -127, 127).astype(np.int8), scales.astype(np.float32)


def as_fp16(values: npt.NDArray[np.floating[Any]], layer: str) -> npt.NDArray[np.float16]:
    """The weight of a layer in half precision.

    Raises:
        ExportError: a value is more than FP16 can hold.
    """
    largest = np.abs(values).max()
    if largest > np.finfo(np.float16).max:
        raise ExportError(f"{layer} holds {largest:.3g}, more than FP16 can. Plan it as fp32.")
    return values.astype(np.float16)
