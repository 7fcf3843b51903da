"""Runs an ExecuTorch program on the CPU: XNNPACK the operators that it takes, ExecuTorch's own kernels the others.

ExecuTorch's Python runtime is given tensors of PyTorch and links against PyTorch's libraries. So here alone below `models`
torch is imported, when a session opens, and a device needs both packages; ExecuTorch's C++ runtime needs neither.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgesmith.errors import BundleError, MissingExtraError
from edgesmith.records.runtimes import NEEDED_BESIDE
from edgesmith.runtime.quiet import silence
from edgesmith.runtime.settings import Settings, own_settings

EXECUTORCH = "executorch"
METHOD = "forward"

INPUT_NAMES: dict[int, tuple[str, ...]] = {
    1: ("pixel_values",),
    2: ("input_ids", "attention_mask"),
    3: ("input_ids", "attention_mask", "token_type_ids"),
}
"""By their number: a program does not name its inputs."""

_opening = threading.Lock()
_open: weakref.WeakSet[ExecuTorchSession] = weakref.WeakSet()
"""Sessions that hold a program; they share the threads of the process."""


class ExecuTorchSession:
    """A program that is loaded and ready to run. Calls from several threads wait for one another.

    ExecuTorch has one pool of threads for the whole process, and changing it under a loaded program corrupts memory. So
    sessions that are open at the same time have the same number.

    Args:
        model_path: the ``.pte`` file.
        threads: of the process's pool; they win over those in `settings`.
        settings: what the artifact was measured with: none but the threads, since ExecuTorch's Python runtime has no others.

    Attributes:
        candidates: settings that may be faster than none.

    Raises:
        BundleError: the program cannot be loaded, takes other inputs than a text or an image, another session is open with
            another number of threads, or a setting is unknown.
        MissingExtraError: `executorch` or `torch` is not installed.
    """

    candidates: ClassVar[tuple[Settings, ...]] = ()

    def __init__(self, model_path: Path, *, threads: int = 1, settings: Settings | None = None) -> None:
        own_settings(settings, known=())
        self._model_path, self._lock = model_path, threading.Lock()
        with _opening, silence() as heard:  # importing, resizing and loading print
            torch, runtime, pool = import_executorch()
            _set_threads(pool, threads)
            try:
                self._method = runtime.Runtime.get().load_program(model_path).load_method(METHOD)
            except RuntimeError as problem:
                raise BundleError(
                    f"{model_path} cannot be loaded by ExecuTorch {metadata.version(EXECUTORCH)}: "
                    f"{_last_line(heard) or problem}. Export the model again, or install the executorch that wrote it."
                ) from None
            _open.add(self)
        self._tensor = torch.from_numpy
        tensors = self._method.metadata
        sizes = [tuple(tensors.input_tensor_meta(place).sizes()) for place in range(tensors.num_inputs())]
        if len(sizes) not in INPUT_NAMES:
            raise BundleError(
                f"{model_path} takes {len(sizes)} inputs; expected 1 of an image, or 2 or 3 of a text. Export the model "
                "again."
            )
        self._largest: tuple[int, ...] = sizes[0]
        self.inputs: tuple[str, ...] = INPUT_NAMES[len(sizes)]

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Logits of a batch, (B, labels), or (B, S, labels) of tokens, one input after the other.

        Args:
            feeds: arrays (B, S) of tokens or (B, C, H, W) of pixels by input name; those that the model does not declare
                are not passed.

        Raises:
            BundleError: the model declares an input that is not in `feeds`, a text is longer than it takes, an image has
                another shape, or the model fails on it.
        """
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise BundleError(
                f"{self._model_path} wants the input {missing[0]!r}; there are: {', '.join(sorted(feeds))}."
            )
        dtype = np.float32 if len(self.inputs) == 1 else np.int64
        # A method reads memory in order, whatever the strides of an image of which the channels were moved to the front.
        arrays = [np.array(feeds[name], dtype, order="C") for name in self.inputs]
        self._check_shapes({array.shape for array in arrays})
        with self._lock:  # a method holds the tensors of one call
            return np.concatenate([self._run_one(arrays, row) for row in range(len(arrays[0]))])

    def _check_shapes(self, shapes: set[tuple[int, ...]]) -> None:
        """Every input of a text has one shape, no longer than planned; an image the one that was exported."""
        is_image = len(self.inputs) == 1
        most = self._largest[1:]
        for shape in shapes:
            fits = shape[1:] == most if is_image else len(shape) == 2 and 1 <= shape[1] <= most[0]
            if not fits or len(shapes) > 1:
                wanted = f"(batch, {', '.join(map(str, most))})" if is_image else f"(batch, 1 to {most[0]})"
                raise BundleError(
                    f"{self._model_path} takes {', '.join(self.inputs)} of shape {wanted}, all alike; got "
                    f"{', '.join(map(str, sorted(shapes)))}."
                )

    def _run_one(self, arrays: list[npt.NDArray[Any]], row: int) -> npt.NDArray[np.float32]:
        try:
            (logits,) = self._method.execute([self._tensor(array[row : row + 1]) for array in arrays])
        except RuntimeError as problem:
            shapes = [array.shape for array in arrays]
            raise BundleError(f"{self._model_path} failed on inputs of shape {shapes}: {problem}.") from None
        return np.asarray(logits.numpy(), np.float32)


def import_executorch() -> tuple[Any, Any, Any]:
    """PyTorch, ExecuTorch's runtime, and the module that has its pool of threads."""
    try:
        import torch
        from executorch import runtime
        from executorch.extension.pybindings import portable_lib
    except ModuleNotFoundError:
        raise MissingExtraError(EXECUTORCH, EXECUTORCH, NEEDED_BESIDE[EXECUTORCH]) from None
    return torch, runtime, portable_lib


def _set_threads(pool: Any, threads: int) -> None:
    found = pool._threadpool_get_thread_count()
    if found == threads:
        return
    if _open:
        raise BundleError(
            f"ExecuTorch has {found} threads in this process as long as a session is open, and this one wants {threads}. "
            "Close the other, take as many, or take another process."
        )
    pool._unsafe_reset_threadpool(threads)


def _last_line(heard: IO[bytes]) -> str:
    """What ExecuTorch printed last, which says more than its error's number."""
    heard.seek(0)
    lines = heard.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].rpartition("] ")[2].rstrip(".") if lines else ""
