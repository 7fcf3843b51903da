"""The run folder: steps that are finished once, found again by key, and never seen half-written."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from edgesmith.errors import RecipeError
from edgesmith.records import STEP_RECORD_NAME, StepRecord, read_json, to_dict, write_json, write_text

KEY_NAME = "key.txt"
LIBRARIES = ("torch", "transformers", "numpy", "onnx", "onnxruntime", "scikit-learn")
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
        if (final / STEP_RECORD_NAME).is_file():
            record = read_json(StepRecord, final / STEP_RECORD_NAME)
            if record.key == key:
                on_reuse(record)
                return record, final
        partial = final.with_name(f".{final.name}.partial")
        if partial.exists() and not _has_key(partial, key):
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        write_text(partial / KEY_NAME, key)
        start = time.monotonic()
        result = work(partial)
        record = StepRecord(
            step=name.split("/")[0].split("-", 1)[1],
            key=key,
            wall_s=time.monotonic() - start,
            config=to_dict(config),
            facts=to_dict(result.facts),
            reasons=result.reasons,
        )
        write_json(partial / STEP_RECORD_NAME, record)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
        return record, final


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the run folder for this process.

    Raises:
        RecipeError: another process works in it, or something else lies there.
    """
    if path.exists() and not path.is_dir():
        raise RecipeError(f"{path} is a file; give a folder with -o.")
    if path.is_dir() and any(path.iterdir()) and not (path / ".lock").exists():
        raise RecipeError(f"{path} is not empty and not a run of edgesmith. Give another folder with -o.")
    path.mkdir(parents=True, exist_ok=True)
    with open(path / ".lock", "w", encoding="utf-8") as file:
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


def base_key(model: str, data_fingerprint: str, seed: int, runtime: Mapping[str, Any]) -> str:
    """Hash of model, data, seed, our code and the libraries.

    Args:
        model: folder or hub id; a folder counts with the content of its files.
        runtime: further plain settings.
    """
    return digest([model_fingerprint(model), data_fingerprint, seed, dict(runtime), _code(), _versions()])


def model_fingerprint(model: str) -> str:
    """SHA-256 over the files of a model folder, or the hub id itself."""
    if not Path(model).is_dir():
        return model
    files = [
        path for path in sorted(Path(model).iterdir()) if path.suffix in (".json", ".safetensors", ".txt")
    ]
    content = hashlib.sha256()
    for path in files:
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
    return {name: metadata.version(name) for name in LIBRARIES}


def _has_key(folder: Path, key: str) -> bool:
    try:
        return (folder / KEY_NAME).read_text(encoding="utf-8") == key
    except OSError:
        return False
