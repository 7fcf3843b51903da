"""The run folder: steps that are finished once, found again by key, and never seen half-written."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from edgesmith.errors import EdgesmithError, RecipeError
from edgesmith.records import (
    DISTRIBUTION_OF,
    STEP_RECORD_NAME,
    StepRecord,
    describe_environment,
    read_json,
    to_dict,
    write_json,
    write_text,
)
from edgesmith.report.load import RECIPE_NAME

KEY_NAME = "key.txt"
LOCK_NAME = ".lock"
LIBRARIES = ("torch", "transformers", "numpy", "onnx", "scikit-learn", *DISTRIBUTION_OF.values())
"""Those whose versions a result may depend on; a runtime that is not installed is left out."""
_BLOCK_BYTES = 4096  # of a disk: with less than one left, nothing can be written
_STEPS = "[0-9][0-9]-*"
_ROOMS_WITHOUT_RESULTS = ("cli", "report")


@dataclass(frozen=True)
class StepResult:
    """What a step's work returns."""

    facts: dict[str, Any]
    reasons: tuple[str, ...] = ()


class RunFolder:
    """A folder that one run works in.

    Args:
        path: made if it is not there.
        base_key: hash of everything that every step depends on.
    """

    def __init__(self, path: Path, base_key: str) -> None:
        self.path, self._base_key = path, base_key
        self._used: set[Path] = set()

    def step(
        self,
        name: str,
        *,
        config: Any,
        parents: tuple[StepRecord, ...] = (),
        work: Callable[[Path], StepResult],
        on_reuse: Callable[[StepRecord], None] = lambda record: None,
    ) -> tuple[StepRecord, Path]:
        """The record and folder of a step, from an earlier run where nothing it depends on has changed.

        Work happens in a hidden folder beside the final one, which is renamed when the step's record is written. What
        a killed step left there (training checkpoints) is kept for the next try with the same key.

        Args:
            name: folder below the run, such as ``03-prune/small``.
            config: what the step was told.
            parents: records of the steps whose results it reads.
            work: does the work in the folder it is given.
            on_reuse: told about a step that was found finished.
        """
        key = digest([self._base_key, name, to_dict(config), [parent.key for parent in parents]])
        final = self.path / name
        partial = final.with_name(f".{final.name}.partial")
        self._used.add(final)
        for folder in (final, partial):  # a partial folder with its record lacks nothing but the renaming
            record = _finished(folder, key)
            if record:
                _move(folder, final)
                on_reuse(record)
                return record, final
        if partial.exists() and not _has_key(partial, key):
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        write_text(partial / KEY_NAME, key)
        start = time.monotonic()
        result = _done(work, partial)
        record = StepRecord(
            step=name.split("/")[0].split("-", 1)[1],
            key=key,
            wall_s=time.monotonic() - start,
            config=to_dict(config),
            facts=to_dict(result.facts),
            reasons=result.reasons,
        )
        write_json(partial / STEP_RECORD_NAME, record)
        _move(partial, final)
        return record, final

    def drop_unused(self) -> None:
        """Removes the steps that this run did not ask for: an older recipe's, which its report must not tell of."""
        parents = {folder.parent for folder in self._used}
        for folder in [
            *self.path.glob(_STEPS),
            *self.path.glob(f"{_STEPS}/*"),
            *self.path.glob(".*.partial"),
        ]:
            if folder.is_dir() and folder not in self._used | parents and folder.parent not in self._used:
                shutil.rmtree(folder)


def check_is_usable(path: Path) -> None:
    """Refuses a run folder that holds something else; writes nothing.

    Raises:
        RecipeError: a file, or a folder that is neither empty nor a run's.
    """
    if path.exists() and not path.is_dir():
        raise RecipeError(f"{path} is a file; give a folder with -o.")
    is_run = any((path / name).exists() for name in (LOCK_NAME, RECIPE_NAME))
    if path.is_dir() and not is_run and any(path.iterdir()):
        raise RecipeError(f"{path} is not empty and not a run of edgesmith. Give another folder with -o.")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Makes the run folder where it is not there, and holds it for this process.

    Raises:
        RecipeError: another process works in it, or something else lies there.
    """
    check_is_usable(path)
    path.mkdir(parents=True, exist_ok=True)
    with open(path / LOCK_NAME, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecipeError(
                f"another run works in {path}. Wait for it, or give another folder with -o."
            ) from None
        yield


def digest(value: Any) -> str:
    """SHA-256 of a plain value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def base_key(model: Path, data_fingerprint: str, seed: int, settings: Mapping[str, Any]) -> str:
    """Hash of model, data, seed, our code and the libraries.

    Args:
        model: folder; it counts with the content of its files, not with its name.
        settings: further plain values.
    """
    return digest([model_fingerprint(model), data_fingerprint, seed, dict(settings), _code(), _versions()])


def model_fingerprint(model: Path) -> str:
    """SHA-256 over the files of a model folder."""
    content = hashlib.sha256()
    for path in sorted(model.iterdir()):
        if path.suffix in (".json", ".safetensors", ".txt"):
            content.update(path.name.encode())
            with open(path, "rb") as file:
                content.update(hashlib.file_digest(file, "sha256").digest())
    return content.hexdigest()


def _code() -> str:
    """SHA-256 of the package's own source, without the rooms that only show results."""
    content = hashlib.sha256()
    root = Path(str(resources.files("edgesmith")))
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] not in _ROOMS_WITHOUT_RESULTS:
            content.update(path.read_bytes())
    return content.hexdigest()


def _versions() -> dict[str, str]:
    return describe_environment(LIBRARIES).packages


def _done(work: Callable[[Path], StepResult], folder: Path) -> StepResult:
    """Does the work; a refusal of the system leaves as an `OSError`, whichever library met it."""
    try:
        return work(folder)
    except (EdgesmithError, OSError):
        raise
    except Exception as error:
        code = _refusal(error, folder)
        if code is None:
            raise
        raise OSError(code, os.strerror(code), str(folder)) from error


def _refusal(error: Exception, folder: Path) -> int | None:
    """The system's error number behind a library's own: safetensors has it in its text, torch says nothing of a full disk."""
    if match := re.search(r"\(os error (\d+)\)", str(error)):
        return int(match[1])
    return errno.ENOSPC if shutil.disk_usage(folder).free < _BLOCK_BYTES else None


def _has_key(folder: Path, key: str) -> bool:
    try:
        return (folder / KEY_NAME).read_text(encoding="utf-8") == key
    except FileNotFoundError:
        return False


def _finished(folder: Path, key: str) -> StepRecord | None:
    """The record in a folder, if the step was finished there under this key."""
    if not (folder / STEP_RECORD_NAME).is_file():
        return None
    record = read_json(StepRecord, folder / STEP_RECORD_NAME)
    return record if record.key == key else None


def _move(folder: Path, final: Path) -> None:
    """Puts a finished step in its place, instead of an older one."""
    if folder != final:
        if final.exists():
            shutil.rmtree(final)
        folder.rename(final)
