"""Writes a bundle: whole, hashed, and in place of the older one only when it is finished."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgesmith.errors import BundleError, ExportError
from edgesmith.export.run_script import RUN_SCRIPT_NAME, modules_of, write_run_script
from edgesmith.records import (
    MANIFEST_HASH_NAME,
    MANIFEST_NAME,
    FileEntry,
    ImagePreprocessing,
    Manifest,
    Plan,
    Task,
    TensorSpec,
    write_json,
    write_text,
)
from edgesmith.runtime.bundle import hash_file, hash_line, is_inside, open_bundle

_OWN_FILES = (RUN_SCRIPT_NAME, MANIFEST_NAME, MANIFEST_HASH_NAME)


def write_bundle(
    destination: Path,
    *,
    files: Mapping[str, Path | str | bytes],
    runtime: str,
    task: Task,
    model: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    labels: Sequence[str],
    max_length: int,
    plan: Plan,
    session: Mapping[str, int | str],
    metrics: Mapping[str, float],
    provenance: Mapping[str, str],
    preprocessing: ImagePreprocessing | None = None,
) -> Manifest:
    """Assembles a bundle beside `destination`, proves that it opens, and renames it into place.

    Killed at any moment, this leaves `destination` as it was, finished, or (between two renames) absent with the
    older bundle whole in ``.NAME.old``, which the next call puts back. An older bundle is replaced with everything
    that lies in its folder.

    Args:
        destination: the folder; absent, empty, or an older bundle.
        files: name in the bundle -> a file to copy, or its content as text or bytes; among them `model` and
            ``tokenizer.json``, unless there is `preprocessing`.
        runtime, task, model, inputs, outputs, labels, max_length, plan, session, metrics, provenance, preprocessing:
            as in `edgesmith.records.Manifest`.

    Returns:
        The manifest, as read back from the finished bundle.

    Raises:
        ExportError: a name cannot be used, `destination` holds something else, the disk is full or read-only, or
            the result would not open.
    """
    _check_names(files)
    partial, old = (destination.with_name(f".{destination.name}.{suffix}") for suffix in ("partial", "old"))
    try:
        _make_room(destination, partial, old)
        _fill(partial, files, modules_of(task))
        manifest = Manifest(
            runtime=runtime,
            task=task,
            model=model,
            files=_entries(partial),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            labels=tuple(labels),
            max_length=max_length,
            plan=plan,
            session=dict(session),
            metrics=dict(metrics),
            provenance=dict(provenance),
            preprocessing=preprocessing,
        )
        write_json(partial / MANIFEST_NAME, manifest)
        write_text(partial / MANIFEST_HASH_NAME, hash_line(partial / MANIFEST_NAME))
        manifest = open_bundle(partial).manifest
        _swap(partial, destination, old)
    except OSError as problem:
        raise ExportError(
            f"{destination}: the bundle could not be written: {problem.strerror or problem} "
            f"({problem.filename or partial}). What was there before is unchanged. Make room or choose another folder."
        ) from problem
    except BundleError as problem:
        raise ExportError(f"{destination}: the bundle would not open. {problem}") from problem
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _check_names(files: Mapping[str, Path | str | bytes]) -> None:
    for name in files:
        if not is_inside(name) or name in _OWN_FILES:
            raise ExportError(
                f"a bundle cannot take a file named {name!r}; allowed: a relative path inside it, other than "
                f"{', '.join(_OWN_FILES)}."
            )


def _make_room(destination: Path, partial: Path, old: Path) -> None:
    """Clears what a killed call left, and refuses to replace what is no bundle."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    if old.exists() and not destination.exists():
        old.rename(destination)
    for leftover in (partial, old):
        if leftover.exists():
            shutil.rmtree(leftover)
    if destination.exists() and not _is_replaceable(destination):
        raise ExportError(f"{destination} exists and is no bundle; it is left alone. Choose another folder.")
    partial.mkdir()


def _is_replaceable(folder: Path) -> bool:
    return (folder / MANIFEST_NAME).is_file() or (folder.is_dir() and not any(folder.iterdir()))


def _fill(folder: Path, files: Mapping[str, Path | str | bytes], modules: tuple[str, ...]) -> None:
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, target)
        else:
            target.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        _sync(target)
    write_run_script(folder, modules)


def _entries(folder: Path) -> tuple[FileEntry, ...]:
    """Every file in the folder, hashed as it lies on the disk."""
    return tuple(
        FileEntry(
            path=path.relative_to(folder).as_posix(), size_bytes=path.stat().st_size, sha256=hash_file(path)
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )


def _swap(partial: Path, destination: Path, old: Path) -> None:
    _sync(partial)
    if destination.exists():
        destination.rename(old)
    try:
        partial.rename(destination)
    except OSError:
        if old.exists():
            old.rename(destination)
        raise
    _sync(destination.parent)
    shutil.rmtree(old, ignore_errors=True)  # the new bundle is in place; the next call removes what is left


def _sync(path: Path) -> None:
    """Waits until a file or the names in a folder are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
