"""Runs an ONNX model with ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgesmith.errors import BundleError, MissingExtraError
from edgesmith.runtime.settings import Settings, own_settings

ARENA = "enable_cpu_mem_arena"
FUSIONS = "graph_optimization_level"
SPINNING = "session.intra_op.allow_spinning"
ARM_BF16 = "mlas.enable_gemm_fastmath_arm64_bfloat16"
# Attributes of `onnxruntime.SessionOptions` that a bundle may set; a name with a dot is a session config entry.
ONNXRUNTIME_SETTINGS = (ARENA, FUSIONS, SPINNING, ARM_BF16)


class OnnxRuntimeSession:
    """A model that is loaded and ready to run, also from several threads at once.

    Args:
        model_path: the ``.onnx`` file.
        threads: intra-op threads; they win over those in `settings`.
        settings: what the artifact was measured with: names of `ONNXRUNTIME_SETTINGS`.

    Attributes:
        candidates: settings that may be faster than none.

    Raises:
        BundleError: the model cannot be loaded, or a setting is unknown.
        MissingExtraError: `onnxruntime` is not installed.
    """

    candidates: ClassVar[tuple[Settings, ...]] = (
        {SPINNING: 0},  # with one thread nothing spins
        {ARENA: 0},
        {FUSIONS: 2},  # all but those of layouts, which are for convolutions (ORT_ENABLE_EXTENDED)
        {ARM_BF16: 1},  # on Arm processors that have it
    )

    def __init__(self, model_path: Path, *, threads: int = 1, settings: Settings | None = None) -> None:
        onnxruntime = import_onnxruntime()
        self._model_path = model_path
        self._errors = onnxruntime_errors(onnxruntime)
        options = _session_options(onnxruntime, threads, own_settings(settings, ONNXRUNTIME_SETTINGS))
        try:
            self._session = onnxruntime.InferenceSession(
                str(model_path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except self._errors as problem:
            raise BundleError(
                f"{model_path} cannot be loaded by ONNX Runtime {onnxruntime.__version__}: {problem}. "
                "Export the model again, or install a newer onnxruntime."
            ) from None
        self.inputs: tuple[str, ...] = tuple(node.name for node in self._session.get_inputs())
        self.output: str = self._session.get_outputs()[0].name

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Logits of a batch, (B, labels).

        Args:
            feeds: arrays by input name; those that the graph does not declare are not passed.

        Raises:
            BundleError: the graph declares an input that is not in `feeds`, or fails on them.
        """
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise BundleError(
                f"{self._model_path} wants the input {missing[0]!r}; there are: {', '.join(sorted(feeds))}."
            )
        try:
            (logits,) = self._session.run([self.output], {name: feeds[name] for name in self.inputs})
        except self._errors as problem:
            shapes = {name: feeds[name].shape for name in self.inputs}
            raise BundleError(f"{self._model_path} failed on inputs of shape {shapes}: {problem}.") from None
        return np.asarray(logits, np.float32)


def import_onnxruntime() -> Any:
    """The library, or `MissingExtraError`."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise MissingExtraError("onnxruntime", "onnxruntime") from None
    return onnxruntime


def onnxruntime_errors(onnxruntime: Any) -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises; its errors have no common root below `Exception`."""
    state = onnxruntime.capi.onnxruntime_pybind11_state
    return (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )


def _session_options(onnxruntime: Any, threads: int, settings: Settings) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = (
        3  # errors only: its warnings are about graphs, and a user cannot act on them
    )
    options.inter_op_num_threads = 1
    for name, value in settings.items():
        if "." in name:
            options.add_session_config_entry(name, str(value))
        elif name == FUSIONS:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel(int(value))
        else:
            setattr(options, name, bool(value))
    options.intra_op_num_threads = threads
    return options
