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
from edgesmith.targets.profile import advice_for_unknown

_SIZES = ("caches_bytes", "memory_sizes_bytes")
_BINARY = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_UNITS = {
    "clock_hz": (1e9, " GHz"),
    "memory_bandwidth_bytes_s": (1e9, " GB/s"),
    "macs_per_s": (1e9, " GMAC/s"),
    "power_min_w": (1, " W"),
    "power_max_w": (1, " W"),
}

_ELSEWHERE: dict[str, tuple[str, ...]] = {
    "cpu": ("macs_per_s", "runtimes"),
    "gpu": ("features", "cores", "clock_hz", "macs_per_cycle"),
    "npu": ("features", "cores", "clock_hz", "macs_per_cycle"),
}
"""Kind of unit -> figures that others stand for: the peak is stated in one of two ways, a CPU's runtimes by the device."""


@click.group(invoke_without_command=True)
@talk_options
@click.pass_context
def targets(context: click.Context, as_json: bool, quiet: bool) -> None:
    """List the devices, each with the runtimes that bundles are written for and the units that compute.

    `targets show NAME` tells what is known of one and from where.

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
@click.option("--runtime", default="onnxruntime", show_default=True, help="That computes, such as litert.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for NAME.yaml; your own profiles' if left out.",
)
@talk_options
def calibrate(
    name: str, threads: str | None, runtime: str, output: Path | None, as_json: bool, quiet: bool
) -> None:
    """Measure what this machine computes and copies, and write a profile with it: `analyze` then predicts from it.

    \b
    Examples:
      edgesmith targets calibrate
      edgesmith targets calibrate --runtime litert --name host-litert
      edgesmith targets calibrate --name my-board -o .     # on the board; elsewhere: edgesmith targets add my-board.yaml
    """
    counts = _numbers(threads)
    with working(quiet) as progress:
        from edgesmith import pipeline

        target = pipeline.calibrate(name, counts, progress, runtime=runtime)
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
    numbers: dict[str, int] = {}
    yield f"{target.name}: {target.description}"
    yield f"  {'bundles for':26}{', '.join(target.runtimes) or 'none'}"
    yield from _figures(target, numbers)
    for name, unit in target.units.items():
        yield name if name == unit.kind else f"{name} ({unit.kind})"
        yield from _figures(unit, numbers)
        yield from _peaks(unit)
        yield from _rates(unit)
    if target.is_host and all(unit.rates is None for unit in target.units.values()):
        yield f"Nothing is measured yet. Type: {advice_for_unknown(target)}"
    if numbers:
        yield "sources"
        yield from (f"  {f'[{number}]':5}{source}" for source, number in numbers.items())


def _figures(record: Target | Unit, numbers: dict[str, int]) -> Iterator[str]:
    """One line a figure; `numbers` gathers source -> its number, in the order of their use."""
    for figure, value in record.figures().items():
        reason = record.unknown.get(figure)
        if value is not None:
            number = numbers.setdefault(record.sources[figure], len(numbers) + 1)
            yield f"  {figure:26}{_text(figure, value)}  [{number}]"
        elif reason or not (isinstance(record, Unit) and figure in _ELSEWHERE[record.kind]):
            yield f"  {figure:26}unknown{f': {reason}' if reason else ''}"


def _peaks(unit: Unit) -> Iterator[str]:
    """What a CPU's figures multiply to."""
    peaks = {each: unit.peak(each) for each in unit.macs_per_cycle or ()}
    if unit.rates is None and (known := {each: peak for each, peak in peaks.items() if peak}):
        told = ", ".join(f"{each} {peak / 1e9:,.4g}" for each, peak in known.items())
        yield f"  {'peak':26}{told} GMAC/s  (cores x clock_hz x macs_per_cycle)"


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


def _text(figure: str, value: Any) -> str:
    size, unit = _UNITS.get(figure, (1, ""))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_number(figure, each, size)}" for key, each in value.items()) + unit
    if isinstance(value, tuple):
        return ", ".join(_number(figure, each, size) for each in value) + unit
    return _number(figure, value, size) + unit


def _number(figure: str, value: Any, size: float) -> str:
    if not isinstance(value, int | float):
        return str(value)
    if figure in _SIZES:
        step, name = next(((step, name) for step, name in _BINARY if value >= step), (1, "bytes"))
        return f"{value / step:,.4g} {name}"
    return f"{value / size:,.6g}"
