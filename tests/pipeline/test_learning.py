"""`edgesmith finetune` and `edgesmith distill` from end to end, on a small model and a few hundred real rows."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from fixtures_models import tiny_mobilebert
from fixtures_pipeline import Listener
from fixtures_text import minilm_folder
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    MobileBertForSequenceClassification,
)

from edgesmith import pipeline
from edgesmith.cli import main
from edgesmith.compress import training
from edgesmith.errors import ModelError, RecipeError, UnsupportedError
from edgesmith.models import CompactBertForSequenceClassification
from edgesmith.pipeline import distill, finetune
from edgesmith.recipe import GeneralConfig, Recipe, StudentConfig
from edgesmith.records import ZOO, BottleneckShape, StepRecord, Training, from_dict, read_json

WEIGHTS = "model.safetensors"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in arguments], prog_name="edgesmith")


@pytest.fixture(scope="module")
def tuned(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Training]:
    """The small model without a head, after `finetune`."""
    out = tmp_path_factory.mktemp("finetune") / "tuned"
    return out, finetune(recipe, out, Listener())


@pytest.fixture
def teaching(recipe: Recipe, tuned: tuple[Path, Training]) -> Recipe:
    """The tuned model as a teacher."""
    return replace(recipe, model=str(tuned[0]))


def small_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same architectures with fewer layers."""
    for name in ("tinybert-4", "mobilebert"):
        model = ZOO[name]
        shape = model.shape
        smaller = (
            {"depth": 2}
            if isinstance(shape, BottleneckShape)
            else {"heads": shape.heads[:2], "neurons": shape.neurons[:2]}
        )
        monkeypatch.setitem(ZOO, name, replace(model, shape=replace(shape, **smaller)))  # fmt: skip


# ---- finetune


def test_a_finetuned_model_is_a_plain_one_that_has_learnt(tuned: tuple[Path, Training]) -> None:
    out, found = tuned
    model = AutoModelForSequenceClassification.from_pretrained(out)
    assert type(model) is BertForSequenceClassification
    assert found.model_class == "BertForSequenceClassification"
    assert AutoTokenizer.from_pretrained(out)("a word")["input_ids"][0] == 101
    assert found.parameters == sum(weight.numel() for weight in model.parameters())
    assert found.quality > 0.75  # 0.5 is chance
    assert found.quality == found.curve[-1][1] and len(found.curve) == 2
    assert found.validation_rows == 100 and found.teacher is None
    assert "new head" in found.start
    record = read_json(StepRecord, out / "step.json")
    assert from_dict(Training, record.facts) == found
    assert record.config["finetune"]["learning_rate"] == 2e-3


def test_a_killed_training_goes_on_to_the_same_weights(
    recipe: Recipe, tuned: tuple[Path, Training], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, progress = tmp_path / "again", Listener()
    whole = training._ProgressCallback.on_step_end

    def stop(self, args, state, control, **more):
        whole(self, args, state, control, **more)
        if state.global_step == 25:
            raise KeyboardInterrupt

    monkeypatch.setattr(training._ProgressCallback, "on_step_end", stop)
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, out, progress)
    assert not out.exists()
    monkeypatch.setattr(training._ProgressCallback, "on_step_end", whole)
    finetune(recipe, out, progress)
    assert any("going on from checkpoint-20" in line for line in progress.lines)
    ours, theirs = load_file(out / WEIGHTS), load_file(tuned[0] / WEIGHTS)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_a_model_of_the_zoo_is_trained_from_random_weights(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_zoo(monkeypatch)
    mine = replace(
        recipe, model="mobilebert", tokenizer=str(minilm_folder()), finetune=replace(recipe.finetune, epochs=0.2)
    )  # fmt: skip
    found = finetune(mine, tmp_path / "mobile", Listener())
    assert found.start == "it started from random weights"
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "mobile")
    assert type(model) is MobileBertForSequenceClassification


# ---- distill


@pytest.mark.parametrize(
    ("student", "kind", "start"),
    [
        (StudentConfig(layers=1), BertForSequenceClassification, "the teacher's weights: layers 2"),
        (StudentConfig(layers=2, hidden=0.5), CompactBertForSequenceClassification, "layers 1, 2; 32 of 64 hidden units"),
        (StudentConfig(rank=16), CompactBertForSequenceClassification, "the word table at rank 16"),
    ],
)  # fmt: skip
def test_students_that_are_cut_from_the_teacher(
    teaching: Recipe, tmp_path: Path, student: StudentConfig, kind: type, start: str
) -> None:
    found = distill(teaching, student, tmp_path / "student", Listener())
    assert found.model_class == kind.__name__
    assert found.start.endswith(start)
    assert found.parameters < found.teacher_parameters
    assert found.macs < found.teacher_macs or student.layers is None
    assert found.quality > 0.75
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "student")
    assert type(model) is kind
    assert model.config.max_position_embeddings == 64  # the teacher's, whatever the recipe's longest input


@pytest.mark.parametrize(("name", "kind"), [("tinybert-4", BertForSequenceClassification), ("mobilebert", MobileBertForSequenceClassification)])  # fmt: skip
def test_any_architecture_of_the_zoo_learns_what_the_teacher_computes(
    teaching: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: type
) -> None:
    small_zoo(monkeypatch)
    mine = replace(
        teaching, distill=replace(teaching.distill, epochs=0.5, embedding_weight=1.0, learning_rate=1e-3)
    )
    heard = Listener()
    found = distill(mine, StudentConfig(model=name), tmp_path / name, heard)
    assert found.start == "it started from random weights"
    width = ZOO[name].shape.hidden
    assert f"warning: the student (2 layers of width {width}) is larger than the teacher (3 of 64), which may have nothing to teach it" in heard.lines  # fmt: skip
    assert type(AutoModelForSequenceClassification.from_pretrained(tmp_path / name)) is kind


def test_a_general_stage_comes_first_and_is_not_done_twice(
    teaching: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text(
        "".join(f"the {noun} of {place}\n" for noun in "abcdefgh" for place in ("oslo", "rome", "bern"))
    )
    general = GeneralConfig(data=str(texts), epochs=1.0, batch_size=8)
    mine = replace(teaching, distill=replace(teaching.distill, epochs=0.5, general=general))
    out, student = tmp_path / "student", StudentConfig(layers=1)

    def stop(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.learning, "_task_work", lambda *_: stop)
        with pytest.raises(KeyboardInterrupt):
            distill(mine, student, out, Listener())
    heard = Listener()
    found = distill(mine, student, out, heard)
    assert any(line.startswith("general stage: already done in") for line in heard.lines)
    assert found.general_loss > 0
    assert not (tmp_path / ".student.partial").exists()


def test_a_student_of_ones_own(teaching: Recipe, tmp_path: Path) -> None:
    torch.manual_seed(5)
    config = BertConfig(vocab_size=30522, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
                        max_position_embeddings=64, num_labels=2)  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path / "own")
    AutoTokenizer.from_pretrained(minilm_folder()).save_pretrained(tmp_path / "own")
    mine = replace(teaching, distill=replace(teaching.distill, epochs=6.0, learning_rate=5e-3))
    found = distill(mine, StudentConfig(model=str(tmp_path / "own")), tmp_path / "student", Listener())
    assert found.start == "it started from its own weights"
    assert found.quality > 0.6


def test_the_command_prints_a_table_and_json(teaching: Recipe, tmp_path: Path) -> None:
    settings = ["--set", "distill.epochs=0.2", "--max-length", 48]
    common = [teaching.model, "--data", teaching.data.path, "--layers", 1, *settings]
    told = call("distill", *common, "-o", tmp_path / "one")
    assert told.exit_code == 0, told.stderr
    assert "Distilled" in told.stdout and "points lost" in told.stdout
    machine = call("distill", *common, "-o", tmp_path / "two", "--json")
    found = json.loads(machine.stdout)
    assert found["teacher"] == teaching.model
    assert found["teacher_quality"] > 0.75


# ---- what is refused


@pytest.mark.parametrize(
    ("student", "words"),
    [
        ({"layers": 9}, "layers is 9; allowed: 1 to 3, which the teacher has."),
        ({"model": "mobilebert"}, "relation_weight is 1, and the student is a MobileBERT"),
        ({"model": "tinybert-4"}, "relation_layer: 7 is out of range; allowed: 0 to 2"),
    ],
)
def test_students_that_cannot_be_taught(
    teaching: Recipe, tmp_path: Path, student: dict[str, object], words: str
) -> None:
    distilling = replace(
        teaching.distill, relation_weight=1.0, relation_layer=7 if "tinybert-4" in student.values() else None
    )
    with pytest.raises(RecipeError, match=words):
        distill(replace(teaching, distill=distilling), StudentConfig(**student), tmp_path / "x", Listener())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("choice", [{}, {"model": "bert-base", "layers": 2}])
def test_a_student_is_named_or_cut(choice: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match="one of both is needed"):
        StudentConfig(**choice)


def test_a_teacher_that_is_not_finetuned(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no trained head for text-classification"):
        distill(recipe, StudentConfig(layers=1), tmp_path / "x", Listener())


def test_a_student_with_another_tokenizer(teaching: Recipe, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(teaching.model, own)
    for name, settings in (
        ("tokenizer.json", ("normalizer", "lowercase")),
        ("tokenizer_config.json", ("do_lower_case",)),
    ):
        read = json.loads((own / name).read_text())
        *parents, last = settings
        place = read[parents[0]] if parents else read
        place[last] = False
        (own / name).write_text(json.dumps(read))
    with pytest.raises(
        ModelError, match=r"student: .*own reads .* as the ids .*; allowed: an encoder with the tokenizer"
    ):
        distill(teaching, StudentConfig(model=str(own)), tmp_path / "x", Listener())


def test_a_student_whose_labels_stand_in_another_order(teaching: Recipe, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(teaching.model, own)
    config = json.loads((own / "config.json").read_text())
    names = config["id2label"]
    config["id2label"] = {"0": names["1"], "1": names["0"]}
    config["label2id"] = {names["1"]: 0, names["0"]: 1}
    (own / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="order"):
        distill(teaching, StudentConfig(model=str(own)), tmp_path / "x", Listener())


def test_a_named_student_for_another_task(teaching: Recipe, tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match="student is tinybert-4; allowed for image-classification: one that is cut"
    ):
        distill(
            replace(teaching, task="image-classification"),
            StudentConfig(model="tinybert-4"),
            tmp_path / "x",
            Listener(),
        )


def test_a_teacher_without_a_compact_form(teaching: Recipe, tmp_path: Path) -> None:
    model = tiny_mobilebert()
    model.save_pretrained(tmp_path / "mobile")
    teaching = replace(teaching, model=str(tmp_path / "mobile"))
    with pytest.raises(UnsupportedError, match="has no compact form"):
        distill(teaching, StudentConfig(layers=1), tmp_path / "x", Listener())


def test_a_folder_that_is_not_empty(teaching: Recipe, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    for work in (
        lambda: finetune(teaching, tmp_path, Listener()),
        lambda: distill(teaching, StudentConfig(layers=1), tmp_path, Listener()),
    ):
        with pytest.raises(RecipeError, match="exists and is not empty"):
            work()


@pytest.mark.parametrize("command", ["finetune", "distill"])
def test_what_the_commands_need(command: str, teaching: Recipe) -> None:
    more = ["--layers", 1] if command == "distill" else []
    assert "Missing option '--data'" in call(command, teaching.model, *more).stderr
    assert "Missing option '-o'" in call(command, teaching.model, "--data", "x.csv", *more).stderr
