"""The commands `sensitivity` and `quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from edgesmith.cli.options import (
    build_recipe,
    calibrated_target,
    data_options,
    parsed,
    required,
    talk_options,
)
from edgesmith.cli.talk import json_text, working
from edgesmith.errors import BudgetError
from edgesmith.recipe import (
    Observer,
    PrecisionConfig,
    UniformScheme,
    parse_drop,
    parse_latency,
    parse_share,
    parse_size_or_share,
)
from edgesmith.records import RUNTIME_NAMES, from_dict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgesmith.report.facts import Table

_RUNTIME = click.option(
    "--runtime", help=f"What runs the artifact: {', '.join(RUNTIME_NAMES)}; the first if left out."
)
_ROWS = click.option(
    "--rows",
    type=int,
    help="Validation rows that layers are measured on, and training rows that ranges are; 128 if left out.",
)
_OBSERVER = click.option(
    "--observer",
    help=f"How ranges of static inputs are chosen: {', '.join(get_args(Observer))}; the last if left out.",
)
_SEED = click.option("--seed", type=int, help="Seed of every random choice.")


@click.command()
@click.argument("model")
@data_options
@_RUNTIME
@_ROWS
@_OBSERVER
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for the table as Markdown and JSON; must not exist, or be empty.",
)
@_SEED
@talk_options
def sensitivity(model: str, output: Path | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Show what the answers of MODEL suffer when one layer's weights, inputs or embeddings are quantized.

    MODEL is fine-tuned: a local folder or a hub id. Labels and test rows are not read.

    \b
    Examples:
      edgesmith sensitivity my-model/ --data reviews.csv
      edgesmith sensitivity my-model/ --data reviews.csv --rows 256 -o sensitivity/
    """
    required(options["data"], "--data")
    recipe = build_recipe(_recipe_options(model, options))
    config = _config(options)
    with working(quiet) as progress:
        from edgesmith import pipeline

        found = pipeline.sensitivity(recipe, config, output, progress)
    if as_json:
        click.echo(json_text(found))
        return
    from edgesmith.report.quantization import sensitivity_table

    _print([sensitivity_table(found)])


@click.command()
@click.argument("model")
@data_options
@_RUNTIME
@click.option(
    "--size", metavar="SIZE", help="Most of weights and graph: 8MB, or a share of FP32; 29% if left out."
)
@click.option("--int8-macs", metavar="SHARE", help="Least share of the MACs on INT8 inputs; 60% if left out.")
@click.option("--static-macs", metavar="SHARE", help="The same of those whose range is known beforehand.")
@click.option(
    "--max-drop",
    callback=parsed(parse_drop),
    metavar="LOSS",
    help="Largest loss on validation rows; 1% if left out.",
)
@click.option(
    "--max-latency",
    callback=parsed(parse_latency),
    metavar="TIME",
    help="Most that may be predicted for --target, such as 10ms; its rates were measured.",
)
@calibrated_target
@click.option("--max-trials", type=int, help="Most plans that are tried; 8 if left out.")
@click.option(
    "--uniform",
    metavar="PRECISION",
    help=f"No plan, but one precision, to compare with: {', '.join(get_args(UniformScheme))}.",
)
@click.option(
    "--train",
    type=float,
    metavar="EPOCHS",
    help="Train the best plan for so long where none keeps the drop; nothing is trained if left out.",
)
@_ROWS
@_OBSERVER
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for bundle and report; must not exist, or be empty.",
)
@_SEED
@talk_options
def quantize(model: str, output: Path | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Find a precision for each layer of MODEL, and write the bundle.

    MODEL is fine-tuned: a local folder or a hub id. The test rows are not read. Nothing is trained without --train; a training
    that was stopped goes on when the same command is given again. The exit code is 4 where a limit is not kept or a guard
    speaks; what was written is handed over either way.

    \b
    Examples:
      edgesmith quantize my-model/ --data reviews.csv -o small/
      edgesmith quantize my-model/ --data reviews.csv --size 20% --int8-macs 60% -o smaller/
      edgesmith quantize my-model/ --data reviews.csv --uniform int8-static -o static/
      edgesmith quantize my-model/ --data reviews.csv --size 18% --train 1 -o smallest/
    """
    required(options["data"], "--data")
    folder = required(output, "-o", ": the folder for the bundle.")
    recipe = build_recipe(_recipe_options(model, options))
    config = _config(options)
    with working(quiet) as progress:
        from edgesmith import pipeline

        found = pipeline.quantize(recipe, config, folder, progress)
    if as_json:
        click.echo(json_text(found))
    elif quiet:
        click.echo(found.folder)
    else:
        from edgesmith.report.quantization import quantization_tables

        _print(quantization_tables(found))
        for failure in found.failures:
            click.echo(f"not met: {failure}")
        click.echo(f"{'PASS' if found.passed else 'FAIL'}: {Path(found.folder) / found.bundle}")
    if not found.passed:
        raise click.exceptions.Exit(BudgetError.exit_code)


def _recipe_options(model: str, options: dict[str, Any]) -> dict[str, Any]:
    """Without the runtime, which is one here."""
    return {"model": model} | {name: value for name, value in options.items() if name != "runtime"}


def _config(options: dict[str, Any]) -> PrecisionConfig:
    """What the options ask for; the defaults where they are left out."""
    given: dict[str, Any] = {
        "runtime": options["runtime"],
        "calibration_rows": options["rows"],
        "observer": options["observer"],
        "max_trials": options.get("max_trials"),
        "uniform": options.get("uniform"),
        "training": None if options.get("train") is None else {"epochs": options["train"]},
    }
    for name in ("int8_macs", "static_macs"):
        if options.get(name) is not None:
            given[name] = parse_share(f"--{name.replace('_', '-')}", options[name])
    if options.get("size") is not None:
        size = parse_size_or_share(options["size"])
        given["max_bytes" if isinstance(size, int) else "max_share"] = size
    return from_dict(PrecisionConfig, {name: value for name, value in given.items() if value is not None})


def _print(tables: Iterable[Table]) -> None:
    from rich.console import Console

    from edgesmith.report.terminal import print_table

    for table in tables:
        print_table(table, Console())
