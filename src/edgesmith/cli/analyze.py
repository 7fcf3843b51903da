"""The commands `analyze` and `recommend`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesmith.cli.options import parsed, talk_options
from edgesmith.cli.talk import json_text, working
from edgesmith.errors import BudgetError
from edgesmith.recipe import parse_deadline, parse_latency
from edgesmith.records import METRICS_OF, known_shape
from edgesmith.targets import HOST, load_target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgesmith.analyze.operators import Shape
    from edgesmith.report.facts import Table

_UNIT = click.option("--unit", metavar="NAME", help="Of the device, such as cpu, gpu or npu.")
_THREADS = click.option("--threads", type=click.IntRange(min=1), help="Cores that compute; all if left out.")
_LENGTH = click.option("--length", type=int, help="Length of the text in tokens; 128 if left out.")
_OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for a page, Markdown and plots.",
)


@click.command()
@click.argument("model")
@click.option(
    "--target", default=HOST, show_default=True, help="A device that `edgesmith targets` lists, or a file."
)
@_UNIT
@click.option(
    "--precision", metavar="FORMAT", help="Such as int8; every one that the unit executes if left out."
)
@_THREADS
@_LENGTH
@click.option(
    "--deadline",
    "deadline_ms",
    callback=parsed(parse_deadline),
    metavar="TIME",
    help="For one inference, such as 33ms.",
)
@_OUTPUT
@talk_options
def analyze(
    model: str,
    target: str,
    unit: str | None,
    precision: str | None,
    threads: int | None,
    length: int | None,
    deadline_ms: float | None,
    output: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Predict what MODEL costs on a device, layer by layer, and what limits it; nothing is run.

    MODEL is a local folder, a hub id, a name that `edgesmith models` lists, or a vision transformer that `edgesmith
    recommend` ranks. The exit code is 4 where no precision is predicted to meet the deadline.

    \b
    Examples:
      edgesmith analyze tinybert-4 --target raspberry-pi-5 --deadline 33ms
      edgesmith analyze my-model/ --target jetson-orin-nano --unit gpu --length 64 -o runs/analysis
    """
    from edgesmith.analyze.analysis import analyze as predict
    from edgesmith.analyze.analysis import ask

    question = ask(
        _shape(model, quiet),
        load_target(target),
        length=length,
        unit=unit,
        precision=precision,
        threads=threads,
    )
    found = predict(question, model=model, deadline_ms=deadline_ms)
    from edgesmith.report.analysis import analysis_tables, not_met

    if output is not None:
        from edgesmith.report.prediction import write_analysis

        write_analysis(found, output)
    _show(found, analysis_tables(found), as_json)
    if failed := not_met(found):
        raise BudgetError(f"predicted: {failed}")


@click.command()
@click.option("--task", required=True, help=f"What the model is for: {', '.join(METRICS_OF)}.")
@click.option("--target", required=True, help="A device that `edgesmith targets` lists, or a file.")
@click.option(
    "--max-latency",
    "max_latency_ms",
    required=True,
    callback=parsed(parse_latency),
    metavar="TIME",
    help="For one inference, such as 33ms.",
)
@_UNIT
@_THREADS
@_LENGTH
@_OUTPUT
@talk_options
def recommend(
    task: str,
    target: str,
    max_latency_ms: float,
    unit: str | None,
    threads: int | None,
    length: int | None,
    output: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Rank the models of the zoo and their precisions for a task on a device, from predictions.

    The exit code is 4 where nothing is predicted to meet the latency.

    \b
    Example:
      edgesmith recommend --task text-classification --target raspberry-pi-5 --max-latency 10ms
    """
    from edgesmith.analyze.recommend import recommend as rank
    from edgesmith.report.recommendation import recommendation_table, verdict

    found = rank(task, load_target(target), max_latency_ms, length=length, unit=unit, threads=threads)
    if output is not None:
        from edgesmith.report.prediction import write_recommendation

        write_recommendation(found, output)
    _show(found, (recommendation_table(found),), as_json)
    if found.best is None:
        fastest = found.choices[0]
        known = f"{fastest.latency_ms:.3g} ms" if fastest.latency_ms is not None else "not known"
        raise BudgetError(
            f"{verdict(found)}: the fastest, {fastest.model} in {fastest.precision}, takes a predicted {known}. Allow more"
            f"{', or give a smaller --length' if found.tokens else ''}."
        )


def _shape(model: str, quiet: bool) -> Shape:
    """Of a model of the zoo without torch, which takes seconds to load."""
    if shape := known_shape(model):
        return shape
    with working(quiet):
        from edgesmith import pipeline

        return pipeline.model_shape(model)


def _show(record: object, tables: Iterable[Table], as_json: bool) -> None:
    if as_json:
        click.echo(json_text(record))
        return
    from rich.console import Console

    from edgesmith.report.terminal import print_table

    for table in tables:
        print_table(table, Console())
