"""Real data of the GLUE tasks, where it lies beside the project."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from edgesmith.data import Splits, load_splits
from edgesmith.recipe import DataConfig

sys.path.insert(0, str(Path(__file__).parents[1]))  # where fixtures_images is

from fixtures_questions import asked
from fixtures_tags import tagged

__all__ = ["asked", "glue", "glue_splits", "tagged"]

GLUE = Path(__file__).parents[2].parent / "shared" / "data" / "glue"


@pytest.fixture(scope="session")
def glue() -> Path:
    if not GLUE.is_dir():
        pytest.skip("the GLUE files are not in ../shared/data/glue")
    return GLUE


@pytest.fixture(scope="session")
def glue_splits(glue: Path) -> Callable[[str], Splits]:
    """Loads a task with no options, once."""
    return cache(lambda task: load_splits(DataConfig(path=str(glue / task)), seed=0))
