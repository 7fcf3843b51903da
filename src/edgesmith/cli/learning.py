"""The commands `finetune` and `distill`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgesmith.cli.options import build_recipe, data_options, parsed, recipe_changes, required, talk_options
from edgesmith.cli.talk import json_text, working
from edgesmith.recipe import StudentConfig, parse_share

if TYPE_CHECKING:
    from edgesmith.records import Training

_OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for the trained model; must not exist, or be empty.",
)


@click.command()
@click.argument("model")
@data_options
@click.option("--tokenizer", help="Folder or hub id of one, for a MODEL that `edgesmith models` lists.")
@recipe_changes
@_OUTPUT
@talk_options
def finetune(
    model: str,
    output: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train MODEL (a local folder, a hub id or a name of the zoo) on labelled rows.

    Of the recipe the keys under `finetune` count. A training that was stopped goes on when the same command is given
    again. Validation rows choose the weights; the test rows are not read.

    \b
    Examples:
      edgesmith finetune my-encoder/ --data reviews.csv -o my-model/
      edgesmith finetune my-encoder/ --data reviews.csv --set finetune.epochs=3 -o my-model/
      edgesmith finetune tinybert-4 --tokenizer my-encoder/ --data reviews.csv -o tiny/
    """
    folder, recipe = _asked(model, output, options, assignments)
    with working(quiet) as progress:
        from edgesmith import pipeline

        found = pipeline.finetune(recipe, folder, progress)
    _show(found, as_json, quiet)


@click.command()
@click.argument("model")
@data_options
@click.option(
    "--student",
    metavar="MODEL",
    help="A name that `edgesmith models` lists, or the folder or hub id of pretrained weights.",
)
@click.option("--layers", type=int, help="Cut the student from MODEL: layers that stay, evenly spaced.")
@click.option(
    "--hidden",
    callback=parsed(lambda text: parse_share("--hidden", text)),
    metavar="SHARE",
    help="Likewise: share of the hidden units that stay, such as 50%.",
)
@click.option("--rank", type=int, help="Likewise: rank of the word table's two factors.")
@recipe_changes
@_OUTPUT
@talk_options
def distill(
    model: str,
    student: str | None,
    layers: int | None,
    hidden: float | None,
    rank: int | None,
    output: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Teach a student what MODEL, which is fine-tuned, answers.

    The student is another model, or a smaller one that is cut from MODEL. Of the recipe the keys under `distill` count;
    `distill.general` puts a stage on texts without labels before. A training that was stopped goes on when the same command
    is given again. Validation rows choose the weights; the test rows are not read.

    \b
    Examples:
      edgesmith distill my-model/ --data reviews.csv --student tinybert-4 -o tiny/
      edgesmith distill my-model/ --data reviews.csv --layers 3 --hidden 50% -o small/
      edgesmith distill my-model/ --data reviews.csv --layers 3 --set distill.general.data=texts.txt -o small/
    """
    config = StudentConfig(model=student, layers=layers, hidden=hidden, rank=rank)
    folder, recipe = _asked(model, output, options, assignments)
    with working(quiet) as progress:
        from edgesmith import pipeline

        found = pipeline.distill(recipe, config, folder, progress)
    _show(found, as_json, quiet)


def _asked(
    model: str, output: Path | None, options: dict[str, Any], assignments: tuple[str, ...]
) -> tuple[Path, Any]:
    """The folder and the recipe."""
    required(options["data"], "--data")
    folder = required(output, "-o", ": the folder for the trained model.")
    return folder, build_recipe({"model": model, **options}, assignments)


def _show(training: Training, as_json: bool, quiet: bool) -> None:
    if as_json:
        click.echo(json_text(training))
    elif quiet:
        click.echo(training.folder)
    else:
        from rich.console import Console

        from edgesmith.report.terminal import print_table
        from edgesmith.report.training import training_table

        print_table(training_table(training), Console())
