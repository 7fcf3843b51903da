"""A bundle that answers: encoder, session and labels behind one call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from edgesmith.errors import BundleError, DataError, UnsupportedError, choose_from
from edgesmith.records.task import SCORED_TASK
from edgesmith.runtime.bundle import Bundle
from edgesmith.runtime.executorch import ExecuTorchSession
from edgesmith.runtime.litert import LiteRTSession
from edgesmith.runtime.onnxruntime import OnnxRuntimeSession
from edgesmith.runtime.openvino import OpenVINOSession
from edgesmith.runtime.settings import Settings
from edgesmith.runtime.text import Answer, Score, decode_labels, decode_scores, require_one_each


class Session(Protocol):
    """A model that is loaded by its runtime; `run` may be called from several threads at once."""

    candidates: ClassVar[tuple[Settings, ...]]
    inputs: tuple[str, ...]

    def __init__(
        self, model_path: Path, /, *, threads: int = 1, settings: Settings | None = None
    ) -> None: ...

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Logits of one batch of feeds."""
        ...


SESSIONS: dict[str, type[Session]] = {
    "onnxruntime": OnnxRuntimeSession,
    "litert": LiteRTSession,
    "openvino": OpenVINOSession,
    "executorch": ExecuTorchSession,
}
"""Runtime -> what runs its artifacts."""


def open_session(runtime: str, model: Path, *, threads: int = 1, settings: Settings | None = None) -> Session:
    """A model file, loaded by its runtime and ready to run.

    Raises:
        UnsupportedError: this release does not know the runtime.
        BundleError: the file cannot be loaded, or the runtime does not know a setting.
        MissingExtraError: the runtime is not installed.
    """
    if runtime not in SESSIONS:
        raise UnsupportedError(choose_from("runtime", runtime, SESSIONS))
    return SESSIONS[runtime](model, threads=threads, settings=settings)


class Encoder(Protocol):
    """Turns inputs into what the graph is fed with: `TextEncoder` or `ImageEncoder`."""

    def many(self, inputs: Any) -> list[Any]:
        """The inputs as a list, where a single one may stand for itself."""
        ...

    def encode(
        self, inputs: Sequence[Any], pairs: Sequence[Any] | None = None, /
    ) -> dict[str, npt.NDArray[Any]]:
        """Feeds for a batch, by name."""
        ...


class BundleSession(ABC):
    """A bundle with its model loaded. As a context manager it frees the session at the end of the block."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self._session: Session | None = open_session(
            manifest.runtime, bundle.model_path, threads=threads, settings=manifest.session
        )

    @abstractmethod
    def predict(self, inputs: Any, pairs: Any = None, batch_size: int = 1) -> Sequence[Any]:
        """The answer to each input; a single one is a list of one."""

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Logits of one batch of feeds."""
        if self._session is None:
            raise BundleError(f"{self.bundle.path} was closed; load the bundle again.")
        return self._session.run(feeds)

    def close(self) -> None:
        """Frees the session."""
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Predictor(BundleSession):
    """Answers texts or images with a bundle's model.

    One input at a time is the reference: with dynamic INT8 activations a batch shares one scale, so an answer
    depends on its neighbours and on the padding. Verdicts and ``run.py`` use ``batch_size=1``.
    """

    def __init__(self, bundle: Bundle, encoder: Encoder, *, threads: int = 1) -> None:
        super().__init__(bundle, threads=threads)
        self._encoder = encoder

    def predict(self, inputs: Any, pairs: Any = None, batch_size: int = 1) -> list[Answer] | list[Score]:
        """The most probable label, or the score, of each input; a single one is a list of one.

        Args:
            inputs: texts; or images, each a file's path or content, a PIL image, or an array (`ImageEncoder`).
            pairs: second text of each input, where the task has one.

        Raises:
            DataError: a text is no string, an image cannot be read, or `pairs` has another length than `inputs`.
        """
        logits = self.logits(inputs, pairs, batch_size)
        manifest = self.bundle.manifest
        return (
            decode_scores(logits) if manifest.task == SCORED_TASK else decode_labels(logits, manifest.labels)
        )

    def logits(self, inputs: Any, pairs: Any = None, batch_size: int = 1) -> npt.NDArray[np.float32]:
        """Logits of each input in the order given, (N, labels); texts are padded to the longest of their batch."""
        if batch_size < 1:
            raise DataError(f"batch_size is {batch_size}; allowed: 1 or more.")
        first, second = self._encoder.many(inputs), None if pairs is None else self._encoder.many(pairs)
        require_one_each(first, second)
        if not first:
            return np.zeros((0, len(self.bundle.manifest.labels)), np.float32)
        rows = []
        for start in range(0, len(first), batch_size):
            batch = slice(start, start + batch_size)
            feeds = self._encoder.encode(first[batch], None if second is None else second[batch])
            rows.append(self.run(feeds))
        return np.concatenate(rows)
