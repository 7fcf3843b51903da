"""Recipe -> YAML -> recipe is equal; what makes no sense is refused with what would."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgesmith.errors import RecipeError
from edgesmith.recipe import (
    Budget,
    DataConfig,
    DistillConfig,
    FinetuneConfig,
    GeneralConfig,
    MatchConfig,
    PruneConfig,
    QuantizeConfig,
    Recipe,
    RecoveryConfig,
    SearchConfig,
    TrainingConfig,
    ValidateConfig,
    parse_drop,
    parse_latency,
    parse_size,
)
from edgesmith.records import from_dict

printable = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)
recipes = st.builds(
    Recipe,
    model=printable,
    data=st.builds(
        DataConfig, path=printable, text=st.none() | printable, max_rows=st.none() | st.integers(16)
    ),
    budget=st.builds(
        Budget,
        max_drop=st.floats(0, 0.99),
        max_size_bytes=st.none() | st.integers(1),
        max_latency_ms=st.none() | st.floats(1e-6, 1e9),
        confident=st.booleans(),
    ),
    distill=st.builds(DistillConfig, learning_rate=st.floats(1e-12, 0.5)),
    seed=st.integers(0, 2**32),
    quick=st.booleans(),
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recipe=recipes)
@example(recipe=Recipe(model="m", data=DataConfig(path="a\x85b", text="\u2028 \u2029", label="größe")))
def test_a_recipe_survives_its_file(recipe: Recipe, tmp_path: Path) -> None:
    recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("model: m\ndata: {path: d}\ndistil: {}", "unknown key 'distil'. Did you mean 'distill'"),
        (
            "model: m\ndata: {path: d, label_colum: x}",
            "data: unknown key 'label_colum'. Did you mean 'label'",
        ),
        ("model: m", "the key 'data' is missing"),
        ("model: m\ndata: {path: d}\nversion: 99", "version is 99; allowed: 1"),
        ("model: m\ndata: {path: d}\nruntimes: [tensorrt]", "runtimes\\[0\\]: unknown value 'tensorrt'"),
        ("model: m\ndata: {path: d}\nseed: 1.5", "seed: expected int, got float 1.5"),
        ("model: [", "not valid YAML"),
        ("just a word", "expected a mapping, got str"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(content: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(content)
    with pytest.raises(RecipeError, match=text):
        Recipe.load(tmp_path / "recipe.yaml")


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--save-recipe"):
        Recipe.load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        (Budget, {"max_drop": 1.0}, "max_drop is 1.0"),
        (Budget, {"max_drop": -0.1}, "max_drop is -0.1"),
        (Budget, {"max_size_bytes": 0}, "max_size_bytes is 0"),
        (Budget, {"max_latency_ms": -1.0}, "max_latency_ms is -1.0"),
        (DataConfig, {"path": "d", "max_length": 4}, "max_length is 4; allowed: 8 to 4096"),
        (DataConfig, {"path": "d", "max_rows": 15}, "max_rows is 15; allowed: 16"),
        (TrainingConfig, {"epochs": -1.0}, "epochs is -1.0"),
        (TrainingConfig, {"learning_rate": 0.0}, "learning_rate is 0.0"),
        (TrainingConfig, {"batch_size": 0}, "batch_size is 0"),
        (TrainingConfig, {"warmup": 1.0}, "warmup is 1.0"),
        (TrainingConfig, {"evaluations": 0}, "evaluations is 0"),
        (TrainingConfig, {"patience": 0}, "patience is 0; allowed: 1 or more evaluations, or null"),
        (FinetuneConfig, {"restarts": 0}, "restarts is 0"),
        (FinetuneConfig, {"consistency_weight": -1.0}, "consistency_weight is -1.0; allowed: 0 or more"),
        (DistillConfig, {"temperature": 0.0}, "temperature is 0.0"),
        (DistillConfig, {"hard_label_weight": 1.1}, "hard_label_weight is 1.1"),
        (DistillConfig, {"hidden_weight": -1.0}, "hidden_weight is -1.0"),
        (MatchConfig, {"attention_weight": -1.0}, "attention_weight is -1.0"),
        (MatchConfig, {"embedding_weight": -1.0}, "embedding_weight is -1.0"),
        (MatchConfig, {"relation_weight": -1.0}, "relation_weight is -1.0"),
        (MatchConfig, {"relation_heads": 0}, "relation_heads is 0; allowed: 1 or more"),
        (
            MatchConfig,
            {"relation_layer": -1},
            "relation_layer is -1; allowed: 0 or more, or null for the last",
        ),
        (
            RecoveryConfig,
            {"attention_weight": 0.5},
            "recovery.attention_weight is 0.5; allowed: 0, since a pruned",
        ),
        (GeneralConfig, {"max_rows": 15}, "max_rows is 15; allowed: 16 or more"),
        (GeneralConfig, {"validation_rows": 0}, "validation_rows is 0; allowed: 1 or more"),
        (
            GeneralConfig,
            {"hidden_weight": 0.0, "relation_weight": 0.0},
            "distill.general is 'all weights 0'; allowed: a hidden_weight, ",
        ),
        (PruneConfig, {"importance_rows": 0}, "importance_rows is 0"),
        (PruneConfig, {"min_token_count": 0}, "min_token_count is 0"),
        (PruneConfig, {"vocabulary_size": 0}, "vocabulary_size is 0; allowed: 1 or more tokens, or null"),
        (PruneConfig, {"embedding_energy": 1.0}, "embedding_energy is 1.0; allowed: a share between 0 and 1"),
        (PruneConfig, {"embedding_bytes": 0}, "embedding_bytes is 0; allowed: 1 or more"),
        (
            PruneConfig,
            {"embedding_energy": 0.9, "embedding_bytes": 10**6},
            r"prune.embedding_bytes is \(0.9, 1000000\); allowed: one of them",
        ),
        (QuantizeConfig, {"calibration_rows": 0}, "calibration_rows is 0"),
        (QuantizeConfig, {"max_divergence": -0.1}, "max_divergence is -0.1"),
        (SearchConfig, {"max_trials": 0}, "max_trials is 0"),
        (SearchConfig, {"candidates": ()}, r"candidates is \[\]; allowed: one or several of tiny, small,"),
        (SearchConfig, {"candidates": ("tiny", "tiny")}, "each once"),
        (SearchConfig, {"max_attempts": 0}, "max_attempts is 0"),
        (ValidateConfig, {"rounds": 0}, "rounds is 0"),
    ],
)
def test_a_value_out_of_range_is_refused(kind: type, values: dict[str, object], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        kind(**values)


def test_a_general_stage_of_images_is_refused() -> None:
    config = DistillConfig(general=GeneralConfig(data="corpus.txt"))
    text = "distill.general.data is 'corpus.txt'; allowed: null for image-classification"
    with pytest.raises(RecipeError, match=text):
        Recipe(model="m", data=DataConfig(path="d"), task="image-classification", distill=config)


@pytest.mark.parametrize(
    ("key", "value"), [("vocabulary_size", 100), ("embedding_energy", 0.9), ("embedding_bytes", 100)]
)
def test_a_vocabulary_of_images_is_refused(key: str, value: float) -> None:
    text = f"prune.{key} is {value}; allowed: null for image-classification; images have no tokens"
    with pytest.raises(RecipeError, match=text):
        Recipe(
            model="m",
            data=DataConfig(path="d"),
            task="image-classification",
            prune=PruneConfig(**{key: value}),
        )


def test_a_recovery_has_no_general_stage() -> None:
    with pytest.raises(RecipeError, match=r"prune.recovery: unknown key 'general'"):
        from_dict(Recipe, {"model": "m", "data": {"path": "d"}, "prune": {"recovery": {"general": {}}}})


@pytest.mark.parametrize(
    ("text", "value"), [("1%", 0.01), ("0.01", 0.01), (".5%", 0.005), (" 2 % ", 0.02), ("0", 0)]
)
def test_parse_drop(text: str, value: float) -> None:
    assert parse_drop(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("8MB", 8 * 10**6), ("8mib", 8 * 2**20), ("1.5 kB", 1500), ("2GB", 2 * 10**9), ("7b", 7)],
)
def test_parse_size(text: str, value: int) -> None:
    assert parse_size(text) == value


@pytest.mark.parametrize(("text", "value"), [("10ms", 10.0), ("0.5s", 500.0), ("250us", 0.25)])
def test_parse_latency(text: str, value: float) -> None:
    assert parse_latency(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "MB", "8", "8 apples", "-8MB", "8e6MB", "1,5MB"])
def test_a_size_without_sense_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(RecipeError, match="Example: --max-size 8MB"):
        parse_size(text)


def test_a_saved_recipe_is_plain_yaml(tmp_path: Path) -> None:
    Recipe(model="m", data=DataConfig(path="d")).save(tmp_path / "recipe.yaml")
    plain = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert plain["version"] == 1
    assert plain["budget"] == {
        "max_drop": 0.01,
        "max_size_bytes": None,
        "max_latency_ms": None,
        "confident": False,
    }
