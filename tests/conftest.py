"""Every test runs offline and on one thread, so that a pass means the same on every machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("edgesmith", deadline=None)  # how long an example takes depends on the machine
settings.load_profile("edgesmith")


@pytest.fixture(autouse=True)
def denormals_are_kept() -> Iterator[None]:
    """A run flushes denormal numbers to zero in its process; the next test starts without that, as a new process does."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
