"""Runs a LiteRT model on the CPU: a signature for each length bucket, the shortest that holds the input."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesmith.errors import BundleError, MissingExtraError

LENGTH = "length"


def signature_name(length: int) -> str:
    """Of the bucket for inputs of at most `length` tokens."""
    return f"{LENGTH}_{length}"


class LiteRTSession:
    """A model that is loaded and ready to run. Calls from several threads wait for one another.

    Args:
        model_path: the ``.tflite`` file.
        threads: of the interpreter; they win over those in `settings`.
        settings: what the artifact was measured with.

    Raises:
        BundleError: the model cannot be loaded, or has no length buckets.
        MissingExtraError: `ai-edge-litert` is not installed.
    """

    def __init__(
        self, model_path: Path, *, threads: int = 1, settings: Mapping[str, int | str] | None = None
    ) -> None:
        interpreter = _import_interpreter()
        self._model_path = model_path
        try:
            self._interpreter = interpreter(model_path=str(model_path), num_threads=threads)
            signatures = self._interpreter.get_signature_list()
        except (RuntimeError, ValueError) as problem:
            raise BundleError(
                f"{model_path} cannot be loaded by LiteRT: {problem}. Export the model again."
            ) from None
        self._lengths = sorted(
            int(name.removeprefix(f"{LENGTH}_")) for name in signatures if name.startswith(f"{LENGTH}_")
        )
        if not self._lengths:
            raise BundleError(
                f"{model_path} has the signatures {', '.join(signatures) or 'none'}; expected {signature_name(16)} "
                "and the like. Export the model again."
            )
        self._runners = {
            length: self._interpreter.get_signature_runner(signature_name(length)) for length in self._lengths
        }
        self._lock = threading.Lock()
        self.inputs: tuple[str, ...] = tuple(signatures[signature_name(self._lengths[0])]["inputs"])

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Logits of a batch, (B, labels), one input after the other.

        Args:
            feeds: arrays (B, S) by input name; those that the model does not declare are not passed.

        Raises:
            BundleError: the model declares an input that is not in `feeds`, an input is longer than the last bucket,
                or the model fails on it.
        """
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise BundleError(
                f"{self._model_path} wants the input {missing[0]!r}; there are: {', '.join(sorted(feeds))}."
            )
        rows, tokens = feeds[self.inputs[0]].shape
        length = next((length for length in self._lengths if length >= tokens), None)
        if length is None:
            raise BundleError(
                f"{self._model_path} takes at most {self._lengths[-1]} tokens, and the input has {tokens}. Truncate it."
            )
        padded = {name: np.zeros((rows, length), np.int32) for name in self.inputs}
        for name, values in padded.items():
            values[:, :tokens] = feeds[name]
        with self._lock:  # an interpreter holds the tensors of one call
            return np.concatenate([self._run_one(length, padded, row) for row in range(rows)])

    def _run_one(
        self, length: int, padded: Mapping[str, npt.NDArray[np.int32]], row: int
    ) -> npt.NDArray[np.float32]:
        try:
            outputs = self._runners[length](
                **{name: values[row : row + 1] for name, values in padded.items()}
            )
        except (RuntimeError, ValueError) as problem:
            raise BundleError(
                f"{self._model_path} failed on an input of {length} tokens: {problem}."
            ) from None
        (logits,) = outputs.values()
        return np.asarray(logits, np.float32)


def _import_interpreter() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        raise MissingExtraError("ai-edge-litert", "litert") from None
    return Interpreter
