"""The command `export`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from edgesmith.cli.options import talk_options
from edgesmith.cli.talk import json_text, working
from edgesmith.recipe import DataConfig
from edgesmith.records.prepared import FORMATS


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "form",
    type=click.Choice(list(FORMATS)),
    required=True,
    help="; ".join(f"{name}: {form.title} ({form.suffix or 'a folder'})" for name, form in FORMATS.items())
    + ".",
)
@click.option("--runtime", help="Whose plan of RUN to take; the verdict's if left out.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="What to write; must not exist.",
)
@click.option("--data", help="Rows to calibrate tensorrt and qnn on; the run's if left out.")
@click.option(
    "--activation-bits",
    type=click.Choice(["8", "16"]),
    default="16",
    help="Of qnn's activations; 16 keeps the answers, 8 seldom does.",
)
@click.option("--htp-arch", type=int, help="Hexagon version for qnn's context binaries, such as 73 or 75.")
@talk_options
def export(
    run: Path,
    form: str,
    runtime: str | None,
    output: Path,
    data: str | None,
    activation_bits: str,
    htp_arch: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the model of RUN, as its precision plan says, for a runtime that is not measured here.

    RUN is the folder that `compress` or `quantize` wrote. What is written is read back and held against the plan; it is
    not run, and nothing says how fast it is or how well it answers.

    \b
    Example:
      edgesmith export runs/reviews --to coreml -o reviews.mlpackage
      edgesmith export runs/reviews --to tensorrt -o reviews-tensorrt
      edgesmith export runs/reviews --to qnn --htp-arch 75 -o reviews-qnn
    """
    with working(quiet) as progress:
        from edgesmith.pipeline.prepared import prepare

        found = prepare(
            run,
            form,
            output,
            runtime,
            progress,
            data=DataConfig(path=data) if data else None,
            activation_bits=int(activation_bits),
            htp_arch=htp_arch,
        )
    if as_json:
        click.echo(json_text(found))
    elif quiet:
        click.echo(found.path)
    else:
        file = found.file
        counts = ", ".join(f"{n} {stored}" for stored, n in sorted(Counter(file.stored.values()).items()))
        click.echo(
            f"wrote {found.path}, {found.size_bytes / 1e6:.1f} MB, as planned for {found.plan_of}: {counts}"
        )
        for change, n in Counter(file.changes.values()).items():
            click.echo(f"changed in {n} layers: {change}")
        for check in file.checks:
            click.echo(f"checked: {check}")
        click.echo(f"not checked: {file.open}")
