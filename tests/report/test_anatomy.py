"""Bytes by component: formulas from the fixture's shapes, and sums that are the files."""

from dataclasses import replace
from math import prod

import pytest

from edgesmith.records import Plan
from edgesmith.report.anatomy import anatomy, components
from edgesmith.report.load import load_run


def test_components_are_counted_from_tensors_and_plan(write_run):
    shapes = {name: prod(shape) for name, shape in write_run.tensors.items()}
    found = {part.name: part.artifact_bytes for part in components(load_run(write_run()))}
    words = 1 * shapes["embeddings.word.weight"] + 4 * shapes["embeddings.projection.weight"]  # int8, fp32
    assert found["word embeddings"] == words
    assert found["other embeddings"] == 4 * (64 * 384 + 384)
    assert found["attention"] == 4 * (384 * 192 + 384)
    assert found["FFN"] == 2 * 384 * 700 + 4 * 384  # the plan keeps its weight in fp16
    assert found["head"] == 4 * 2 * 384


def test_two_int4_weights_share_a_byte(write_run):
    run = load_run(write_run())
    halved = Plan(layers=tuple(replace(entry, weight="int4") for entry in run.plan.layers))
    found = {part.name: part.artifact_bytes for part in components(replace(run, plan=halved))}
    assert found["FFN"] == 384 * 700 // 2 + 4 * 384


def test_the_teacher_has_four_bytes_a_parameter(write_run):
    parts = write_run.parts
    found = {part.name: part.teacher_bytes for part in components(load_run(write_run()))}
    assert found["word embeddings"] == 4 * parts["word embeddings"]
    assert found["attention"] == 4 * (parts["layer 0 attention"] + parts["layer 1 attention"])
    assert found["FFN"] == 4 * (parts["layer 0 FFN"] + parts["layer 1 FFN"])


def test_components_add_up_to_both_files(write_run):
    run = load_run(write_run())
    assert sum(part.teacher_bytes for part in components(run)) == run.verdict.baseline_size_bytes
    assert sum(part.artifact_bytes for part in components(run)) == run.verdict.model_size_bytes
    assert anatomy(run).rows[-1] == (
        "the whole file",
        "90.88 MB",
        "2.01 MB",
        f"{90_876_543 / 2_012_345:.2f}x",
    )


@pytest.mark.parametrize("changes", [{"has_weights": False}, {"model_size_bytes": 1_000}])
def test_no_number_is_made_up(write_run, changes):
    run = load_run(write_run(**changes))
    assert components(run) == []
    assert anatomy(run).rows == ()


def test_a_component_that_neither_has_is_left_out(write_run):
    parts = {name: count for name, count in write_run.parts.items() if name != "word embeddings"}
    facts = {"parts": [{"name": name, "parameters": count} for name, count in parts.items()]}
    analysis = write_run.step("analyze", **facts, teacher_validation_quality=0.9)
    run = load_run(write_run(steps={"01-analyze": analysis}))
    words = ("embeddings.word", "embeddings.projection")
    tensors = {name: shape for name, shape in run.tensors.items() if not name.startswith(words)}
    found = components(replace(run, tensors=tensors))
    assert [part.name for part in found][:2] == ["other embeddings", "attention"]
