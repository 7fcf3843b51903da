"""Opens a bundle: a folder whose manifest names every file with its size and hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from edgesmith.errors import BundleError
from edgesmith.records import MANIFEST_HASH_NAME, MANIFEST_NAME, FileEntry, Manifest, read_json
from edgesmith.records.manifest import MANIFEST_VERSION

TOKENIZER_NAME = "tokenizer.json"
_ADVICE = "Copy the bundle again, whole."


@dataclass(frozen=True)
class Bundle:
    """A bundle that was opened, and, unless the caller said otherwise, verified."""

    path: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        return self.path / self.manifest.model

    @property
    def tokenizer_path(self) -> Path:
        return self.path / TOKENIZER_NAME


def open_bundle(path: str | Path, *, verify: bool = True) -> Bundle:
    """Reads the manifest of the bundle at `path` and checks every file that it names.

    Files that the manifest does not name are left alone: nothing loads them, and a ``__pycache__`` or the
    user's own ``labels.txt`` may well lie in the folder.

    Args:
        path: the folder.
        verify: compare the manifest's SHA-256 with the file that holds it, and every file's size and SHA-256 with the
            manifest; without it, the manifest must only make sense.

    Raises:
        BundleError: no bundle, a manifest that makes no sense, or a file that is missing, truncated or changed;
            the file is named.
    """
    path = Path(path)
    if not (path / MANIFEST_NAME).is_file():
        raise BundleError(
            f"{path} is not a bundle: it has no {MANIFEST_NAME}. Give the folder that holds one."
        )
    if verify:
        _check_hash_of_manifest(path)
    bundle = Bundle(path, read_json(Manifest, path / MANIFEST_NAME, error=BundleError))
    _check_manifest(bundle)
    if verify:
        for entry in bundle.manifest.files:
            _check_file(path, entry)
    return bundle


def is_inside(name: str) -> bool:
    """Whether a file name of a manifest stays inside its bundle, on Linux and on Windows."""
    flavours = (PurePosixPath(name), PureWindowsPath(name))
    return bool(name) and not any(path.anchor or ".." in path.parts for path in flavours)


def _check_manifest(bundle: Bundle) -> None:
    manifest, where = bundle.manifest, bundle.path / MANIFEST_NAME
    names = [entry.path for entry in manifest.files]
    outside = [name for name in names if not is_inside(name)]
    if manifest.schema_version != MANIFEST_VERSION:
        raise BundleError(
            f"{where}: schema_version is {manifest.schema_version}; this release reads {MANIFEST_VERSION}. "
            "Export the model again."
        )
    if outside:
        raise BundleError(
            f"{where}: the file {outside[0]!r} would lie outside the bundle. Do not use this bundle."
        )
    is_text = manifest.preprocessing is None
    for name in (manifest.model, *([TOKENIZER_NAME] if is_text else [])):
        if name not in names:
            raise BundleError(f"{where}: {name!r} is not among its files: {', '.join(sorted(names))}.")
    if not manifest.labels or manifest.max_length < 1:
        raise BundleError(
            f"{where}: {len(manifest.labels)} labels and a max_length of {manifest.max_length} tokens; "
            "at least 1 of each is needed. Export the model again."
        )


def _check_hash_of_manifest(folder: Path) -> None:
    manifest, file = folder / MANIFEST_NAME, folder / MANIFEST_HASH_NAME
    try:
        held = file.read_bytes()
    except FileNotFoundError:
        raise BundleError(
            f"{file} is missing, which holds the SHA-256 of {MANIFEST_NAME}. {_ADVICE}"
        ) from None
    except OSError as problem:
        raise BundleError(f"{file} cannot be read: {problem.strerror}. {_ADVICE}") from None
    if held != hash_line(manifest).encode("ascii"):
        raise BundleError(
            f"{manifest} or {file} has changed: the second does not hold the SHA-256 of the first. {_ADVICE}"
        )


def _check_file(folder: Path, entry: FileEntry) -> None:
    file = folder / entry.path
    try:
        size_bytes = file.stat().st_size
        if size_bytes != entry.size_bytes:
            raise BundleError(
                f"{file} has {size_bytes} bytes; the manifest says {entry.size_bytes}. It is truncated or another "
                f"file. {_ADVICE}"
            )
        digest = hash_file(file)
    except FileNotFoundError:
        raise BundleError(f"{file} is missing, and the manifest names it. {_ADVICE}") from None
    except OSError as problem:
        raise BundleError(f"{file} cannot be read: {problem.strerror}. {_ADVICE}") from None
    if digest != entry.sha256:
        raise BundleError(
            f"{file} has changed: its SHA-256 is {digest}; the manifest says {entry.sha256}. {_ADVICE}"
        )


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_line(path: Path) -> str:
    """SHA-256 and name of a file in the form of ``sha256sum``."""
    return f"{hash_file(path)}  {path.name}\n"
