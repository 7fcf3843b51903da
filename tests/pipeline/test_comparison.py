"""`edgesmith compare`, and models of the zoo where a run names one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fixtures_pipeline import Listener
from fixtures_text import minilm_folder

from edgesmith.cli import main
from edgesmith.errors import ParityError, RecipeError, UnsupportedError
from edgesmith.pipeline import compare, comparison, compress, plan
from edgesmith.recipe import Recipe
from edgesmith.records import RANDOM_WEIGHTS, ZOO, BottleneckShape, SilentProgress, ZooModel

SMALL = ("distilbert", "bert-base", "mobilebert-tiny")
"""One of each family."""


def small(model: ZooModel, depth: int, vocab: int) -> ZooModel:
    """The same architecture with fewer layers and tokens."""
    shape = model.shape
    if isinstance(shape, BottleneckShape):
        return replace(model, shape=replace(shape, depth=depth, vocab=vocab))
    layers = {"heads": shape.heads[:depth], "neurons": shape.neurons[:depth]}
    return replace(model, shape=replace(shape, vocab=vocab, **layers))


@pytest.fixture
def small_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SMALL:
        monkeypatch.setitem(ZOO, name, small(ZOO[name], depth=1, vocab=200))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in arguments], prog_name="edgesmith")


@pytest.mark.usefixtures("small_zoo")
def test_models_are_measured_beside_each_other(tmp_path: Path) -> None:
    file = tmp_path / "compare.json"
    done = call("compare", *SMALL, "--length", 8, "--rounds", 3, "--inputs", 2, "-o", file, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert json.loads(file.read_text()) == found
    assert [row["name"] for row in found["models"]] == list(SMALL)
    assert (found["weights"], found["length"], found["rounds"]) == (RANDOM_WEIGHTS, 8, 3)
    assert RANDOM_WEIGHTS in done.stderr
    for row in found["models"]:
        assert row["fp32_ms"]["n"] == row["int8_ms"]["n"] == 6
        assert row["fp32_bytes"] > 4 * row["parameters"]
        assert row["parameters"] < row["int8_bytes"] < 0.6 * row["fp32_bytes"]
    first = found["models"][0]
    for row in found["models"]:
        assert row["fp32_ratio"] == pytest.approx(first["fp32_ms"]["p50"] / row["fp32_ms"]["p50"])
        assert row["int8_ratio"] == pytest.approx(first["int8_ms"]["p50"] / row["int8_ms"]["p50"])
    assert [row["survey_ratio"] for row in found["models"]] == pytest.approx([1.0, 230 / 580, 230 / 40])


@pytest.mark.usefixtures("small_zoo")
def test_progress_counts_models_and_rounds_and_the_table_is_labelled() -> None:
    heard: list[object] = []

    class Counter(SilentProgress):
        def start(self, title: str, total: int) -> None:
            heard.append((title, total))

        def advance(self, done: int, note: str = "") -> None:
            heard.append(done)

    compare(["mobilebert-tiny"], Counter(), length=2, rounds=2, inputs=1)
    assert heard == [("building and exporting", 1), 1, ("timing", 4), 1, 2, 3, 4]


@pytest.mark.usefixtures("small_zoo")
def test_a_graph_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exported graph is of seed 0, the model it is held against of seed 1."""
    other, real = comparison.build_zoo_model(ZOO["bert-base"], seed=1), comparison._check_graph
    monkeypatch.setattr(comparison, "_check_graph", lambda _, feeds, graph: real(other, feeds, graph))
    with pytest.raises(ParityError, match="differs from the model's"):
        compare(["bert-base"], SilentProgress(), length=8, rounds=1)


@pytest.mark.parametrize("length", [1, 513])
def test_a_length_that_no_model_takes(length: int) -> None:
    with pytest.raises(RecipeError, match=f"length is {length}; allowed: 2 to 512 tokens"):
        compare(["bert-base"], SilentProgress(), length=length)


def test_no_name_at_all() -> None:
    with pytest.raises(RecipeError, match="`edgesmith models` lists them"):
        compare([], SilentProgress())


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_every_model_in_its_full_size_is_exported_and_answers_as_in_torch(name: str) -> None:
    found = compare([name], SilentProgress(), rounds=2, inputs=1)  # refuses a graph that differs
    (model,) = found.models
    assert model.fp32_bytes == pytest.approx(4 * model.parameters, rel=0.05)
    assert model.int8_bytes == pytest.approx(model.parameters, rel=0.15)
    assert model.int8_ms.p50 < model.fp32_ms.p50


# ---- as MODEL


@pytest.fixture
def zoo_recipe(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Compression of a small model that a zoo name stands for."""
    monkeypatch.setitem(ZOO, "tinybert-4", small(ZOO["tinybert-4"], depth=2, vocab=30522))
    return replace(recipe, model="tinybert-4", tokenizer=str(minilm_folder()))


def test_a_plan_says_that_the_weights_are_random(zoo_recipe: Recipe) -> None:
    outlook = plan(zoo_recipe, Listener())
    assert outlook.needs_finetuning
    assert "tinybert-4 is of the zoo: it has random weights" in outlook.notes


@pytest.mark.slow
def test_a_run_says_that_the_weights_were_random(zoo_recipe: Recipe, tmp_path: Path) -> None:
    heard = Listener()
    verdict = compress(zoo_recipe, tmp_path / "run", heard)
    assert "tinybert-4 is of the zoo: it has random weights" in heard.lines
    assert any("the model had random weights, so it was fine-tuned" in line for line in heard.lines)
    assert any("trained from random weights: tinybert-4" in warning for warning in verdict.warnings)
    manifest = json.loads((tmp_path / "run" / verdict.bundle / "manifest.json").read_text())
    assert manifest["provenance"]["model"] == "tinybert-4, from random weights"
    again = Listener()
    compress(zoo_recipe, tmp_path / "run", again)
    assert again.done == ()


def test_a_folder_goes_before_a_zoo_name(
    recipe: Recipe, headed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bert-base").symlink_to(headed)
    assert not plan(replace(recipe, model="bert-base"), Listener()).needs_finetuning


def test_without_a_tokenizer_it_says_what_to_type(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"has no tokenizer. To train it from random weights, type: --tokenizer FOLDER"
    ):
        compress(replace(recipe, model="bert-base"), tmp_path / "run", Listener())
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_for_a_model_that_has_one(recipe: Recipe) -> None:
    with pytest.raises(
        RecipeError, match="has its own; one is given for a model of the zoo only: bert-base, "
    ):
        plan(replace(recipe, tokenizer="somewhere"), Listener())


def test_images_for_a_model_of_texts(recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match="bert-base reads texts; the task is image-classification"):
        plan(replace(recipe, model="bert-base", task="image-classification"), Listener())


def test_mobilebert_is_not_compressed(recipe: Recipe) -> None:
    with pytest.raises(UnsupportedError, match="'mobilebert' has no compact form"):
        plan(replace(recipe, model="mobilebert", tokenizer=str(minilm_folder())), Listener())
