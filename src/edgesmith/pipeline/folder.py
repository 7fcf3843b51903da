"""The folder of a command that does one thing: it appears whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgesmith.errors import RecipeError


def check_is_free(out: Path) -> None:
    """Raises `RecipeError` where something lies there already."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise RecipeError(f"{out} exists and is not empty. Give another folder with -o, or remove it.")


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write into; afterwards it is `out`, or gone where something failed."""
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if out.exists():
        out.rmdir()  # it is empty
    partial.rename(out)
