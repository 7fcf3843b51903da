"""The command `prune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgesmith.cli.options import (
    build_recipe,
    calibrated_target,
    data_options,
    names,
    parsed,
    required,
    talk_options,
)
from edgesmith.cli.talk import json_text, working
from edgesmith.errors import RecipeError
from edgesmith.recipe import CutConfig, parse_share
from edgesmith.records import from_dict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgesmith.report.facts import Table


@click.command()
@click.argument("model")
@data_options
@click.option("--macs", metavar="SHARE", help="Largest share of the encoder's MACs that stays, such as 50%.")
@click.option("--parameters", metavar="SHARE", help="The same of all parameters.")
@click.option(
    "--latency",
    metavar="SHARE",
    help="The same of the latency that is predicted for --target, whose rates were measured.",
)
@calibrated_target
@click.option(
    "--units",
    callback=parsed(names),
    metavar="KINDS",
    help="What is cut: heads,neurons (if left out), one of these, layers, or hidden.",
)
@click.option("--importance", help="fisher (if left out), taylor or magnitude.")
@click.option("--no-tuning", is_flag=True, help="Leave what stays as it is, instead of rescaling it.")
@click.option(
    "--rows", type=int, help="Training rows for the importance, and as many for tuning; 512 if left out."
)
@click.option(
    "--length", type=int, help="Tokens that MACs are counted for; the validation rows' mean if left out."
)
@click.option(
    "--show-groups", is_flag=True, help="Show what hangs together in MODEL, and stop; needs no data."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for the pruned model; must not exist, or be empty.",
)
@click.option("--seed", type=int, help="Seed of every random choice.")
@talk_options
def prune(
    model: str,
    output: Path | None,
    show_groups: bool,
    length: int | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Cut MODEL down to a share of its MACs, parameters or predicted latency, without retraining.

    MODEL is fine-tuned: a local folder or a hub id. Validation rows show what each stage costs; the test rows are not read.
    The result opens with `from_pretrained`, and `compress` takes it.

    \b
    Examples:
      edgesmith prune my-model/ --show-groups
      edgesmith prune my-model/ --data reviews.csv --macs 50% -o pruned/
      edgesmith prune my-model/ --data reviews.csv --latency 50% --target my-board -o pruned/
      edgesmith prune my-model/ --data reviews.csv --parameters 80% --units layers -o shallow/
    """
    if show_groups:
        _show_groups(model, length, as_json, quiet)
        return
    required(options["data"], "--data", ". Without data, --show-groups is possible.")
    folder = required(output, "-o", ": the folder for the pruned model.")
    config = _config(options, length)
    recipe = build_recipe({"model": model, **options})
    with working(quiet) as progress:
        from edgesmith import pipeline

        found = pipeline.prune(recipe, config, folder, progress)
    if as_json:
        click.echo(json_text(found))
    elif quiet:
        click.echo(found.folder)
    else:
        from edgesmith.report.pruning import pruning_tables

        _print(pruning_tables(found))


def _show_groups(model: str, length: int | None, as_json: bool, quiet: bool) -> None:
    with working(quiet):
        from edgesmith import pipeline

        found = pipeline.coupled_groups(model, tokens=length)
    if as_json:
        click.echo(json_text(found))
        return
    from edgesmith.report.pruning import group_tables

    _print(group_tables(found))


def _config(options: dict[str, Any], length: int | None) -> CutConfig:
    """What the options ask for; the recipe's defaults where they are left out."""
    given: dict[str, Any] = {
        name: parse_share(f"--{name}", options[name])
        for name in ("macs", "parameters", "latency")
        if options[name]
    }
    if not given:
        raise RecipeError(
            "none of --macs, --parameters and --latency is given; one of them is needed. Example: --macs 50%"
        )
    rows = options["rows"]
    changes = {
        "units": options["units"],
        "importance": options["importance"],
        "importance_rows": rows,
        "tuning_rows": 0 if options["no_tuning"] else rows,
        "length": length,
    }
    return from_dict(CutConfig, given | {name: value for name, value in changes.items() if value is not None})


def _print(tables: Iterable[Table]) -> None:
    from rich.console import Console

    from edgesmith.report.terminal import print_table

    for table in tables:
        print_table(table, Console())
