"""Runs a LiteRT model on the CPU: the signature of images, or the shortest length bucket that holds a text."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgesmith.errors import BundleError, MissingExtraError
from edgesmith.runtime.settings import Settings, own_settings

LENGTH = "length"
IMAGE = "image"
"""The one signature of a model of images, which all have one shape."""

UNCLUSTERED = "experimental_disable_delegate_clustering"
LITERT_SETTINGS = (UNCLUSTERED,)
"""Arguments of `ai_edge_litert`'s interpreter. ``experimental_default_delegate_latest_features`` is none of them: in
2.3.0 it prints an error and changes nothing."""


def signature_name(length: int) -> str:
    """Of the bucket for inputs of at most `length` tokens."""
    return f"{LENGTH}_{length}"


class LiteRTSession:
    """A model that is loaded and ready to run. Calls from several threads wait for one another.

    Args:
        model_path: the ``.tflite`` file.
        threads: of the interpreter; they win over those in `settings`.
        settings: what the artifact was measured with: names of `LITERT_SETTINGS`.

    Attributes:
        candidates: settings that may be faster than none.

    Raises:
        BundleError: the model cannot be loaded, has neither length buckets nor the signature of images, or a setting is
            unknown.
        MissingExtraError: `ai-edge-litert` is not installed.
    """

    candidates: ClassVar[tuple[Settings, ...]] = ({UNCLUSTERED: 1},)

    def __init__(self, model_path: Path, *, threads: int = 1, settings: Settings | None = None) -> None:
        own, interpreter = own_settings(settings, LITERT_SETTINGS), _import_interpreter()
        self._model_path = model_path
        try:
            self._interpreter = interpreter(
                model_path=str(model_path),
                num_threads=threads,
                **{name: bool(value) for name, value in own.items()},
            )
            signatures = self._interpreter.get_signature_list()
        except (RuntimeError, ValueError) as problem:
            raise BundleError(
                f"{model_path} cannot be loaded by LiteRT: {problem}. Export the model again."
            ) from None
        self._lengths = sorted(
            int(name.removeprefix(f"{LENGTH}_")) for name in signatures if name.startswith(f"{LENGTH}_")
        )
        names = [signature_name(length) for length in self._lengths] or [IMAGE]
        if names[0] not in signatures:
            raise BundleError(
                f"{model_path} has the signatures {', '.join(signatures) or 'none'}; expected {IMAGE}, or "
                f"{signature_name(16)} and the like. Export the model again."
            )
        self._runners = {name: self._interpreter.get_signature_runner(name) for name in names}
        self._wanted = {name: runner.get_input_details() for name, runner in self._runners.items()}
        self._lock = threading.Lock()
        self.inputs: tuple[str, ...] = tuple(signatures[names[0]]["inputs"])

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Logits of a batch, (B, labels), or (B, S, labels) of tokens, one input after the other.

        Args:
            feeds: arrays (B, S) of tokens or (B, C, H, W) of pixels by input name; those that the model does not declare
                are not passed.

        Raises:
            BundleError: the model declares an input that is not in `feeds`, a text is longer than the last bucket, an
                image has another shape than the model takes, or the model fails on it.
        """
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise BundleError(
                f"{self._model_path} wants the input {missing[0]!r}; there are: {', '.join(sorted(feeds))}."
            )
        rows, tokens = feeds[self.inputs[0]].shape[:2]
        signature = self._bucket(tokens) if self._lengths else IMAGE
        fitted = {name: self._fit(signature, name, feeds[name]) for name in self.inputs}
        with self._lock:  # an interpreter holds the tensors of one call
            logits = np.concatenate([self._run_one(signature, fitted, row) for row in range(rows)])
        return logits[:, :tokens] if logits.ndim == 3 else logits  # of tokens, without those of the padding

    def _bucket(self, tokens: int) -> str:
        length = next((length for length in self._lengths if length >= tokens), None)
        if length is None:
            raise BundleError(
                f"{self._model_path} takes at most {self._lengths[-1]} tokens, and the input has {tokens}. Truncate it."
            )
        return signature_name(length)

    def _fit(self, signature: str, name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The batch in the shape and dtype of a signature's input: tokens padded with 0, which the mask hides."""
        wanted = self._wanted[signature][name]
        shape = (len(values), *map(int, wanted["shape"][1:]))
        if signature == IMAGE and values.shape != shape:
            raise BundleError(
                f"{self._model_path} takes {name!r} of shape (batch, {', '.join(map(str, shape[1:]))}), and the input has "
                f"{values.shape}."
            )
        fitted = np.zeros(shape, wanted["dtype"])
        fitted[tuple(map(slice, values.shape))] = values
        return fitted

    def _run_one(
        self, signature: str, fitted: Mapping[str, npt.NDArray[Any]], row: int
    ) -> npt.NDArray[np.float32]:
        try:
            outputs = self._runners[signature](
                **{name: values[row : row + 1] for name, values in fitted.items()}
            )
        except (RuntimeError, ValueError) as problem:
            raise BundleError(f"{self._model_path} failed in its signature {signature}: {problem}.") from None
        (logits,) = outputs.values()
        return np.asarray(logits, np.float32)


def _import_interpreter() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        raise MissingExtraError("ai-edge-litert", "litert") from None
    return Interpreter
