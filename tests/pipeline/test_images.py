"""One whole run on images: what it leaves, and that the bundle answers on its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from bundle_checks import link_packages, run_alone
from fixtures_images import DIGIT_ROWS
from fixtures_pipeline import CHILD, FinishedRun, Listener, add_litert, predictions

from edgesmith.cli.evaluation import evaluate_bundle
from edgesmith.pipeline import compress, plan
from edgesmith.pipeline.prepared import prepare
from edgesmith.recipe import DataConfig, Recipe, SearchConfig
from edgesmith.records import SilentProgress
from edgesmith.runtime import load_bundle, open_bundle

pytest.importorskip("PIL", reason="the extra `vision` is not installed")
import PIL.Image


@pytest.fixture(scope="module")
def run(image_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    path, heard = tmp_path_factory.mktemp("runs") / "images", Listener()
    return FinishedRun(image_recipe, path, compress(image_recipe, path, heard), heard)


def test_the_model_is_written_for_core_ml(run: FinishedRun, tmp_path: Path) -> None:
    if find_spec("coremltools") is None:
        pytest.skip("the extra `coreml` is not installed")
    path = tmp_path / "digits.mlpackage"
    found = prepare(run.path, "coreml", path, None, SilentProgress())
    assert [(spec.name, spec.shape) for spec in found.file.inputs] == [("pixel_values", (1, 3, 16, 16))]
    assert "int8 per_channel" in found.file.stored.values()


def test_the_verdict_is_pass(run: FinishedRun) -> None:
    verdict = run.verdict
    assert verdict.passed, (verdict.failed_budgets, verdict.failed_guards)
    assert (verdict.task, verdict.n_test) == ("image-classification", DIGIT_ROWS["test"])
    assert verdict.teacher > 0.7  # chance is 0.1
    assert 0.7 < verdict.bow_baseline < 1  # pixels of a digit are easy
    assert verdict.size_ratio > 4


def test_the_steps_are_those_of_texts(run: FinishedRun) -> None:
    assert run.heard.begun == [
        *(
            "00-finetune/seed-0",
            "00-teacher",
            "01-analyze",
            "02-distill/trial-tiny",
            "02-distill/1-layers",
            "03-prune/tiny",
        ),
        *("04-quantize/tiny", "05-export/tiny-onnxruntime", "05-settings"),
        *("05-export/baseline-onnxruntime", "06-validate"),
    ]


def test_the_bundle_holds_no_tokenizer(run: FinishedRun) -> None:
    bundle = run.path / run.verdict.bundle
    assert {file.name for file in bundle.iterdir()} == {
        "manifest.json",
        "manifest.json.sha256",
        "model.onnx",
        "run.py",
    }


def test_the_bundle_answers_on_its_own_as_it_did_in_the_run(run: FinishedRun, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(run.path / run.verdict.bundle, tmp_path / "on the device"))
    rows = predictions(run.path)
    listing = tmp_path / "images.txt"
    listing.write_text("".join(f"{row['image']}\n" for row in rows))
    command = [sys.executable, str(bundle / "run.py")]
    done = subprocess.run(
        [*command, "--file", str(listing)], env=CHILD, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [row["artifact"] for row in rows]
    one = subprocess.run([*command, rows[0]["image"]], env=CHILD, capture_output=True, text=True, check=True)
    assert one.stdout.split("\t")[0] == rows[0]["artifact"]


def test_the_bundle_is_evaluated_on_a_folder(run: FinishedRun, image_recipe: Recipe) -> None:
    bundle = run.path / run.verdict.bundle
    found = evaluate_bundle(bundle, DataConfig(path=image_recipe.data.path), SilentProgress())
    assert (found.metrics["accuracy"], found.n) == (run.verdict.artifact, DIGIT_ROWS["test"])


def test_every_model_opens_with_from_pretrained(run: FinishedRun) -> None:
    folders = [
        str(run.path / step / "model")
        for step in ("00-finetune/seed-0", "02-distill/1-layers", "03-prune/tiny")
    ]
    script = """
import sys, PIL.Image, edgesmith.models
from transformers import AutoImageProcessor, AutoModelForImageClassification
image = PIL.Image.open(sys.argv[1]).convert("RGB")
for folder in sys.argv[2:]:
    model, processor = AutoModelForImageClassification.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
    print(model.config.id2label[int(model(**processor(image, return_tensors="pt")).logits.argmax())])
"""
    row = next(row for row in predictions(run.path) if row["teacher"] == row["artifact"])
    done = subprocess.run(
        [sys.executable, "-c", script, row["image"], *folders],
        env=CHILD,
        capture_output=True,
        text=True,
        check=True,
    )
    labels = done.stdout.split()
    assert len(labels) == 3
    assert (labels[0], labels[2]) == (row["teacher"], row["artifact"])


def test_the_report_names_the_baseline_and_the_packages(run: FinishedRun) -> None:
    report = (run.path / "report.md").read_text(encoding="utf-8")
    assert "logistic regression on 8 x 8 pixels" in report
    assert "pip install numpy pillow onnxruntime" in report
    assert "images of 17 tokens" in report
    assert "bag of words" not in report


def test_a_second_call_does_nothing_again(run: FinishedRun) -> None:
    heard = Listener()
    assert compress(run.recipe, run.path, heard) == run.verdict
    assert heard.done == ()


def test_the_plan_counts_without_training(image_recipe: Recipe) -> None:
    outlook = plan(replace(image_recipe, search=SearchConfig()), SilentProgress())
    assert outlook.needs_finetuning
    assert outlook.candidates["full"]["macs_ratio"] == 1


def test_a_bundle_of_images_takes_one_image_or_many(run: FinishedRun) -> None:
    rows = predictions(run.path)[:3]
    with load_bundle(run.path / run.verdict.bundle) as predictor:
        many = predictor.predict([row["image"] for row in rows])
        one = predictor.predict(Path(rows[0]["image"]).read_bytes())
    assert [answer.label for answer in many] == [row["artifact"] for row in rows]
    assert one == many[:1]


def test_litert_is_added_to_a_finished_run(run: FinishedRun, tmp_path: Path) -> None:
    """Its bundle labels the test rows as it did in the run, and a JPEG beside nothing but what a device has."""
    litert = add_litert(run, tmp_path)
    bundle, rows = litert.path / litert.verdict.bundle, predictions(litert.path, "litert")
    assert litert.verdict.artifact == pytest.approx(run.verdict.artifact, abs=0.05)
    assert litert.verdict.size_ratio > 4
    assert {entry.weight for entry in open_bundle(bundle).manifest.plan.layers} >= {"int8", "fp16"}
    (tmp_path / "device").mkdir()
    packages = link_packages(
        tmp_path / "device", ("numpy", "numpy.libs", "PIL", "pillow.libs", "ai_edge_litert")
    )
    listing = tmp_path / "images.txt"
    listing.write_text("".join(f"{row['image']}\n" for row in rows))
    done = run_alone(packages, bundle, "--file", str(listing))
    assert done.stdout.splitlines() == [row["artifact"] for row in rows], done.stderr
    photo = tmp_path / "photo.jpg"
    PIL.Image.open(rows[0]["image"]).convert("RGB").resize((120, 90)).save(photo)
    with load_bundle(bundle) as predictor:
        (answer,) = predictor.predict(photo)
    assert json.loads(run_alone(packages, bundle, "--json", str(photo)).stdout) == vars(answer)
