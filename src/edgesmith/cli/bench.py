"""The command `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgesmith.cli.options import parsed, talk_options
from edgesmith.cli.talk import json_text, working
from edgesmith.errors import BudgetError, RecipeError
from edgesmith.recipe import DataConfig, parse_deadline, parse_duration, parse_misses, parse_time_limit
from edgesmith.records import ARRIVALS, ENERGY_SENSORS, BenchConfig, write_json

if TYPE_CHECKING:
    from edgesmith.records import Bench

_DEFAULT = BenchConfig()


def _parse_cpus(text: str) -> tuple[int, ...]:
    """``0,1`` -> (0, 1)."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise RecipeError(f"--cpu is {text!r}; expected numbers of CPUs. Example: --cpu 0,1")
    return tuple(map(int, parts))


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="BUNDLE...")
@click.option(
    "--duration",
    "duration_s",
    callback=parsed(parse_duration),
    default="10s",
    show_default=True,
    metavar="TIME",
    help="Timed part of each bundle, such as 60s.",
)
@click.option("--rate", type=float, help="Open loop: so many arrivals a second, whether or not it keeps up.")
@click.option(
    "--arrivals",
    type=click.Choice(ARRIVALS),
    default=_DEFAULT.arrivals,
    show_default=True,
    help="Schedule of an open loop.",
)
@click.option(
    "--busy-wait", is_flag=True, help="Stay awake between arrivals: waking up is then not in the latencies."
)
@click.option(
    "--deadline",
    "deadline_ms",
    callback=parsed(parse_deadline),
    metavar="TIME",
    help="Count answers that come later, such as 33ms.",
)
@click.option(
    "--max-misses",
    callback=parsed(parse_misses),
    metavar="PART",
    help="Exit with 4 where more answers miss the deadline, such as 0.1%.",
)
@click.option("--data", help="Real inputs: a file or a folder; labels do not matter.")
@click.option("--text-column", help="Column of the text; guessed if left out.")
@click.option("--pair-column", help="Column of the second text, for pairs.")
@click.option("--image-column", help="Column of the image; guessed if left out.")
@click.option(
    "--length", type=int, help="Tokens of the texts that are made where there is no --data; 32 if left out."
)
@click.option(
    "--inputs", type=int, default=_DEFAULT.inputs, show_default=True, help="Different inputs to ask."
)
@click.option(
    "--warmup", type=int, default=_DEFAULT.warmup, show_default=True, help="Answers that are not timed."
)
@click.option(
    "--threads", type=int, default=_DEFAULT.threads, show_default=True, help="Threads of the runtime."
)
@click.option(
    "--cpu",
    "cpus",
    callback=parsed(_parse_cpus),
    metavar="NUMBERS",
    help="CPUs to run on, such as 0,1; all if left out.",
)
@click.option(
    "--cold-starts",
    type=int,
    default=_DEFAULT.cold_starts,
    show_default=True,
    help="Fresh processes of each bundle; 0 leaves start and memory out.",
)
@click.option(
    "--energy",
    metavar="SENSOR",
    help=f"Energy per answer, from {', '.join(ENERGY_SENSORS)}, or the .csv that a power meter writes meanwhile.",
)
@click.option(
    "--seed", type=int, default=_DEFAULT.seed, show_default=True, help="Seed of inputs, arrivals and turns."
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File for the result, as JSON."
)
@click.option(
    "--host", help="Bench on that board, over SSH: user@board, user@board:port, an alias of ~/.ssh/config."
)
@click.option("--python", metavar="PATH", help="Python on the board, 3.11 or later; python3 if left out.")
@click.option(
    "--remote-folder",
    metavar="PATH",
    help="Folder on the board to work in; that for temporary files if left out.",
)
@click.option(
    "--time-limit",
    "time_limit_s",
    callback=parsed(parse_time_limit),
    metavar="TIME",
    help="Of everything with --host, such as 30min, which it is if left out.",
)
@talk_options
def bench(
    bundles: tuple[Path, ...],
    data: str | None,
    text_column: str | None,
    pair_column: str | None,
    image_column: str | None,
    cpus: tuple[int, ...] | None,
    output: Path | None,
    host: str | None,
    python: str | None,
    remote_folder: str | None,
    time_limit_s: float | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Time each BUNDLE on this machine or a board: latency, deadlines, drift, cold start, memory and energy.

    Without --rate each question follows the answer before (closed loop). With it inputs arrive on a schedule, and
    latency counts from the scheduled arrival (open loop). Several bundles take turns; ratios are to the first.

    With --host bundles and edgesmith's own measuring code are copied to a board, run there without torch, and removed.

    The exit code is 4 where no answer meets the deadline, arrivals come faster than answers, or --max-misses is
    exceeded.

    \b
    Examples:
      edgesmith bench runs/reviews/bundle/onnxruntime
      edgesmith bench runs/reviews/bundle/onnxruntime --rate 30 --deadline 33ms --duration 60s --cpu 0
      edgesmith bench runs/reviews/bundle/onnxruntime --host pi@raspberrypi.local --python bench/bin/python
      edgesmith bench old/bundle/onnxruntime new/bundle/onnxruntime --data reviews.csv -o bench.json
    """
    config = BenchConfig(cpus=cpus or (), **options)
    rows = DataConfig(path=data, text=text_column, pair=pair_column, image=image_column) if data else None
    given = {"python": python, "folder": remote_folder, "time_limit_s": time_limit_s}
    of_board: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if of_board and host is None:
        raise RecipeError(
            "--python, --remote-folder and --time-limit are of a board. Name it: --host user@board"
        )
    with working(quiet) as progress:
        if host is None:
            from edgesmith.measure.bench import bench as measure

            found = measure(bundles, config, data=rows, progress=progress)
        else:
            from edgesmith.measure.board import bench_on_board
            from edgesmith.measure.ssh import SSH

            found = bench_on_board(bundles, SSH(host), config, data=rows, progress=progress, **of_board)
    if output:
        write_json(output, found)
    _show(found, as_json)


def _show(found: Bench, as_json: bool) -> None:
    """The result, then what was asked and is not met."""
    from edgesmith.report.bench import bench_tables, failures

    if as_json:
        click.echo(json_text(found))
    else:
        from rich.console import Console

        from edgesmith.report.terminal import print_table

        for table in bench_tables(found):
            print_table(table, Console())
    if failed := failures(found):
        raise BudgetError(f"not met: {' '.join(failed)}")
