"""The command `strings`."""

from __future__ import annotations

from pathlib import Path

import click

from edgesmith.cli.options import talk_options
from edgesmith.cli.talk import json_text, working


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The .onnx file to write; must not exist.",
)
@talk_options
def strings(bundle: Path, output: Path, as_json: bool, quiet: bool) -> None:
    """Write BUNDLE's model and tokenizer as one ONNX file: a text in, its label out.

    For BUNDLEs of ONNX Runtime that classify single texts, with a tokenizer of BERT's kind. A call takes one text. The
    file is written only where it reads every character of Unicode as the bundle does; it runs with onnxruntime and
    onnxruntime-extensions, and refuses texts with a NUL character.

    \b
    Example:
      edgesmith strings runs/reviews/bundle/onnxruntime -o reviews.onnx
    """
    with working(quiet) as progress:
        from edgesmith.pipeline.strings import write_strings

        found = write_strings(bundle, output, progress)
    if as_json:
        click.echo(json_text(found))
    elif quiet:
        click.echo(found.path)
    else:
        click.echo(
            f"wrote {found.path}, {found.size_bytes / 1e6:.1f} MB: one text a call, up to {found.max_length} tokens\n"
            f"read as the bundle reads them: all {found.code_points.n:,} characters; {found.texts} texts answered alike, "
            f"largest difference of a logit {found.max_abs_error:.1g}\n"
            f"refused with an error: {found.refused}"
        )
