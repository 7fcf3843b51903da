"""The survey's text models side by side, with random weights: its latency ratios beside ours, and why they differ. Resumable.

python benchmarks/zoo.py [--rounds 20]  # writes results/zoo.md; cells are kept in runs/zoo
"""

from __future__ import annotations

from collections.abc import Sequence

from study import arguments, cell
from table import header

from edgesmith.analyze.operators import operators
from edgesmith.records import ZOO, Comparison, from_dict, write_text
from edgesmith.report.facts import NONE, Table
from edgesmith.report.markdown import render_table
from edgesmith.report.units import times
from edgesmith.report.zoo import comparison_table

LENGTHS = (128, 16)

AUTHORS = {"distilbert": 1.6, "tinybert-4": 9.4, "mobilebert": 5.5}
"""Times as fast as BERT-base, by the abstracts of the papers that `edgesmith models` names."""

WHY = (
    "The survey divides one 580 ms of BERT-base by latencies of different papers, phones and runtimes. What the authors measured "
    "side by side differs: MobileBERT, 62 ms on a Pixel 4, is 5.5 times as fast there (its abstract), not 9.4.",
    "DistilBERT and TinyBERT-6 have the same layers and do the same work: that the survey has one 2.4 times as fast as the other "
    "is a matter of its sources. Side by side they take the same time.",
    "MACs are the upper end where computing is the limit. What a ratio lacks to that of MACs is norms, softmax and launches, which "
    "shrink less than the MACs do, and narrow layers, which run at a lower rate (benchmarks/utilisation.py).",
    "MobileBERT has 24 layers of matrices of 128: few MACs in many operators, each launched, and in INT8 each with its own "
    "quantization. The shorter the text, the larger that part.",
)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--models", nargs="+", default=list(ZOO), metavar="NAME", help="the first is what ratios refer to"
    )
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    found = [
        from_dict(
            Comparison,
            cell(
                asked.runs / "zoo" / f"{length}.json",
                compare,
                names=asked.models,
                length=length,
                rounds=asked.rounds,
            ),
            where="a cell of the zoo",
        )
        for length in LENGTHS
    ]
    lines = [
        *header("The zoo: latency of six text models", found[0].environment),
        "Made by `python benchmarks/zoo.py`. Sizes and latencies are measured; parameters, MACs and operators are counted.",
    ]
    sections = [section(one) for one in found] + [render_table(ratios(found), level=2)]
    text = "\n".join(lines) + "".join(f"\n\n{one}" for one in sections) + "\n"
    write_text(asked.results / "zoo.md", text)
    print(text)


def compare(names: Sequence[str], length: int, rounds: int) -> Comparison:
    from rich.console import Console

    from edgesmith import pipeline
    from edgesmith.report.progress import RichProgress

    with RichProgress(Console(stderr=True)) as progress:
        return pipeline.compare(names, progress, length=length, rounds=rounds)


def section(comparison: Comparison) -> str:
    """The table of one length, with how many times each model was timed."""
    table = render_table(comparison_table(comparison), level=2)
    title = (
        f"## {comparison.length} tokens, n = {comparison.models[0].fp32_ms.n} for each model and precision"
    )
    share = f"- {comparison.cpu_share:.0%} of a core in the timed run."
    return f"{title}{table[table.index(chr(10)) :]}\n{share}"


def ratios(found: Sequence[Comparison]) -> Table:
    """How many times less each model does and takes than the first, beside the survey and the papers."""
    first = found[0].models[0]
    return Table(
        title=f"Times as fast as {first.name}, and why not as the survey has it",
        columns=(
            "model",
            "MACs",
            "operators",
            *(f"{precision}, {one.length}" for one in found for precision in ("FP32", "INT8")),
            "survey",
            "authors",
        ),
        align="l" + "r" * (4 + 2 * len(found)),
        rows=tuple(
            (
                model.name,
                times(first.macs / model.macs),
                times(count(first.name) / count(model.name)),
                *(
                    times(ratio)
                    for one in found
                    for row in one.models
                    if row.name == model.name
                    for ratio in (row.fp32_ratio, row.int8_ratio)
                ),
                f"{model.survey_ratio:.1f}x",
                f"{AUTHORS[model.name]:g}x" if model.name in AUTHORS else NONE,
            )
            for model in found[0].models
        ),
        notes=(
            f"MACs at {found[0].length} tokens, operators: times as few, counted. Authors: against BERT-base, in their abstracts.",
            *WHY,
        ),
    )


def count(name: str) -> int:
    return len(operators(ZOO[name].shape, LENGTHS[0]))


if __name__ == "__main__":
    main()
