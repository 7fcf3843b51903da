"""Runs a graph that takes a text and gives its label, as `edgesmith strings` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.errors import BundleError, DataError, MissingExtraError
from edgesmith.records.strings import INPUT, REFUSAL
from edgesmith.runtime.onnxruntime import import_onnxruntime, onnxruntime_errors


class StringsSession:
    """A graph of strings that is loaded and ready to run, one text at a time, also from several threads at once.

    Args:
        model: the ``.onnx`` file, or its content.
        threads: intra-op threads.

    Raises:
        BundleError: the graph cannot be loaded.
        MissingExtraError: `onnxruntime` or `onnxruntime-extensions` is not installed.
    """

    def __init__(self, model: Path | bytes, *, threads: int = 1) -> None:
        onnxruntime = import_onnxruntime()
        try:
            from onnxruntime_extensions import get_library_path
        except ModuleNotFoundError:
            raise MissingExtraError("onnxruntime-extensions", "strings") from None
        options = onnxruntime.SessionOptions()
        options.register_custom_ops_library(get_library_path())
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = (
            4  # a text that is refused is an exception, not a line on the terminal as well
        )
        self._errors = onnxruntime_errors(onnxruntime)
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = onnxruntime.InferenceSession(
                source, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except self._errors as problem:
            raise BundleError(f"the graph of strings cannot be loaded: {problem}. Write it again.") from None

    def run(self, text: str) -> dict[str, Any]:
        """Every output of the graph, by name.

        Raises:
            DataError: the graph refuses the text, or it is no string of Unicode characters.
            BundleError: the graph fails.
        """
        try:
            found = self._session.run(None, {INPUT: np.array([text], object)})
        except UnicodeEncodeError:
            raise DataError(f"the text {text!a:.200} is no string of Unicode characters.") from None
        except self._errors as problem:
            if REFUSAL in str(problem):
                raise DataError(f"{REFUSAL}: {text!a:.200}. Remove the character.") from None
            raise BundleError(f"the graph of strings failed on {text!a:.200}: {problem}.") from None
        return dict(zip((output.name for output in self._session.get_outputs()), found, strict=True))
