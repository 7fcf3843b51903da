"""WRITE: one module a runtime, and the bundle around what it writes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edgesmith.errors import MissingExtraError

__all__ = ["exporter"]


def exporter(runtime: str, extra: str | None = None) -> Any:
    """The module that writes artifacts for a runtime, or in a format of `edgesmith.records.prepared`.

    Args:
        extra: that it needs; None for that of the same name.

    Raises:
        MissingExtraError: the extra is not installed.
    """
    try:
        return import_module(f"edgesmith.export.{runtime}")
    except ModuleNotFoundError as problem:
        raise MissingExtraError(problem.name or runtime, extra or runtime) from problem
