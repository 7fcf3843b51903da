"""Opens a bundle for whatever it answers."""

from __future__ import annotations

from pathlib import Path

from edgesmith.records.task import QUESTION_TASK, TAGGED_TASK
from edgesmith.runtime.bundle import Bundle, open_bundle
from edgesmith.runtime.image import ImageEncoder
from edgesmith.runtime.predictor import BundleSession, Encoder, Predictor
from edgesmith.runtime.questions import QuestionPredictor
from edgesmith.runtime.text import TextEncoder
from edgesmith.runtime.tokens import TagPredictor


def load_bundle(path: str | Path, *, threads: int = 1, verify: bool = True) -> BundleSession:
    """Opens the bundle at `path` with its own runtime.

    Args:
        path: the folder that holds ``manifest.json``.
        threads: of the session.
        verify: compare every file with the manifest first.

    Raises:
        BundleError: the bundle is damaged.
        UnsupportedError: the bundle is for a runtime that this release cannot run.
        MissingExtraError: the runtime is not installed.
    """
    bundle = open_bundle(path, verify=verify)
    if bundle.manifest.task == TAGGED_TASK:
        return TagPredictor(bundle, threads=threads)
    if bundle.manifest.task == QUESTION_TASK:
        return QuestionPredictor(bundle, threads=threads)
    return Predictor(bundle, encoder_of(bundle), threads=threads)


def encoder_of(bundle: Bundle) -> Encoder:
    """What turns inputs into the feeds of a bundle's model."""
    manifest = bundle.manifest
    if manifest.preprocessing is not None:
        return ImageEncoder(manifest.preprocessing)
    return TextEncoder(bundle.tokenizer_path, manifest.max_length)
