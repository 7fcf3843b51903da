"""`edgesmith prune` from end to end, on the pretrained MiniLM with a head that is fitted to a few hundred real rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from fixtures_images import SIDE, SIZES
from fixtures_targets import calibrated
from fixtures_text import minilm_folder
from sklearn.linear_model import LogisticRegression
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    MobileBertConfig,
    MobileBertForSequenceClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    set_seed,
)

from edgesmith.analyze.cost import macs, parameters
from edgesmith.analyze.latency import LatencyModel
from edgesmith.cli import main
from edgesmith.models import CompactBertForSequenceClassification, load_classifier, shape_of
from edgesmith.models.compact_mobilebert import bottleneck_shape
from edgesmith.pipeline import coupled_groups, prune
from edgesmith.recipe import CutConfig, DataConfig, Recipe
from edgesmith.records import STEP_RECORD_NAME, Pruning, SilentProgress, StepRecord, from_dict, read_json
from edgesmith.targets import save_target

LENGTH = 32


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["prune", *map(str, arguments)], prog_name="edgesmith")


@pytest.fixture(scope="module")
def tuned(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM whose classifier is a logistic regression over its pooled states of the training rows."""
    loaded = load_classifier(str(minilm_folder()), ("0", "1"))
    with open(data / "train.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:160]
    text, label = list(rows[0])[:2]
    model, pooled = loaded.model, []
    handle = model.get_submodule("bert.pooler").register_forward_hook(lambda *call: pooled.append(call[2]))
    with torch.no_grad():
        for start in range(0, len(rows), 32):
            texts = [row[text] for row in rows[start : start + 32]]
            model(
                **loaded.tokenizer(
                    texts, truncation=True, max_length=LENGTH, padding=True, return_tensors="pt"
                )
            )
    handle.remove()
    head = LogisticRegression(C=10.0, max_iter=200).fit(
        torch.cat(pooled).numpy(), [row[label] for row in rows]
    )
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(np.concatenate([-head.coef_, head.coef_]) / 2))
        model.classifier.bias.copy_(torch.from_numpy(np.concatenate([-head.intercept_, head.intercept_]) / 2))
    folder = tmp_path_factory.mktemp("models") / "tuned"
    model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pruned(tuned: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("pruned") / "half"
    done = call(
        tuned, "--data", data, "--max-length", LENGTH, "--macs", "50%", "--rows", 96, "--length", LENGTH, "-o", folder, "--json"
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    return folder, done


def test_a_pruned_model_opens_and_costs_what_the_record_says(tuned, pruned):
    folder, done = pruned
    found = from_dict(Pruning, json.loads(done.stdout))
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    shape, whole = shape_of(model.config), shape_of(load_classifier(str(tuned)).model.config)
    assert type(model) is CompactBertForSequenceClassification
    assert type(model).__name__ == found.model_class
    assert len(AutoTokenizer.from_pretrained(folder)) == whole.vocab
    assert found.parameters_after == parameters(shape) == sum(each.numel() for each in model.parameters())
    assert found.parameters_before == parameters(whole)
    assert (found.macs_before, found.macs_after) == (macs(whole, LENGTH), macs(shape, LENGTH))
    assert 0.49 < found.macs_after / found.macs_before <= 0.5
    assert all(count % 16 == 0 for count in shape.neurons) and min(shape.heads) >= 1
    assert sum(shape.heads) < sum(whole.heads) or sum(shape.neurons) < sum(whole.neurons)
    record = read_json(StepRecord, folder / STEP_RECORD_NAME)
    assert record.step == "prune" and from_dict(Pruning, record.facts) == found


def test_its_macs_are_those_that_torch_counts(pruned):
    """Torch counts 2 operations a MAC; the hidden states are asked for, so that the last layer computes every token."""
    model = AutoModelForSequenceClassification.from_pretrained(pruned[0]).eval()
    ids = torch.ones(1, LENGTH, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids, output_hidden_states=True)
    assert counter.get_total_flops() == 2 * macs(shape_of(model.config), LENGTH)


def test_every_stage_is_measured_and_what_stays_is_told(pruned):
    found = from_dict(Pruning, json.loads(pruned[1].stdout))
    assert list(found.quality) == ["before", "search", "rearrangement", "tuning"]
    assert found.agreement["before"] == 1 and found.validation_rows == 100
    assert found.quality["before"] > 0.7  # or there would be nothing to lose
    assert found.agreement["tuning"] > 0.7
    assert [kept.name for kept in found.kept[:2]] == ["layer 0 heads", "layer 0 neurons"]
    assert all(len(kept.indices) <= kept.units and kept.scales for kept in found.kept)
    assert set(found.wall_s) == {"importance", "search", "rearrangement", "tuning", "evaluation"}


def test_layers_leave_a_plain_model_and_the_tables_are_printed(tuned, data, tmp_path):
    folder = tmp_path / "shallow"
    done = call(
        tuned, "--data", data, "--max-length", LENGTH, "--parameters", "85%", "--units", "layers", "--rows", 16, "-o", folder
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert type(model).__name__ == "BertForSequenceClassification"
    assert model.config.num_hidden_layers == 4  # a layer is 7.8 %
    assert "4 of 6" in done.stdout and "after the search" in done.stdout and "after tuning" not in done.stdout
    again = call(tuned, "--data", data, "--macs", "50%", "-o", folder)
    assert again.exit_code == 2 and "exists and is not empty" in again.stderr


def test_limits_under_which_nothing_would_be_left(tuned, data, tmp_path):
    done = call(
        tuned, "--data", data, "--max-length", LENGTH, "--macs", "1%", "--importance", "magnitude", "-o", tmp_path / "none"
    )  # fmt: skip
    assert done.exit_code == 2
    assert "--macs 1% would leave nothing in some layer" in done.stderr and "Type: --macs" in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """The profile of a machine whose rates are formulas."""
    save_target(calibrated(), tmp_path / "mine.yaml")
    return tmp_path / "mine.yaml"


@pytest.mark.parametrize("units", ["heads,neurons", "layers"])
def test_a_share_of_the_predicted_latency_stays(units, headed, data, board, tmp_path):
    done = call(
        headed, "--data", data, "--max-length", LENGTH, "--latency", "80%", "--target", board, "--units", units,
        "--rows", 16, "--no-tuning", "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = from_dict(Pruning, read_json(StepRecord, tmp_path / "out" / STEP_RECORD_NAME).facts)
    shape = shape_of(AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").config)
    before, after = found.predicted_ms
    assert after == LatencyModel(target=calibrated(), tokens=found.tokens, threads=1)(shape, "fp32")
    assert 0.3 * before < after <= 0.8 * before
    assert "predicted" in done.stdout


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--latency", "1%"], 2, "there still are"),
        (["--latency", "50%", "--target", "raspberry-pi-5"], 3, "no rates were measured on 'raspberry-pi-5'"),
        (["--latency", "50%", "--target", "raspbery-pi-5"], 2, "Did you mean 'raspberry-pi-5'"),
    ],
)
def test_latencies_that_cannot_be(options, code, text, headed, data, board, tmp_path):
    target = [] if "--target" in options else ["--target", board]
    done = call(headed, "--data", data, "--max-length", LENGTH, *options, *target, "-o", tmp_path / "out")
    assert done.exit_code == code, done.stderr
    assert text in done.stderr
    assert not (tmp_path / "out").exists()


def test_groups_need_no_data_and_add_up(headed):
    found = coupled_groups(str(headed), tokens=16)
    config = load_classifier(str(headed)).model.config
    assert (found.parameters, found.macs) == (parameters(shape_of(config)), macs(shape_of(config), 16))
    kinds = {
        kind: [group for group in found.groups if group.kind == kind]
        for kind in ("heads", "neurons", "layers")
    }
    hidden, inner, width = 64, 256, 16
    assert kinds["heads"][0].parameters == 4 * width * hidden + 3 * width
    assert kinds["heads"][0].macs == 16 * 4 * width * hidden + 2 * 16 * 16 * width
    assert (kinds["neurons"][0].units, kinds["neurons"][0].parameters) == (inner, 2 * hidden + 1)
    layer = kinds["layers"][1]
    assert layer.parameters == 4 * kinds["heads"][1].parameters + inner * (2 * hidden + 1) + 6 * hidden
    assert layer.macs == 4 * kinds["heads"][1].macs + inner * kinds["neurons"][1].macs
    done = call(headed, "--show-groups")
    assert done.exit_code == 0
    assert "bert.encoder.layer.0.attention.self.query: 16 rows of 64" in " ".join(done.stdout.split())


@pytest.mark.parametrize("name", ["mobilebert", "distilbert"])
def test_groups_of_a_name_of_the_zoo(name):
    found = coupled_groups(name)
    assert found.tokens == 128
    assert (
        sum(group.units * group.parameters for group in found.groups if group.kind == "layers")
        < found.parameters
    )


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--macs", "150%"], 2, "macs is 1.5; allowed: above 0, and at most 1"),
        (["--macs", "0%"], 2, "macs is 0.0; allowed: above 0"),
        (["--parameters", "half"], 2, "Example: --parameters 50%"),
        ([], 2, "none of --macs, --parameters, --latency, --embedding and --vocabulary"),
        (["--macs", "50%", "--units", "heads,layers"], 2, "allowed: heads,neurons; heads; neurons; layers; hidden"),
        (["--macs", "50%", "--units", "head"], 2, "Did you mean 'heads'"),
        (["--macs", "50%", "--importance", "fischer"], 2, "Did you mean 'fisher'"),
        (["--macs", "50%", "--units", "layers", "--importance", "magnitude"], 2, "fisher or taylor for layers"),
        (["--macs", "50%"], 2, "no such model folder"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(options, code, text, tmp_path):
    done = call(tmp_path / "nowhere", "--data", tmp_path, "-o", tmp_path / "out", *options)
    assert (done.exit_code, done.stdout) == (code, "")
    assert text in done.stderr


def test_what_is_missing_is_named(headed, headless, data, tmp_path):
    where = ["--macs", "50%", "-o", tmp_path / "out"]
    assert "Missing option '--data'" in call(headed, *where).stderr
    assert "Missing option '-o'" in call(headed, "--data", data, "--macs", "50%").stderr
    assert "no such file" in call(headed, "--data", tmp_path / "rows.csv", *where).stderr
    assert "has no trained head for text-classification" in call(headless, "--data", data, *where).stderr
    GPT2Config().save_pretrained(tmp_path / "gpt2")
    done = call(tmp_path / "gpt2", "--data", data, *where)
    assert done.exit_code == 3 and "Known: bert, deit, dinov2, distilbert, mobilebert, vit" in done.stderr
    bare = load_classifier(str(headed)).model
    bare.save_pretrained(tmp_path / "bare")
    assert "has no tokenizer.json" in call(tmp_path / "bare", "--data", data, *where).stderr
    assert not (tmp_path / "out").exists()


def test_a_mobilebert_goes_the_same_way(data, tmp_path):
    set_seed(0)
    sizes = {"hidden_size": 32, "intra_bottleneck_size": 16, "embedding_size": 16, "num_hidden_layers": 2}
    config = MobileBertConfig(
        vocab_size=30522, num_attention_heads=4, intermediate_size=32, num_feedforward_networks=2, **sizes
    )
    MobileBertForSequenceClassification(config).save_pretrained(tmp_path / "mobile")
    AutoTokenizer.from_pretrained(minilm_folder()).save_pretrained(tmp_path / "mobile")
    recipe = Recipe(model=str(tmp_path / "mobile"), data=DataConfig(path=str(data), max_length=16))
    cut = CutConfig(macs=0.9, units=("heads",), importance_rows=16, tuning_rows=16)
    found = prune(recipe, cut, tmp_path / "pruned", SilentProgress())
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "pruned")
    shape = bottleneck_shape(model.config)
    assert found.model_class == type(model).__name__ == "CompactMobileBertForSequenceClassification"
    assert found.macs_after == macs(shape, found.tokens) <= 0.9 * found.macs_before
    assert found.parameters_after == parameters(shape) < found.parameters_before
    names = ["layer 0 heads", "layer 0 neurons 0", "layer 0 neurons 1", "layer 1 heads"]
    assert [kept.name for kept in found.kept[:4]] == names
    narrow = CutConfig(macs=0.8, units=("hidden",), importance_rows=16)
    found = prune(recipe, narrow, tmp_path / "narrow", SilentProgress())
    assert found.model_class == "MobileBertForSequenceClassification" and found.kept[0].name == "hidden units"


def test_images_go_the_same_way(digits, tmp_path):
    set_seed(0)
    config = ViTConfig(**SIZES | {"num_labels": 10}, intermediate_size=64)
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(tmp_path / "vit")
    data = DataConfig(path=str(digits), validation_rows=60)
    recipe = Recipe(model=str(tmp_path / "vit"), data=data, task="image-classification")
    cut = CutConfig(parameters=0.6, importance="taylor", importance_rows=32, tuning_rows=32)
    found = prune(recipe, cut, tmp_path / "pruned", SilentProgress())
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "pruned")
    assert found.parameters_after == parameters(shape_of(model.config)) <= 0.6 * found.parameters_before
    assert list(found.quality) == ["before", "search", "tuning"]
    assert found.tokens == shape_of(model.config).positions
    hidden = CutConfig(macs=0.6, units=("hidden",), importance_rows=16)
    found = prune(recipe, hidden, tmp_path / "narrow", SilentProgress())
    assert found.model_class == "CompactVitForImageClassification"
    assert found.macs_after <= 0.6 * found.macs_before
