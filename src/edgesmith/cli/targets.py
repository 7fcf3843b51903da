"""The commands `targets`, and those under it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from edgesmith.cli.options import talk_options
from edgesmith.cli.talk import json_text, working
from edgesmith.targets import (
    HOST,
    Target,
    Unit,
    add_target,
    load_target,
    save_target,
    target_names,
    user_folder,
)


@click.group(invoke_without_command=True)
@talk_options
@click.pass_context
def targets(context: click.Context, as_json: bool, quiet: bool) -> None:
    """List the devices; `targets show NAME` tells what is known of one and from where.

    \b
    Examples:
      edgesmith targets
      edgesmith targets show raspberry-pi-5
    """
    if context.invoked_subcommand is not None:
        return
    found = [load_target(name) for name in target_names()]
    if as_json:
        click.echo(json_text(found))
        return
    for target in found:
        units = ", ".join(target.units)
        click.echo(f"{target.name:24}{target.description}  [{', '.join(target.runtimes)}; {units}]")


@targets.command()
@click.argument("name")
@talk_options
def show(name: str, as_json: bool, quiet: bool) -> None:
    """Tell every figure of the device NAME (or of a file) with its source; what is unknown says so.

    \b
    Example:
      edgesmith targets show raspberry-pi-5
    """
    target = load_target(name)
    click.echo(json_text(target) if as_json else "\n".join(_lines(target)))


@targets.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@talk_options
def add(file: Path, as_json: bool, quiet: bool) -> None:
    """Check the profile in FILE, NAME.yaml, and keep it under its NAME.

    \b
    Example:
      edgesmith targets add my-board.yaml
    """
    target = add_target(file)
    click.echo(json_text(target) if as_json else f"{target.name}: kept in {user_folder()}")


@targets.command()
@click.option(
    "--name", default=HOST, show_default=True, help="Of the profile: `host` is this machine, everywhere."
)
@click.option(
    "--threads", metavar="NUMBERS", help="Such as 1,2,4; powers of two up to all cores if left out."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for NAME.yaml; your own profiles' if left out.",
)
@talk_options
def calibrate(name: str, threads: str | None, output: Path | None, as_json: bool, quiet: bool) -> None:
    """Measure what this machine computes and copies, and write a profile with it: `analyze` then predicts from it.

    \b
    Examples:
      edgesmith targets calibrate
      edgesmith targets calibrate --name my-board -o .     # on the board; elsewhere: edgesmith targets add my-board.yaml
    """
    counts = _numbers(threads)
    with working(quiet) as progress:
        from edgesmith import pipeline

        target = pipeline.calibrate(name, counts, progress)
    file = (output or user_folder()) / f"{target.name}.yaml"
    save_target(target, file)
    click.echo(json_text(target) if as_json else "\n".join([*_lines(target), f"wrote {file}"]))


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise click.UsageError(f"--threads is {text!r}; expected numbers. Example: --threads 1,2,4")
    return [int(part) for part in parts]


def _lines(target: Target) -> Iterator[str]:
    yield f"{target.name}: {target.description}  [{', '.join(target.runtimes)}]"
    yield from _figures(target)
    for name, unit in target.units.items():
        yield f"{name} ({unit.kind})"
        yield from _figures(unit)
        yield from _rates(unit)


def _figures(record: Target | Unit) -> Iterator[str]:
    for figure, value in record.figures().items():
        if value is None:
            reason = record.unknown.get(figure)
            yield f"  {figure:26}unknown{f': {reason}' if reason else ''}"
        else:
            yield f"  {figure:26}{_text(value)}  ({record.sources[figure]})"


def _rates(unit: Unit) -> Iterator[str]:
    rates = unit.rates
    if rates is None:
        return
    yield f"  measured {rates.date} on {rates.environment.processor}, {rates.runtime}"
    for threads in rates.threads:
        peaks = ", ".join(
            f"{each} {(rates.peak(each, threads) or 0) / 1e9:.3g} GMAC/s" for each in rates.precisions
        )
        copied = (rates.copy_bandwidth(threads) or 0) / 1e9
        yield f"    {f'{threads} threads' if threads > 1 else '1 thread':12}{peaks}; copy {copied:.3g} GB/s"
    yield f"    launch      {1e6 * rates.call_s:.3g} us a call, {1e6 * rates.node_s:.3g} us an operator"
    yield from (f"    NOISY MACHINE: {warning}" for warning in rates.warnings)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each:,.12g}" for key, each in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    return f"{value:,.12g}" if isinstance(value, int | float) else str(value)
