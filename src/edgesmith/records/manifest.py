"""The manifest of a bundle: every file with its hash, the model's inputs and outputs, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgesmith.records.plan import Plan
from edgesmith.records.preprocessing import ImagePreprocessing
from edgesmith.records.task import Task

MANIFEST_VERSION = 1
MANIFEST_NAME = "manifest.json"
MANIFEST_HASH_NAME = f"{MANIFEST_NAME}.sha256"
"""The file beside it that holds its SHA-256, as ``sha256sum`` writes and checks it."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """An input or output; a string in `shape` is a dynamic dimension."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What ``manifest.json`` holds.

    Attributes:
        files: every file of the bundle but the manifest itself and the one that holds its hash.
        max_length: longest input in tokens; longer texts are truncated, as in training. An image has always as many.
        preprocessing: of images; None for a bundle that answers texts.
        labels: label names by class index.
        session: runtime settings the artifact was measured with, such as ``intra_op_num_threads``.
        metrics: measured on validation rows when the bundle was written.
        provenance: model, data and recipe hashes; versions.
    """

    runtime: str
    task: Task
    model: str
    files: tuple[FileEntry, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]
    max_length: int
    plan: Plan
    session: dict[str, int | str]
    metrics: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)
    preprocessing: ImagePreprocessing | None = None
    schema_version: int = MANIFEST_VERSION
