"""What a board's own Python does before a bench: this file's source is sent to it, so it needs the standard library only.

Functions take and return plain values.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import sys
import sysconfig
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

ARCHIVE = "small.zip"
"""One of the files that are copied; it is unpacked."""

TEMPORARY = "tmp"
"""Folder for what the bench itself writes."""

PART = ".part"
"""Ending of a file that is being copied."""


def look(packages: list[str], folder: str | None) -> dict[str, Any]:
    """This Python, the versions of those `packages` that it has, and the folder in full, else that for temporary files."""
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    marker = Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")  # PEP 668: pip refuses
    return {
        "python": sys.executable,
        "packages": versions,
        "is_managed": sys.prefix == sys.base_prefix and marker.exists(),
        "folder": os.path.abspath(os.path.expanduser(folder or tempfile.gettempdir())),
    }


def prepare(folder: str, wanted: dict[str, tuple[int, str]]) -> dict[str, Any]:
    """Makes the folder, and takes what lies in it, whole or in part, from an earlier try.

    Args:
        folder: that no other user may write to.
        wanted: name -> bytes and SHA-256.

    Returns:
        ``lacking``: name -> bytes of its part that are there; empty where every file is whole and the archive unpacked.
        ``free``: bytes of the disk. Or ``problem``: what the system refused, and ``is_full``: whether for want of space.
    """
    root = Path(folder)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=0o700, exist_ok=True)
        found = root.lstat()
        if (
            not stat.S_ISDIR(found.st_mode)
            or found.st_uid != os.getuid()
            or stat.S_IMODE(found.st_mode) & 0o022
        ):
            return {
                "problem": f"{root} is there and no folder that only this user may write to",
                "is_full": False,
            }
        (root / TEMPORARY).mkdir(exist_ok=True)
        sizes = {name: _bytes_there(root / name, *wanted[name]) for name in wanted}
        lacking = {name: size for name, size in sizes.items() if size is not None}
        if not lacking:
            with zipfile.ZipFile(root / ARCHIVE) as archive:
                archive.extractall(root)
    except OSError as problem:
        is_full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
        return {"problem": f"{problem.filename or root}: {problem.strerror}", "is_full": is_full}
    return {"lacking": lacking, "free": shutil.disk_usage(root).free}


def _bytes_there(file: Path, size_bytes: int, sha256: str) -> int | None:
    """Of the part of a file; None where the file is whole. What is whole or larger and has another hash is thrown away."""
    part = file.with_name(file.name + PART)
    file.parent.mkdir(parents=True, exist_ok=True)
    for path in (file, part):
        if path.is_file() and path.stat().st_size >= size_bytes:
            with path.open("rb") as stream:
                is_whole = hashlib.file_digest(stream, "sha256").hexdigest() == sha256
            if is_whole:
                path.replace(file)
                return None
            path.unlink()
    return part.stat().st_size if part.is_file() else 0
