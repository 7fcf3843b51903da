"""Latencies that steps of a recipe ask for: predicted in one place, and told as predictions."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from fixtures_targets import calibrated

from edgesmith.analyze.latency import LatencyModel
from edgesmith.pipeline import analysis, cutting, prediction, quantizing
from edgesmith.recipe import Budget, DataConfig, Recipe, SearchConfig
from edgesmith.records import Candidate, EncoderShape, find_zoo_model
from edgesmith.search.structure import Effort, ladder, try_candidates
from edgesmith.targets import load_target, save_target


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    save_target(calibrated(), tmp_path / "mine.yaml")
    return Recipe(model="m", data=DataConfig(path="d"), target=str(tmp_path / "mine.yaml"))


def test_the_three_steps_ask_the_same_callable(recipe):
    assert {one.latency_model for one in (analysis, cutting, quantizing)} == {prediction.latency_model}
    asked = prediction.latency_model(recipe, 32)
    assert asked == LatencyModel(target=load_target(recipe.target), tokens=32, threads=1)


def test_a_search_under_a_latency_keeps_a_structure_that_meets_it(recipe):
    """By prediction: what is left out says so, and nothing calls it measured."""
    teacher = find_zoo_model("tinybert-4").shape
    assert isinstance(teacher, EncoderShape)
    rungs = ladder(teacher, teacher.vocab)
    bench = SimpleNamespace(recipe=recipe, student_validation_rows=SimpleNamespace(lengths=[20, 28]))
    latency_ms = analysis._predict(bench, {name: shape for name, (_, shape) in rungs.items()})
    asked = prediction.latency_model(recipe, 24)
    assert latency_ms == {name: asked(shape, "int8") for name, (_, shape) in rungs.items()}
    candidates = [
        Candidate(
            name=name,
            structure=structure,
            shape=shape,
            size_bytes=10**6,
            latency_ms=latency_ms[name],
            latency_is_measured=False,
        )
        for name, (structure, shape) in rungs.items()
    ]
    limit_ms = latency_ms["medium"]
    tried = try_candidates(
        candidates,
        Budget(max_latency_ms=limit_ms),
        Effort(trial_steps=1, full_steps=1),
        trial=lambda _: 0.5,
        bounds=SearchConfig(),
        overhead_bytes=0,
    )
    kept = [one for one in tried if one.trial_drop is not None]
    assert kept and all(asked(one.shape, "int8") <= limit_ms for one in kept)
    left = [one for one in tried if one.trial_drop is None]
    assert left and all(
        "not tried: predicted " in one.decision and "over the limit" in one.decision for one in left
    )


def test_candidates_are_timed_here_where_nothing_was_measured_there(recipe):
    assert analysis.predicts(recipe)
    assert "predicted for" in next(analysis._origin(recipe))
    other = Recipe(model="m", data=DataConfig(path="d"), target="raspberry-pi-5")
    assert not analysis.predicts(other)
    assert "timed on this machine: no rates were measured on raspberry-pi-5" in next(analysis._origin(other))
    here = Recipe(model="m", data=DataConfig(path="d"))
    assert not analysis.predicts(here) and list(analysis._origin(here)) == []
