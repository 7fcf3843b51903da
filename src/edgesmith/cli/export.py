"""The command `export`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from edgesmith.cli.options import talk_options
from edgesmith.cli.talk import json_text, working
from edgesmith.records.prepared import FORMATS


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "form",
    type=click.Choice(list(FORMATS)),
    required=True,
    help="; ".join(f"{name}: {form.title} ({form.suffix})" for name, form in FORMATS.items()) + ".",
)
@click.option("--runtime", help="Whose plan of RUN to take; the verdict's if left out.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="What to write; must not exist.",
)
@talk_options
def export(run: Path, form: str, runtime: str | None, output: Path, as_json: bool, quiet: bool) -> None:
    """Write the model of RUN, as its precision plan says, for a runtime that is not measured here.

    RUN is the folder that `compress` or `quantize` wrote. What is written is read back and held against the plan; it is
    not run, and nothing says how fast it is or how well it answers.

    \b
    Example:
      edgesmith export runs/reviews --to coreml -o reviews.mlpackage
    """
    with working(quiet) as progress:
        from edgesmith.pipeline.prepared import prepare

        found = prepare(run, form, output, runtime, progress)
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
