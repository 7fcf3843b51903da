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
    recipe_changes,
    required,
    talk_options,
)
from edgesmith.cli.talk import json_text, working
from edgesmith.errors import RecipeError
from edgesmith.recipe import CutConfig, parse_share, parse_time_limit
from edgesmith.records import from_dict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgesmith.report.facts import Table

_SHARES = ("macs", "parameters", "latency", "embedding")


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
    "--vocabulary",
    metavar="TOKENS",
    help="Tokens that stay in the word table: those that the training `texts` use, or all that their `letters` can write.",
)
@click.option(
    "--embedding",
    metavar="SHARE",
    help="Largest share of the word table's weights that stays; what is still more is factorised.",
)
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
    "--recover",
    "schedule",
    metavar="SCHEDULE",
    help="Let what is left learn from MODEL, as prune.recovery says: one-shot, or gradual, with two cuts.",
)
@click.option(
    "--time-limit",
    "time_limit_s",
    callback=parsed(parse_time_limit),
    metavar="TIME",
    help="Most that --recover may take, such as 30min, as far as its first steps tell; fewer epochs fit then.",
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
@recipe_changes
@talk_options
def prune(
    model: str,
    output: Path | None,
    show_groups: bool,
    length: int | None,
    assignments: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Cut MODEL down to a share of its MACs, parameters, predicted latency or word table.

    MODEL is fine-tuned: a local folder or a hub id. Validation rows show what each stage costs; the test rows are not read.
    Nothing is retrained without --recover, of which the keys under `prune.recovery` tell more; a recovery that was stopped
    goes on when the same command is given again. The result opens with `from_pretrained`, and `compress` takes it.

    \b
    Examples:
      edgesmith prune my-model/ --show-groups
      edgesmith prune my-model/ --data reviews.csv --macs 50% -o pruned/
      edgesmith prune my-model/ --data reviews.csv --latency 50% --target my-board -o pruned/
      edgesmith prune my-model/ --data reviews.csv --parameters 80% --units layers -o shallow/
      edgesmith prune my-model/ --data reviews.csv --macs 50% --recover one-shot --time-limit 30min -o pruned/
      edgesmith prune my-model/ --data reviews.csv --vocabulary letters --embedding 16% --recover one-shot -o slim/
    """
    if show_groups:
        _show_groups(model, length, as_json, quiet)
        return
    required(options["data"], "--data", ". Without data, --show-groups is possible.")
    folder = required(output, "-o", ": the folder for the pruned model.")
    config = _config(options, length)
    recipe = build_recipe({"model": model, **options}, assignments)
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
        name: parse_share(f"--{name}", options[name]) for name in _SHARES if options[name]
    }
    if not given and options["vocabulary"] is None:
        raise RecipeError(
            f"none of {', '.join(f'--{name}' for name in _SHARES)} and --vocabulary is given; one of them is needed. "
            "Example: --macs 50%"
        )
    rows = options["rows"]
    changes = {
        **{name: options[name] for name in ("vocabulary", "schedule", "time_limit_s")},
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
