from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # where the fixtures' modules are

from fixtures_bench import bundles
from fixtures_ssh import board, lean, own_board, sshd

__all__ = ["board", "bundles", "lean", "own_board", "sshd"]
