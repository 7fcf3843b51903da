"""edgesmith compresses a fine-tuned transformer for an edge device and proves the result by measurement.

Importing this package loads none of its rooms, and so no torch; a name is looked up when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from edgesmith.errors import EdgesmithError, choose_from

if TYPE_CHECKING:
    import edgesmith.pipeline as pipeline
    from edgesmith.measure.bench import bench
    from edgesmith.recipe import Budget, DataConfig, Recipe
    from edgesmith.records import BenchConfig, SilentProgress, Verdict
    from edgesmith.runtime.load import load_bundle
    from edgesmith.targets import load_target

__version__ = "0.1.0"

__all__ = [
    "BenchConfig",
    "Budget",
    "DataConfig",
    "EdgesmithError",
    "Recipe",
    "SilentProgress",
    "Verdict",
    "__version__",
    "bench",
    "load_bundle",
    "load_target",
    "pipeline",
]

_HOMES = {
    "BenchConfig": "edgesmith.records",
    "Budget": "edgesmith.recipe",
    "DataConfig": "edgesmith.recipe",
    "Recipe": "edgesmith.recipe",
    "SilentProgress": "edgesmith.records",
    "Verdict": "edgesmith.records",
    "bench": "edgesmith.measure.bench",
    "load_bundle": "edgesmith.runtime.load",
    "load_target": "edgesmith.targets",
}


def __getattr__(name: str) -> object:
    """Imports the home of a public name (PEP 562).

    The pipeline is public as a module, because its `compress` would hide the room of the same name.
    """
    if name == "pipeline":
        return import_module("edgesmith.pipeline")
    if name not in _HOMES:
        raise AttributeError(f"module 'edgesmith': {choose_from('name', name, __all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
