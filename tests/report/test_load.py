import json

import pytest

from edgesmith.errors import RecipeError
from edgesmith.records import Plan, read_json, write_json
from edgesmith.report.load import load_run


def test_everything_comes_back(write_run):
    path = write_run()
    run, weights = load_run(path), path / "03-prune/half/model/model.safetensors"
    assert run.verdict.n_test == 2101
    assert run.recipe.budget.max_size_bytes == 8_000_000
    assert run.environment.processor == "Example CPU"
    assert [candidate.name for candidate in run.candidates] == ["wide", "half"]
    assert run.latencies.samples["eager"].p50 == 30.75
    assert run.int8_model_size_bytes == 23_456_789
    assert run.teacher_parts == write_run.parts
    assert run.teacher_validation_quality == 0.9512
    assert run.tensors == write_run.tensors
    assert run.weight_bytes == {"03-prune/half": weights.stat().st_size}


def test_weights_that_were_removed_since_are_not_missed(write_run):
    run = load_run(write_run(has_weights=False))
    assert run.tensors == run.weight_bytes == {}


def test_steps_come_in_order_with_their_candidate(write_run):
    folders = [
        "01-analyze",
        "02-distill/3-layers",
        "02-distill/trial-half",
        "03-prune/half",
        "04-quantize/half",
        "05-export/half-onnxruntime",
        "06-validate",
    ]
    assert list(load_run(write_run()).steps) == folders


def test_plan_is_that_of_the_chosen_candidate(write_run):
    path = write_run()
    other = Plan(layers=())
    write_json(path / "04-quantize" / "wide" / "plan-onnxruntime.json", other)
    expected = read_json(Plan, path / "04-quantize" / "half" / "plan-onnxruntime.json")
    assert load_run(path).plan == expected != other


def test_a_run_without_a_chosen_candidate_has_no_plan(write_run):
    assert load_run(write_run(candidates=())).plan is None


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_that_is_no_run(tmp_path, exists):
    folder = tmp_path / "folder"
    if exists:
        folder.mkdir()
    with pytest.raises(RecipeError, match=r"folder is not a run folder: it has no recipe\.resolved\.yaml"):
        load_run(folder)


def test_a_run_that_is_not_finished(write_run):
    path = write_run()
    (path / "verdict.json").unlink()
    with pytest.raises(RecipeError, match=r"not finished.*01-analyze, 02-distill/3-layers.*edgesmith run"):
        load_run(path)


@pytest.mark.parametrize("name", ["environment.json", "candidates.json"])
@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such file"), ("{", "not valid JSON"), ("3", "expected a")]
)
def test_a_damaged_file_is_named(write_run, name, content, message):
    path = write_run()
    if content is None:
        (path / name).unlink()
    else:
        (path / name).write_text(content)
    with pytest.raises(RecipeError, match=message):
        load_run(path)


def test_a_candidate_with_a_wrong_key_is_named(write_run):
    path = write_run()
    rows = json.loads((path / "candidates.json").read_text())
    rows[1]["sise_bytes"] = 1
    (path / "candidates.json").write_text(json.dumps(rows))
    with pytest.raises(RecipeError, match=r"candidates\.json\[1\]: unknown key 'sise_bytes'"):
        load_run(path)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "facts.runtimes.onnxruntime lack latencies, int8_model_size_bytes; found: none"),
        (
            {"int8_model_size_bytes": "big"},
            "lack latencies, int8_model_size_bytes; found: int8_model_size_bytes",
        ),
        (
            {
                "latencies": {"samples": {}, "rounds": 1, "inputs": 1, "threads": 1},
                "int8_model_size_bytes": 1,
            },
            "samples lack artifact, fp32, int8, eager",
        ),
    ],
)
def test_facts_that_the_report_needs(write_run, facts, message):
    path = write_run(steps={"06-validate": write_run.step("validate", runtimes={"onnxruntime": facts})})
    with pytest.raises(RecipeError, match=message):
        load_run(path)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "facts lack parts, teacher_validation_quality; found: none.*Remove the folder 01-analyze"),
        (
            {"parts": [], "teacher_validation_quality": "high"},
            "lack teacher_validation_quality; found: parts",
        ),
    ],
)
def test_facts_of_the_analysis(write_run, facts, message):
    path = write_run(steps={"01-analyze": write_run.step("analyze", **facts)})
    with pytest.raises(RecipeError, match=message):
        load_run(path)
