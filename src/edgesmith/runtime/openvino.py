"""Runs an OpenVINO model on the CPU."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgesmith.errors import BundleError, MissingExtraError
from edgesmith.runtime.settings import Settings, own_settings

PINNING = "ENABLE_CPU_PINNING"
PRECISION = "INFERENCE_PRECISION_HINT"
OPENVINO_SETTINGS = ("DYNAMIC_QUANTIZATION_GROUP_SIZE", PINNING, PRECISION)
"""OpenVINO's own properties."""


class OpenVINOSession:
    """A model that is loaded and ready to run. Calls from several threads wait for one another.

    Floating-point parts compute in FP32 unless a setting says otherwise: left alone, OpenVINO takes bfloat16 where the
    processor has it, and the same bundle would answer differently on another machine.

    Args:
        model_path: the ``.xml`` file; the weights lie beside it in a ``.bin`` of the same name.
        threads: of the inference; they win over those in `settings`.
        settings: what the artifact was measured with: names of `OPENVINO_SETTINGS`.

    Attributes:
        candidates: settings that may be faster than none.
        compiled: OpenVINO's own model, which tells its properties and kernels.

    Raises:
        BundleError: the model cannot be loaded, or a setting is unknown.
        MissingExtraError: `openvino` is not installed.
    """

    candidates: ClassVar[tuple[Settings, ...]] = (
        {PRECISION: "bf16"},
        {PRECISION: "f16"},
        {PINNING: "NO"},  # where other programs compute on the CPU that it would be pinned to
    )

    def __init__(self, model_path: Path, *, threads: int = 1, settings: Settings | None = None) -> None:
        openvino = import_openvino()
        self._model_path = model_path
        properties = _properties(threads, own_settings(settings, OPENVINO_SETTINGS))
        try:
            self.compiled: Any = openvino.Core().compile_model(str(model_path), "CPU", properties)
            self._request = self.compiled.create_infer_request()
        except RuntimeError as problem:
            raise BundleError(
                f"{model_path} cannot be loaded by OpenVINO {openvino.__version__}: {one_line(problem)}. "
                "Export the model again, or install a newer openvino."
            ) from None
        self._lock = threading.Lock()
        self._shape = openvino.PartialShape
        self._wanted = {port.get_any_name(): port.get_partial_shape() for port in self.compiled.inputs}
        self.inputs: tuple[str, ...] = tuple(self._wanted)

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Logits of a batch, (B, labels).

        Args:
            feeds: arrays by input name; those that the model does not declare are not passed.

        Raises:
            BundleError: the model declares an input that is not in `feeds`, their shapes do not fit, or it fails on them.
        """
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise BundleError(
                f"{self._model_path} wants the input {missing[0]!r}; there are: {', '.join(sorted(feeds))}."
            )
        shapes = {name: feeds[name].shape for name in self.inputs}
        if not self._fit(shapes):  # OpenVINO would answer with what is left of an earlier call
            wanted = {name: str(self._wanted[name]) for name in self.inputs}
            raise BundleError(
                f"{self._model_path} wants inputs of the shapes {wanted}, all alike; got {shapes}."
            )
        try:
            with self._lock:  # a request answers one call at a time
                (logits,) = self._request.infer({name: feeds[name] for name in self.inputs}).values()
        except RuntimeError as problem:
            raise BundleError(
                f"{self._model_path} failed on inputs of shape {shapes}: {one_line(problem)}."
            ) from None
        return np.asarray(logits, np.float32)

    def _fit(self, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether the model can take inputs of these shapes, and together: every input of a text has the same."""
        return len(set(shapes.values())) == 1 and all(
            self._wanted[name].compatible(self._shape(list(shape))) for name, shape in shapes.items()
        )


def import_openvino() -> Any:
    """The library, with the package out of its sight through which it would tell its maker of every import."""
    if "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino
    except ModuleNotFoundError:
        raise MissingExtraError("openvino", "openvino") from None
    return openvino


def one_line(problem: RuntimeError) -> str:
    """What OpenVINO says, which it spreads over several lines."""
    return " ".join(str(problem).split())


def _properties(threads: int, settings: Settings) -> dict[str, int | str]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        PRECISION: "f32",
        **settings,
        "INFERENCE_NUM_THREADS": threads,
    }
