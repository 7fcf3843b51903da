"""The demo over three seeds: is the result luck? Resumable; writes results/prompt_injection.md.

python benchmarks/demo_seeds.py [runs/folder]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from jobs import run
from table import write_table

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2)


def main(runs: Path) -> None:
    folders = [runs / ("prompt-injection-guard" + (f"-seed-{seed}" if seed else "")) for seed in SEEDS]
    for seed, folder in zip(SEEDS, folders, strict=True):
        job = [sys.executable, str(ROOT / "examples" / "prompt_injection_guard.py")]
        run([*job, "--seed", str(seed), "--output", str(folder)])
    text = write_table(
        ROOT / "results" / "prompt_injection.md",
        "Prompt-injection guard from all-MiniLM-L6-v2, three seeds",
        "make bench",
        folders,
    )
    print(text)


if __name__ == "__main__":
    os.environ.pop("DEMO_QUICK", None)  # a quick run is no result
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs")
