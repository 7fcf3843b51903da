from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # where the fixtures' modules are

from fixtures_bench import bundles

__all__ = ["bundles"]
