from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # where fixtures_text is

from fixtures_text import openvino_bundle, own_bundle, small_bundle

__all__ = ["openvino_bundle", "own_bundle", "small_bundle"]
