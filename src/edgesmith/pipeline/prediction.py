"""What is predicted of models on devices: `edgesmith analyze`, and the latencies that other steps ask for."""

from __future__ import annotations

from edgesmith.analyze.analysis import analyze, ask
from edgesmith.analyze.latency import LatencyModel
from edgesmith.analyze.operators import Shape
from edgesmith.models.coupling import prunable_shape
from edgesmith.models.load import load_config
from edgesmith.recipe import Recipe
from edgesmith.records import known_shape
from edgesmith.records.analysis import Analysis
from edgesmith.targets import HOST, load_target


def model_shape(model: str) -> Shape:
    """The sizes of a model, from its config alone.

    Args:
        model: local folder, hub id, or a name of the zoo or the vision zoo.

    Raises:
        ModelError: no config there.
        UnsupportedError: a family that is not known.
    """
    return known_shape(model) or prunable_shape(load_config(model))


def latency_model(recipe: Recipe, tokens: int) -> LatencyModel:
    """What a recipe's steps ask for latencies on its target; they are predicted, by rates that were measured there.

    Args:
        tokens: of a text.

    Raises:
        RecipeError: an unknown target.
        UnsupportedError: no rates were measured on it.
    """
    return LatencyModel(target=load_target(recipe.target), tokens=tokens, threads=recipe.validate.threads)


def predict_model(
    model: str,
    *,
    target: str = HOST,
    unit: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    length: int | None = None,
    deadline_ms: float | None = None,
) -> Analysis:
    """Costs of a model by layer, and its predicted latency, energy and memory on a device.

    Args:
        model: as for `model_shape`.
        target: name of a profile, or a file of one.
        unit, precision: None for every one that the profile knows.
        threads: cores that compute; None for all.
        length: of a text in tokens; None for 128.
        deadline_ms: what has to answer in this time.

    Raises:
        RecipeError: an unknown target or unit, or a length or number of threads that is not possible.
        UnsupportedError: a precision that the unit does not execute, or a family that is not known.
        ModelError: no config there.
    """
    device = load_target(target)
    question = ask(model_shape(model), device, length=length, unit=unit, precision=precision, threads=threads)
    return analyze(question, model=model, deadline_ms=deadline_ms)
