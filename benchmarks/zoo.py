"""The survey's text models side by side, with random weights: its latency ratios beside ours; writes results/zoo.md.

python benchmarks/zoo.py [rounds]
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from table import header

from edgesmith import pipeline
from edgesmith.records import ZOO, Comparison
from edgesmith.report.markdown import render_table
from edgesmith.report.progress import RichProgress
from edgesmith.report.zoo import comparison_table

ROOT = Path(__file__).parents[1]
LENGTHS = (128, 16)


def main(rounds: int) -> None:
    found = []
    for length in LENGTHS:
        with RichProgress(Console(stderr=True)) as progress:
            found.append(pipeline.compare(list(ZOO), progress, length=length, rounds=rounds))
    lines = [
        *header("The zoo: latency of six text models", found[0].environment),
        "Made by `python benchmarks/zoo.py`. Sizes and latencies are measured; parameters are counted.",
    ]
    text = "\n".join(lines) + "".join(f"\n\n{section(one)}" for one in found) + "\n"
    (ROOT / "results" / "zoo.md").write_text(text, encoding="utf-8")
    print(text)


def section(comparison: Comparison) -> str:
    """The table of one length, with how many times each model was timed."""
    table = render_table(comparison_table(comparison), level=2)
    title = (
        f"## {comparison.length} tokens, n = {comparison.models[0].fp32_ms.n} for each model and precision"
    )
    share = f"- {comparison.cpu_share:.0%} of a core in the timed run."
    return f"{title}{table[table.index(chr(10)) :]}\n{share}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
