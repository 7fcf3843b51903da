"""The commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgesmith import __version__
from edgesmith.cli.analyze import analyze, recommend
from edgesmith.cli.bench import bench
from edgesmith.cli.door import Door
from edgesmith.cli.export import export
from edgesmith.cli.learning import distill, finetune
from edgesmith.cli.options import (
    OUTPUT,
    build_recipe,
    default_output,
    recipe_changes,
    recipe_options,
    required,
    talk_options,
)
from edgesmith.cli.prune import prune
from edgesmith.cli.quantize import quantize, sensitivity
from edgesmith.cli.strings import strings
from edgesmith.cli.talk import json_text, working
from edgesmith.cli.targets import targets
from edgesmith.cli.zoo import compare, models
from edgesmith.errors import BudgetError, UnsupportedError
from edgesmith.recipe import DataConfig, Recipe
from edgesmith.records import GLUE_METRICS, Verdict


@click.group(cls=Door, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """Compress a fine-tuned transformer for an edge device and prove the result by measurement.

    \b
    Example:
      edgesmith compress my-model/ --data reviews.csv --max-drop 1% --max-size 8MB -o runs/reviews
      edgesmith report runs/reviews
    """


@main.command()
@click.argument("model")
@recipe_options
@OUTPUT
@click.option(
    "--save-recipe",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the recipe to a file and stop; `edgesmith run FILE` carries it out.",
)
@talk_options
def compress(
    model: str,
    output: Path | None,
    save_recipe: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Compress MODEL (a local folder or a hub id) and hold the result against the budget.

    A run that was stopped resumes when the same command is given again. The exit code is 0 where the
    budget is met and 4 where it is not; the best artifact found is handed over either way.

    \b
    Examples:
      edgesmith compress my-model/ --data reviews.csv --max-drop 1%
      edgesmith compress my-model/ --data splits/ --target raspberry-pi-5 --max-size 8MB --max-latency 10ms
      edgesmith compress my-model/ --data reviews.csv --set distill.epochs=3 --save-recipe recipe.yaml
    """
    required(options["data"], "--data")
    recipe = build_recipe({"model": model, **options}, assignments)
    if save_recipe:
        recipe.save(save_recipe)
        click.echo(f"wrote {save_recipe}", err=True)
        return
    _compress(recipe, output, as_json, quiet)


@main.command()
@click.argument("recipe", type=click.Path(dir_okay=False, path_type=Path))
@recipe_changes
@OUTPUT
@talk_options
def run(
    recipe: Path,
    output: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Compress as the file RECIPE says, which `compress --save-recipe` wrote.

    \b
    Example:
      edgesmith run recipe.yaml -o runs/reviews
    """
    _compress(build_recipe(options, assignments, Recipe.load(recipe)), output, as_json, quiet)


@main.command()
@click.argument("model", required=False)
@click.option("--recipe", type=click.Path(dir_okay=False, path_type=Path), help="Plan what this file says.")
@recipe_options
@talk_options
def plan(
    model: str | None,
    recipe: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Say what `compress` would do, need and likely reach; nothing is trained or written.

    \b
    Examples:
      edgesmith plan my-model/ --data reviews.csv --max-size 8MB
      edgesmith plan --recipe recipe.yaml
    """
    if (model is None) == (recipe is None):
        raise click.UsageError("Give either MODEL or --recipe FILE.")
    base = Recipe.load(recipe) if recipe else None
    if base is None:
        required(options["data"], "--data")
    resolved = build_recipe({"model": model, **options}, assignments, base)
    with working(quiet) as progress:
        from edgesmith import pipeline

        outlook = pipeline.plan(resolved, progress)
    click.echo(json_text(outlook) if as_json else "\n".join(outlook.lines()))


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--markdown", is_flag=True, help="Print the report as Markdown.")
@talk_options
def report(run: Path, markdown: bool, as_json: bool, quiet: bool) -> None:
    """Show the report of the folder RUN, and write its report.html and report.md anew.

    With --markdown or --json nothing is written.

    \b
    Examples:
      edgesmith report runs/reviews
      edgesmith report runs/reviews --markdown > report.md
    """
    from edgesmith.report.load import load_run

    finished = load_run(run)
    if markdown:
        from edgesmith.report.markdown import render_markdown

        click.echo(render_markdown(finished))
        return
    if not as_json:
        from edgesmith.report.write import write_report

        write_report(run)
    _show(finished.verdict, run, as_json, quiet)


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="Labelled rows: a file, or a folder with a test split.")
@click.option("--text-column", help="Column of the text; guessed if left out.")
@click.option("--pair-column", help="Column of the second text, for pairs.")
@click.option("--image-column", help="Column of the image; guessed if left out.")
@click.option("--label-column", help="Column of the label; guessed if left out.")
@click.option(
    "--glue",
    type=click.Choice(list(GLUE_METRICS), case_sensitive=False),
    help="Print the row that GLUE reports for this task.",
)
@talk_options
def evaluate(
    bundle: Path,
    data: str,
    text_column: str | None,
    pair_column: str | None,
    image_column: str | None,
    label_column: str | None,
    glue: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure BUNDLE by every metric of its task, through its own runtime.

    \b
    Examples:
      edgesmith evaluate runs/reviews/bundle/onnxruntime --data reviews-test.csv
      edgesmith evaluate runs/mrpc/bundle/onnxruntime --data MRPC/dev.tsv --glue MRPC
    """
    config = DataConfig(path=data, text=text_column, pair=pair_column, image=image_column, label=label_column)
    with working(quiet) as progress:
        from edgesmith.cli.evaluation import evaluate_bundle

        found = evaluate_bundle(bundle, config, progress)
    told = found.glue_line(glue) if glue else found.line()
    click.echo(json_text(found) if as_json else told)


@main.command()
@click.option(
    "--matrix", is_flag=True, help="Print what works with what instead: family x runtime x precision."
)
@talk_options
def doctor(matrix: bool, as_json: bool, quiet: bool) -> None:
    """Look at this machine and at what is installed, and say what is missing.

    The exit code is 0 where `compress` can run and 3 where it cannot.

    \b
    Example:
      edgesmith doctor
      edgesmith doctor --matrix
    """
    if matrix:
        _show_matrix(as_json)
        return
    from edgesmith.cli.doctor import check_up

    found = check_up(Path.cwd())
    if as_json:
        click.echo(json_text(found))
    elif not quiet:
        click.echo("\n".join(found.lines()))
    if found.obstacles:
        raise UnsupportedError(f"compress cannot run: {' '.join(found.obstacles)}")


main.add_command(targets)
main.add_command(analyze)
main.add_command(recommend)
main.add_command(bench)
main.add_command(models)
main.add_command(compare)
main.add_command(finetune)
main.add_command(distill)
main.add_command(prune)
main.add_command(sensitivity)
main.add_command(quantize)
main.add_command(strings)
main.add_command(export)


def _show_matrix(as_json: bool) -> None:
    from edgesmith.targets import support_matrix

    if as_json:
        click.echo(json_text(support_matrix()))
        return
    from rich.console import Console

    from edgesmith.report.support import matrix, tasks
    from edgesmith.report.terminal import print_table

    for table in (matrix(), tasks()):
        print_table(table, Console())


def _compress(recipe: Recipe, output: Path | None, as_json: bool, quiet: bool) -> None:
    folder = output or default_output(recipe)
    with working(quiet) as progress:
        from edgesmith import pipeline

        verdict = pipeline.compress(recipe, folder, progress)
    _show(verdict, folder, as_json, quiet)
    if not verdict.passed:
        reasons = [failed.message for failed in verdict.failed_budgets] + list(verdict.failed_guards)
        best = folder / verdict.bundle
        raise BudgetError(f"budget not met: {'; '.join(reasons)} The best artifact found is in {best}.")


def _show(verdict: Verdict, run: Path, as_json: bool, quiet: bool) -> None:
    if as_json:
        click.echo(json_text(verdict))
    elif quiet:
        click.echo(f"{'PASS' if verdict.passed else 'FAIL'} {run}")
    else:
        from rich.console import Console

        from edgesmith.report.load import load_run
        from edgesmith.report.terminal import print_report

        print_report(load_run(run), Console())
