"""A plan that loses too much is trained: a small model whose FFNs vanish under one scale for many weights, and real texts."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from fixtures_pipeline import Listener
from fixtures_text import minilm_folder
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from edgesmith.cli import main
from edgesmith.export.onnxruntime import read_back
from edgesmith.models import CompactBertForSequenceClassification
from edgesmith.models.device import prepare_torch
from edgesmith.models.families import check_has_compact_form
from edgesmith.pipeline import quantize
from edgesmith.pipeline.artifacts import export_student
from edgesmith.pipeline.bench import MODEL_FOLDER, Workbench
from edgesmith.pipeline.precision import quantize as plan_student
from edgesmith.pipeline.precision import trained_folder
from edgesmith.pipeline.tasks import open_finetuned
from edgesmith.recipe import Budget, DataConfig, PrecisionConfig, QatConfig, QuantizeConfig, Recipe
from edgesmith.records import Quantization, read_json

LENGTH = 16
TRAINING = QatConfig(epochs=8, learning_rate=2e-3, evaluations=2, augmented_rows=0.0)
STEPS, FIRST_CHECKPOINT = 104, 52  # about 400 rows by 32, eight times


@pytest.fixture(scope="module")
def lossy(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A model of random weights, and the texts with its own answers as labels: what it loses is what changes.

    In each FFN every 32nd neuron is always 0, so that its outgoing weights, far larger than the others, count for nothing in
    FP32; under one scale for them and others, the others become 0.
    """
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    config = BertConfig(vocab_size=30522, max_position_embeddings=LENGTH, initializer_range=0.1, **sizes)
    model, tokenizer = (
        BertForSequenceClassification(config).eval(),
        AutoTokenizer.from_pretrained(minilm_folder()),
    )
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            layer.intermediate.dense.bias[::32] = -1e3  # GELU makes it 0
            layer.output.dense.weight[:, ::32] = (
                120.0  # half a step of 8 bits is 0.47, more than 4 standard deviations
            )
    folder = tmp_path_factory.mktemp("lossy")
    rows = {}
    for split in ("train", "validation", "test"):
        with open(data / f"{split}.csv", encoding="utf-8", newline="") as file:
            texts = [" ".join(row["text"].split()[:8]) for row in csv.DictReader(file)]
        if split == "validation":  # words that are trained on, in another order
            texts = [" ".join(reversed(text.split())) for text in rows["train"][0][:100]]
        inputs = tokenizer(texts, truncation=True, max_length=LENGTH, padding=True, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits
        rows[split] = texts, logits[:, 1] - logits[:, 0]
    middle = rows["train"][1].median()
    with torch.no_grad():
        model.classifier.bias[0] += middle  # both answers are as frequent
    (folder / "data").mkdir()
    for split, (texts, margins) in rows.items():
        with open(folder / "data" / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows(zip(texts, (margins > middle).int().tolist(), strict=True))
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return Recipe(
        model=str(folder / "model"),
        data=DataConfig(path=str(folder / "data"), max_length=LENGTH),
        budget=Budget(max_drop=0.02),
    )


def precision(**changes: object) -> PrecisionConfig:
    return PrecisionConfig(uniform="int4", calibration_rows=24, **changes)


@pytest.fixture(scope="module")
def trained(lossy: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Quantization]:
    folder = tmp_path_factory.mktemp("trained") / "out"
    return folder, quantize(lossy, precision(training=TRAINING), folder, Listener())


def test_a_plan_that_loses_too_much_is_trained(trained: tuple[Path, Quantization], lossy: Recipe) -> None:
    folder, found = trained
    training = found.training
    assert training is not None and training.is_kept
    assert (training.steps, training.epochs) == (STEPS, 8)
    assert training.before == found.trials[-1].drop > lossy.budget.max_drop
    assert training.after < 0.75 * training.before
    assert training.wall_s > 0
    assert not [path for path in folder.parent.iterdir() if path != folder]  # no checkpoints stay


def test_the_file_holds_what_was_trained(trained: tuple[Path, Quantization]) -> None:
    """30 dB is an error of a thirtieth of the logits: INT4 of both sides, summed in another order."""
    folder, found = trained
    assert read_back(folder / found.bundle / "model.onnx", found.plan)
    assert found.sqnr_db is not None and found.sqnr_db > 30
    assert found.drop == pytest.approx(found.reference - found.quality)
    assert found.drop < 0.75 * found.training.before
    model = CompactBertForSequenceClassification.from_pretrained(folder / MODEL_FOLDER)
    assert model.config.hidden_size == 64


def test_the_page_tells_what_training_changed(trained: tuple[Path, Quantization]) -> None:
    folder, found = trained
    page = (folder / "quantization.md").read_text(encoding="utf-8")
    assert f"| the best plan | {100 * found.training.before:.2f} points |" in page
    assert f"| after training it | {100 * found.training.after:.2f} points |" in page
    assert f"8 epochs of {found.training.rows} training rows, {STEPS} steps" in page
    assert "on 76 validation rows, others than those that layers were measured on" in page
    assert read_json(Quantization, folder / "quantization.json") == found


def test_without_training_all_is_as_it_was(
    trained: tuple[Path, Quantization], lossy: Recipe, tmp_path: Path
) -> None:
    found = quantize(lossy, precision(), tmp_path / "out", Listener())
    assert found.training is None and not found.passed
    schemes = [[(entry.layer, entry.scheme) for entry in one.plan.layers] for one in (found, trained[1])]
    assert schemes[0] == schemes[1]
    assert not (tmp_path / "out" / MODEL_FOLDER).exists()


def test_a_plan_inside_the_drop_is_not_trained(lossy: Recipe, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main,
        ["quantize", lossy.model, "--data", lossy.data.path, "--max-length", str(LENGTH), "--rows", "80", "--uniform", "int4",
         "--max-drop", "99%", "--train", "1", "-o", str(tmp_path / "out"), "--json"],
    )  # fmt: skip
    assert done.exit_code == 4, done.stderr  # the guard against weights that vanish speaks
    found = json.loads(done.stdout)
    assert found["training"] is None and found["drop"] <= 0.99
    assert (found["tried_rows"], found["tries_others"]) == (100, False)  # 20 others are too few
    page = (tmp_path / "out" / "quantization.md").read_text(encoding="utf-8")
    assert "with those that layers were measured on, since there are too few others" in page


class Killed(Listener):
    """Pulls the plug at a step of the training."""

    title = ""

    def start(self, title: str, total: int) -> None:
        self.title = title

    def advance(self, done: int, note: str = "") -> None:
        if self.title == "training the plan" and done == FIRST_CHECKPOINT + 5:
            raise KeyboardInterrupt


def test_a_training_that_was_stopped_goes_on(
    trained: tuple[Path, Quantization], lossy: Recipe, tmp_path: Path
) -> None:
    whole, out, heard = trained[0], tmp_path / "out", Listener()
    with pytest.raises(KeyboardInterrupt):
        quantize(lossy, precision(training=TRAINING), out, Killed())
    assert not out.exists()
    found = quantize(lossy, precision(training=TRAINING), out, heard)
    assert f"training the plan: going on from checkpoint-{FIRST_CHECKPOINT}" in heard.lines
    assert replace(found.training, wall_s=0.0) == replace(trained[1].training, wall_s=0.0)
    weights = [load_file(folder / MODEL_FOLDER / "model.safetensors") for folder in (out, whole)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--uniform", "fp32", "--train", "1"], "Leave --train out, or type: --uniform int8-static"),
        (["--uniform", "fp16", "--train", "0.5"], "training is of 0.5 epochs, and uniform is fp16"),
        (["--train", "-1"], "epochs is -1.0; allowed: 0 or more"),
    ],
)
def test_trainings_that_make_no_sense(options: list[str], text: str, tmp_path: Path) -> None:
    arguments = [
        "quantize",
        str(tmp_path / "nowhere"),
        "--data",
        str(tmp_path),
        "-o",
        str(tmp_path / "out"),
        *options,
    ]
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert text in done.stderr


# ---- in compress


@pytest.fixture(scope="module")
def bench(lossy: Recipe) -> Workbench:
    """INT8 for every linear layer, whatever it costs."""
    prepare_torch()
    config = QuantizeConfig(calibration_rows=16, max_divergence=1e6, recovery=TRAINING)
    recipe = replace(lossy, quantize=config)
    opened = open_finetuned(recipe, check_has_compact_form)
    return Workbench(recipe, opened.modality, opened.model, Path(recipe.model), Listener())


@pytest.fixture(scope="module")
def student(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a step that left the whole model without the tokens that no training text has; validation texts have none."""
    folder = tmp_path_factory.mktemp("student")
    model, _ = bench.modality.trim(bench.teacher, bench.structure("full"))
    bench.modality.save(model, folder / MODEL_FOLDER, trimmed=True)
    return folder


def test_a_students_plan_that_misses_the_budget_is_trained_and_exported(
    bench: Workbench, student: Path, tmp_path: Path
) -> None:
    result = plan_student(bench, student / MODEL_FOLDER, tmp_path)
    training = result.facts["runtimes"]["onnxruntime"]["training"]
    assert training.is_kept and training.after < training.before
    assert f"so it was trained for {STEPS} steps" in result.reasons[-1]
    again = plan_student(bench, student / MODEL_FOLDER, tmp_path)  # as after a stop
    assert again.facts["runtimes"]["onnxruntime"]["training"] == training
    (tmp_path / "export").mkdir()
    exported = export_student(bench, "onnxruntime", student, tmp_path, tmp_path / "export")
    assert exported.facts["drop"] == pytest.approx(training.after, abs=0.03)  # 3 of 100 rows


@pytest.mark.parametrize(("max_drop", "epochs"), [(0.9, 6.0), (0.0, 0.0)])
def test_one_that_keeps_it_is_not_and_none_without_epochs(
    bench: Workbench, student: Path, tmp_path: Path, max_drop: float, epochs: float
) -> None:
    config = replace(bench.recipe.quantize, recovery=replace(TRAINING, epochs=epochs))
    recipe = replace(bench.recipe, budget=Budget(max_drop=max_drop), quantize=config)
    result = plan_student(replace(bench, recipe=recipe), student / MODEL_FOLDER, tmp_path)
    assert result.facts["runtimes"]["onnxruntime"]["training"] is None
    assert not trained_folder(tmp_path, "onnxruntime").exists()
