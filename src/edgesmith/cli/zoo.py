"""The commands `models` and `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesmith.cli.options import talk_options
from edgesmith.cli.talk import json_text, working
from edgesmith.errors import RecipeError
from edgesmith.records import (
    RANDOM_WEIGHTS,
    ZOO,
    Comparison,
    ZooEntry,
    ZooModel,
    describe_environment,
    find_zoo_model,
    read_json,
    write_json,
)

if TYPE_CHECKING:
    from edgesmith.report.facts import Table

TOKENS = 128
"""Length of the text that MACs are counted for, and that models are compared on if nothing else is said."""

COMPARISON = Path("runs/compare.json")
"""Where `compare` leaves what it measured, for `models` to show."""


@click.command()
@click.argument("name", required=False)
@talk_options
def models(name: str | None, as_json: bool, quiet: bool) -> None:
    """List the models of the zoo, or tell what is known of the model NAME and from where.

    A name builds the published architecture with random weights: its structure and latency mean something, its
    answers do not. What `edgesmith compare` measured on this machine stands beside what was published.

    \b
    Examples:
      edgesmith models
      edgesmith models tinybert-4
    """
    chosen = [find_zoo_model(name)] if name else list(ZOO.values())
    comparison = measured_here(COMPARISON)
    entries = [describe(model, comparison) for model in chosen]
    if as_json:
        click.echo(json_text(entries[0] if name else entries))
        return
    from edgesmith.report import zoo

    if name:
        click.echo("\n".join(zoo.details(entries[0], comparison)))
        return
    _print(zoo.catalogue(entries, comparison))


@click.command()
@click.argument("names", nargs=-1)
@click.option(
    "--length", type=int, default=TOKENS, show_default=True, help="Length of every input in tokens."
)
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of the runtime."
)
@click.option("--rounds", type=click.IntRange(min=1), default=20, show_default=True, help="Timed passes.")
@click.option("--inputs", type=click.IntRange(min=1), default=4, show_default=True, help="Inputs of a pass.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of weights, inputs and turns.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=COMPARISON,
    show_default=True,
    help="File for the result; `edgesmith models` reads the default one.",
)
@talk_options
def compare(
    names: tuple[str, ...],
    length: int,
    threads: int,
    rounds: int,
    inputs: int,
    seed: int,
    output: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Time models of the zoo side by side on this machine, in FP32 and INT8 on ONNX Runtime.

    NAMES are of `edgesmith models`; all of them if left out. Weights are random: structure and latency only. Ratios
    refer to the first name and stand beside the survey's.

    \b
    Examples:
      edgesmith compare
      edgesmith compare bert-base distilbert tinybert-4 --length 64
    """
    chosen = [find_zoo_model(name).name for name in names] or list(ZOO)
    with working(quiet) as progress:
        from edgesmith import pipeline

        progress.say(RANDOM_WEIGHTS)
        found = pipeline.compare(
            chosen, progress, length=length, threads=threads, rounds=rounds, inputs=inputs, seed=seed
        )
        write_json(output, found)
    if as_json:
        click.echo(json_text(found))
        return
    from edgesmith.report.zoo import comparison_table

    _print(comparison_table(found))


def measured_here(path: Path) -> Comparison | None:
    """What a comparison measured on a processor like this machine's; None where there is no such file."""
    if not path.is_file():
        return None
    try:
        found = read_json(Comparison, path)
    except RecipeError as problem:
        raise RecipeError(f"{path} is not what `edgesmith compare` writes ({problem}) Remove it.") from None
    return found if found.environment.processor == describe_environment(()).processor else None


def describe(model: ZooModel, comparison: Comparison | None) -> ZooEntry:
    """A model with its counts, and what a comparison measured of it."""
    from edgesmith.analyze.cost import macs, parameters

    measured = {one.name: one for one in comparison.models} if comparison else {}
    return ZooEntry(
        name=model.name,
        title=model.title,
        family=model.family,
        parameters=parameters(model.shape),
        tokens=TOKENS,
        macs=macs(model.shape, TOKENS),
        fp32_bytes=4 * parameters(model.shape),
        paper=model.paper,
        published=model.published,
        weights=model.weights,
        notes=model.notes,
        measured=measured.get(model.name),
    )


def _print(table: Table) -> None:
    from rich.console import Console

    from edgesmith.report.terminal import print_table

    print_table(table, Console())
