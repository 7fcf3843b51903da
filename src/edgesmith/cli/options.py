"""Options of the commands and how they become a recipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml

from edgesmith.cli.door import set_debug
from edgesmith.errors import RecipeError
from edgesmith.recipe import Recipe, parse_drop, parse_latency, parse_size
from edgesmith.records import METRICS_OF, RUNTIME_NAMES, from_dict, to_dict
from edgesmith.targets import load_target

Command = TypeVar("Command", bound=Callable[..., Any])
Value = TypeVar("Value")

_KEYS = {
    "model": "model",
    "tokenizer": "tokenizer",
    "data": "data.path",
    "text_column": "data.text",
    "pair_column": "data.pair",
    "image_column": "data.image",
    "label_column": "data.label",
    "max_length": "data.max_length",
    "max_rows": "data.max_rows",
    "validation_rows": "data.validation_rows",
    "unlabelled": "data.unlabelled",
    "task": "task",
    "target": "target",
    "runtime": "runtimes",
    "max_drop": "budget.max_drop",
    "max_size": "budget.max_size_bytes",
    "max_latency": "budget.max_latency_ms",
    "metric": "metric",
    "confident": "budget.confident",
    "seed": "seed",
}
"""Option -> the recipe's key."""

QUICK: dict[str, object] = {
    "quick": True,
    "data.max_rows": 1600,
    "finetune.evaluations": 2,
    "distill.epochs": 1.0,
    "distill.evaluations": 2,
    "prune.recovery.evaluations": 4,
    "distill.general.max_rows": 2000,
    "prune.importance_rows": 128,
    "quantize.calibration_rows": 64,
    "search.candidates": ["tiny", "small"],
    "search.max_trials": 2,
    "search.trial_rows": 640,
    "search.max_attempts": 1,
    "validate.inputs": 16,
    "validate.rounds": 5,
}
"""What ``--quick`` sets; every option and every ``--set`` goes before it."""


def names(text: str) -> list[str]:
    """``onnxruntime,litert`` -> both names."""
    return [name.strip() for name in text.split(",") if name.strip()]


def parsed(
    parse: Callable[[str], object],
) -> Callable[[click.Context, click.Parameter, str | None], object]:
    return lambda _ctx, _param, text: None if text is None else parse(text)


_DATA_OPTIONS = (
    click.option(
        "--data",
        help="CSV, TSV, JSONL, Parquet, .conll (words with tags) or SQuAD .json file, a folder of such splits, or of images.",
    ),
    click.option("--task", help=f"What the model does: {', '.join(METRICS_OF)}; the first if left out."),
    click.option("--metric", help="What it is judged by, such as f1; the task's first metric if left out."),
    click.option("--text-column", help="Column of the text, or question; guessed and shown if left out."),
    click.option("--pair-column", help="Column of the second text of pairs, or of the context."),
    click.option("--image-column", help="Column of the image; guessed and shown if left out."),
    click.option(
        "--label-column", help="Column of the label, or of the answers; guessed and shown if left out."
    ),
    click.option("--max-length", type=int, help="Longest input in tokens."),
    click.option("--max-rows", type=int, help="Use at most this many training rows."),
)

_VALIDATION_ROWS = click.option(
    "--validation-rows", type=int, help="Rows to carve where the data have no validation split."
)

_RECIPE_OPTIONS = (
    *_DATA_OPTIONS,
    click.option(
        "--unlabelled",
        metavar="FILE",
        help="More texts, without labels, for students to learn from; the teacher answers them.",
    ),
    click.option("--tokenizer", help="Folder or hub id of one, for a MODEL that `edgesmith models` lists."),
    click.option("--target", help="A device that `edgesmith targets` lists; this machine if left out."),
    click.option(
        "--runtime",
        callback=parsed(names),
        metavar="NAMES",
        help=f"What runs the artifact: {', '.join(RUNTIME_NAMES)}, or several with a comma; the fastest that passes is kept.",
    ),
    click.option("--max-drop", callback=parsed(parse_drop), metavar="LOSS", help="Largest loss, such as 1%."),
    click.option(
        "--max-size", callback=parsed(parse_size), metavar="SIZE", help="Everything loaded, as 8MB."
    ),
    click.option(
        "--max-latency", callback=parsed(parse_latency), metavar="TIME", help="Median, such as 10ms."
    ),
    click.option(
        "--confident", is_flag=True, default=None, help="Ask for the worse end of the 95 % interval."
    ),
    click.option("--quick", is_flag=True, help="A first look on a subset; its verdict is not to be quoted."),
)

_RECIPE_CHANGES = (
    click.option("--seed", type=int, help="Seed of every random choice."),
    click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        help="Any other key of the recipe, such as distill.epochs=3. May be repeated.",
    ),
)

_TALK = (
    click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout and nothing else there."),
    click.option("--quiet", is_flag=True, help="Print the result only."),
    click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=set_debug,
        help="Show tracebacks.",
    ),
)

OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the run; it can be resumed.",
)


def recipe_options(command: Command) -> Command:
    """Every option that becomes part of a recipe."""
    return _decorate(command, _RECIPE_OPTIONS + _RECIPE_CHANGES)


def data_options(command: Command) -> Command:
    """Data and task, for a command that has no other use for a recipe."""
    return _decorate(command, (*_DATA_OPTIONS, _VALIDATION_ROWS))


def recipe_changes(command: Command) -> Command:
    """Options that change a recipe read from a file."""
    return _decorate(command, _RECIPE_CHANGES)


calibrated_target = click.option(
    "--target", help="A calibrated device, by name or file; this machine if left out."
)
"""Of the commands that predict latency by rates that were measured."""


def talk_options(command: Command) -> Command:
    """How much a command says, and in which form."""
    return _decorate(command, _TALK)


def _decorate(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def build_recipe(
    options: Mapping[str, Any], assignments: Sequence[str] = (), base: Recipe | None = None
) -> Recipe:
    """The recipe that `base` and the command line describe; the later word wins: quick, options, ``--set``.

    Raises:
        RecipeError: an unknown key, with its nearest match, or a value that is not allowed.
    """
    recipe: dict[str, Any] = to_dict(base) if base else {}
    given = {key: options.get(option) for option, key in _KEYS.items()}
    changes = (QUICK if options.get("quick") else {}) | {k: v for k, v in given.items() if v is not None}
    for key, value in changes.items():
        _assign(recipe, key, value)
    for assignment in assignments:
        _assign(recipe, *_parse_assignment(assignment))
    built = from_dict(Recipe, recipe)
    load_target(built.target)  # an unknown device is refused before anything runs
    return built


def required(value: Value | None, option: str, told: str = ".") -> Value:
    """The value of an option that a command cannot go without.

    Args:
        told: what follows the option in the error.

    Raises:
        click.UsageError: it is left out.
    """
    if value is None:
        raise click.UsageError(f"Missing option '{option}'{told}")
    return value


def default_output(recipe: Recipe) -> Path:
    """``runs/<model>-<data>``."""
    model, data = Path(recipe.model).resolve(), Path(recipe.data.path).resolve()
    return Path("runs") / f"{model.name}-{data.stem if data.is_file() else data.name}"


def _assign(recipe: dict[str, Any], key: str, value: object) -> None:
    """Sets a dotted key; mappings on the way are made."""
    *parents, last = key.split(".")
    for depth, parent in enumerate(parents, 1):
        recipe = recipe.setdefault(parent, {})
        if not isinstance(recipe, dict):
            place = ".".join(parents[:depth])
            raise RecipeError(
                f"--set {key}: {place} is a value, not a group of keys. Type: --set {place}=..."
            )
    recipe[last] = value


def _parse_assignment(text: str) -> tuple[str, object]:
    """``distill.epochs=3`` -> ("distill.epochs", 3)."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise RecipeError(f"--set is {text!r}; expected KEY=VALUE. Example: --set distill.epochs=3")
    if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value.strip()):
        return key.strip(), float(value)  # YAML takes 5e-5 for a word
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise RecipeError(
            f"--set {key}: {value!r} is not a YAML value. Example: --set distill.epochs=3"
        ) from None
