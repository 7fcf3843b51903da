"""Where rows come from: one file, a folder of splits, or a dataset of the Hugging Face hub -> a table a split."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgesmith.data.readers import READERS, Table, class_names, read_table
from edgesmith.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from datasets import Dataset

SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "dev", "valid", "val"), "test": ("test",)}

_HUB_ID = re.compile(r"(?P<name>[\w.-]+(/[\w.-]+)?)(:(?P<subset>[\w.-]+))?")


def find_tables(path: str) -> dict[str, Table]:
    """Opens what `path` names.

    Args:
        path: a file, a folder with train.* and perhaps validation.* (or dev.*, valid.*, val.*) and test.*, or
            a hub id ``name``, ``owner/name`` or ``name:subset``.

    Returns:
        ``train`` and, where present, ``validation`` and ``test``. One file is ``train``.

    Raises:
        DataError: nothing is there or it cannot be read, there is no train split, or a split has two files.
        MissingExtraError: a hub id, and `datasets` is not installed.
    """
    try:
        return _find_tables(path)
    except OSError as problem:
        raise DataError(
            f"{problem.filename or path}: cannot be read ({problem.strerror}). Check the file and its permissions."
        ) from None


def _find_tables(path: str) -> dict[str, Table]:
    place = Path(path).expanduser()
    if place.is_dir():
        return {split: read_table(file) for split, file in _split_files(place).items()}
    match = _HUB_ID.fullmatch(path)
    if place.exists() or match is None or place.suffix.lower() in READERS or path.startswith("."):
        return {"train": read_table(place)}
    return _hub_tables(match["name"], match["subset"])


def _split_files(folder: Path) -> dict[str, Path]:
    found = {split: _files_called(folder, names) for split, names in SPLIT_NAMES.items()}
    for split, files in found.items():
        if len(files) > 1:
            raise DataError(
                f"{folder}: more than one file for {split}: {', '.join(file.name for file in files)}. Keep one."
            )
    if not found["train"]:
        names = ", ".join(sorted(file.name for file in folder.iterdir())) or "nothing"
        raise DataError(
            f"{folder}: no train split. Expected train.* and perhaps validation.* and test.* "
            f"({', '.join(READERS)}); found: {names}."
        )
    return {split: files[0] for split, files in found.items() if files}


def _files_called(folder: Path, names: tuple[str, ...]) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.stem.lower() in names and file.suffix.lower() in READERS
    )


def _hub_tables(name: str, subset: str | None) -> dict[str, Table]:
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("datasets", "hub") from None
    try:
        found = datasets.load_dataset(name, subset)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as problem:
        raise DataError(
            f"{name}: no such file or folder here, and the hub does not give a dataset of this name "
            f"({' '.join(str(problem).split())}). Allowed: a {', '.join(READERS)} file, a folder of splits, a hub id "
            "(owner/name or name:subset)."
        ) from None
    return _tables_of({str(split): rows for split, rows in found.items()}, name)


def _tables_of(splits: dict[str, Dataset], name: str) -> dict[str, Table]:
    """A table for each split that has a role; the others are named in a note of the train table."""
    roles = {role: next((n for n in names if n in splits), None) for role, names in SPLIT_NAMES.items()}
    if roles["train"] is None:
        raise DataError(f"{name}: no train split. Its splits: {', '.join(splits)}.")
    left = sorted(set(splits) - set(roles.values()))
    notes = (f"{name}: splits not used: {', '.join(left)}.",) if left else ()
    tables = {}
    for role, split in roles.items():
        if split is not None:
            frame = splits[split].to_pandas().astype(object)
            rows = frame.set_axis(range(1, len(frame) + 1))
            tables[role] = Table(
                rows,
                f"{name}, split {split}",
                "row",
                notes if role == "train" else (),
                class_names(splits[split].features.arrow_schema),
            )
    return tables
