"""`edgesmith sensitivity` and `edgesmith quantize` from end to end, on a small model with random weights and real rows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from fixtures_targets import calibrated
from fixtures_text import minilm_folder
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
)

from edgesmith.cli import main
from edgesmith.export.onnxruntime import read_back
from edgesmith.records import (
    MANIFEST_NAME,
    Manifest,
    Quantization,
    Scheme,
    Sensitivities,
    from_dict,
    read_json,
)
from edgesmith.runtime import load_bundle
from edgesmith.targets import save_target

LENGTH = 16
STATIC, BLOCKS = Scheme("int8", activation="static_int8"), Scheme("int8", "per_block", "dynamic_int8")


def call(command: str, *arguments: object) -> Result:
    return CliRunner().invoke(main, [command, *map(str, arguments)], prog_name="edgesmith")


@pytest.fixture(scope="module")
def headed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, wide enough that not every row has the same answer."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 256}
    config = BertConfig(vocab_size=30522, max_position_embeddings=64, initializer_range=0.1, **sizes)
    folder = tmp_path_factory.mktemp("models") / "wide"
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm_folder()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def planned(headed: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Quantization]:
    folder = tmp_path_factory.mktemp("quantized") / "mixed"
    done = call(
        "quantize", headed, "--data", data, "--max-length", LENGTH, "--rows", 24, "--size", "29%", "--int8-macs", "60%",
        "--static-macs", "20%", "--max-drop", "50%", "-o", folder, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    return folder, from_dict(Quantization, json.loads(done.stdout))


def test_the_plan_keeps_the_limits(planned):
    folder, found = planned
    assert found.passed and not found.failures
    assert found.bytes == (folder / found.bundle / "model.onnx").stat().st_size <= found.max_bytes
    assert found.max_bytes == round(0.29 * found.baseline_bytes)
    assert found.bytes <= found.trials[-1].bytes <= found.bytes + 0.1 * found.max_bytes  # never too little
    assert found.macs["static_int8"] + found.macs["dynamic_int8"] >= 0.6
    assert found.macs["static_int8"] >= 0.2
    assert sum(found.macs.values()) == pytest.approx(1)
    assert 1 <= len(found.trials) <= found.max_trials


def test_the_file_holds_the_plan_and_every_layer_has_a_reason(planned):
    folder, found = planned
    path = folder / found.bundle / "model.onnx"
    assert read_back(path, found.plan) == {entry.layer: entry.weight for entry in found.plan.layers}
    schemes = {entry.scheme for entry in found.plan.layers if entry.kind == "linear"}
    assert STATIC in schemes
    assert all(entry.reason for entry in found.plan.layers)
    assert read_json(Manifest, folder / found.bundle / MANIFEST_NAME).plan == found.plan
    assert found == read_json(Quantization, folder / "quantization.json")


def test_pytorch_and_the_file_agree(planned):
    """40 dB is an error of a hundredth of the logits."""
    found = planned[1]
    assert found.sqnr_db is not None and found.sqnr_db > 40
    assert found.agreement > 0.9
    assert found.drop == pytest.approx(found.reference - found.quality)


def test_the_bundle_answers_as_it_was_measured(planned, data):
    folder, found = planned
    done = call("evaluate", folder / found.bundle, "--data", data / "validation.csv", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["metrics"][found.metric] == pytest.approx(found.quality)
    with load_bundle(folder / found.bundle) as predictor:
        assert predictor.logits(["a fine film"]).shape == (1, 2)


def test_the_page_tells_the_same(planned):
    folder, found = planned
    page = (folder / "quantization.md").read_text(encoding="utf-8")
    assert page.startswith("# PASS\n")
    for entry in found.plan.layers:
        assert f"| {entry.layer} | {str(entry.scheme).replace('_', ' ')} |" in page
    assert f"{found.sqnr_db:.1f} dB" in page


def test_sensitivity_is_the_first_half(planned, headed, data, tmp_path):
    done = call(
        "sensitivity", headed, "--data", data, "--max-length", LENGTH, "--rows", 24, "-o", tmp_path / "out"
    )
    assert done.exit_code == 0, done.stderr
    found = read_json(Sensitivities, tmp_path / "out" / "sensitivity.json")
    assert found.layers == planned[1].sensitivities.layers and found.rows == 24
    page = (tmp_path / "out" / "sensitivity.md").read_text(encoding="utf-8")
    for layer in found.layers:
        assert f"| {layer.layer} |" in page
    assert "What quantization costs each layer" in done.stdout


@pytest.mark.slow
def test_no_plan_keeps_impossible_limits(headed, data, tmp_path):
    done = call(
        "quantize", headed, "--data", data, "--max-length", LENGTH, "--rows", 8, "--size", "5%", "-o", tmp_path / "out"
    )  # fmt: skip
    assert done.exit_code == 4
    assert "no plan takes at most" in done.stderr and "Type: --size" in done.stderr
    assert not (tmp_path / "out").exists()


def test_int8_goes_as_far_as_a_predicted_latency_needs(headed, data, tmp_path):
    save_target(calibrated(), tmp_path / "mine.yaml")

    def limited(limit_ms: float) -> Result:
        return call(
            "quantize", headed, "--data", data, "--max-length", LENGTH, "--rows", 8, "--size", "60%", "--int8-macs", "0%",
            "--max-drop", "99%", "--target", tmp_path / "mine.yaml", "--max-latency", f"{limit_ms}ms", "-o", tmp_path / "out",
        )  # fmt: skip

    impossible = limited(0.001)
    assert impossible.exit_code == 4, impossible.stderr
    told = re.search(r"in FP32 ([\d.]+) ms, with every linear layer in INT8 ([\d.]+) ms", impossible.stderr)
    fp32_ms, int8_ms = map(float, told.groups())
    limit_ms = (fp32_ms + int8_ms) / 2
    done = limited(limit_ms)
    assert done.exit_code == 0, done.stderr
    found = read_json(Quantization, tmp_path / "out" / "quantization.json")
    assert int8_ms <= found.predicted_ms <= limit_ms * (1 + 1e-6) < found.fp32_predicted_ms
    assert found.macs["static_int8"] + found.macs["dynamic_int8"] >= found.int8_macs - 1e-6 > 0.1
    assert "mine.yaml, predicted" in " ".join(done.stdout.split())


@pytest.fixture(scope="module")
def broken(headed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Same answers in FP32; one neuron of layer 1 drowns the others, and the classifier decides by its small weights."""
    model = AutoModelForSequenceClassification.from_pretrained(headed)
    with torch.no_grad():
        model.get_parameter("bert.encoder.layer.1.intermediate.dense.bias")[0] = 5e3
        model.get_parameter("bert.encoder.layer.1.output.dense.weight")[:, 0] = 0
        model.get_parameter("bert.pooler.dense.weight")[0] = 0
        model.get_parameter("bert.pooler.dense.bias")[0] = 0  # its tanh is 0, whatever weighs it
        model.classifier.weight[:, 0] = 1e5
        model.classifier.bias[:] = torch.tensor([0.0, 1e-6])
    folder = tmp_path_factory.mktemp("models") / "broken"
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm_folder()).save_pretrained(folder)
    return folder


def test_an_outlier_layer_and_a_collapse_are_caught_and_named(broken, data, tmp_path):
    done = call(
        "quantize", broken, "--data", data, "--max-length", LENGTH, "--rows", 8, "--uniform", "int8-static",
        "--observer", "min_max", "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.exit_code == 4, done.stderr
    told = " ".join(done.stdout.split())
    assert "of the inputs of layers.1.ffn.output become 0 between" in told
    assert "and 5e+03: outliers set the range" in told
    assert "of the weights of classifier become 0 in int8 per_channel: outliers set the scale" in told
    assert "rows have the answer 1; the labels have 2 values" in told
    assert "FAIL" in told
    found = read_json(Quantization, tmp_path / "out" / "quantization.json")
    assert not found.passed and found.uniform == "int8-static"
    model = onnx.load(tmp_path / "out" / found.bundle / "model.onnx")
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) == 3 * 4 + 2


@pytest.fixture(scope="module")
def on_litert(headed, data, tmp_path_factory) -> tuple[Path, Quantization]:
    pytest.importorskip("litert_torch", reason="LiteRT is not installed: pip install 'edgesmith[litert]'")
    folder = tmp_path_factory.mktemp("quantized") / "litert"
    done = call(
        "quantize", headed, "--data", data, "--max-length", LENGTH, "--rows", 24, "--runtime", "litert",
        "--size", "35%", "--static-macs", "30%", "--max-drop", "50%", "-o", folder, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, json.loads(done.stdout)["failures"]
    return folder, from_dict(Quantization, json.loads(done.stdout))


def test_static_layers_on_litert_have_both_ranges(on_litert):
    folder, found = on_litert
    assert found.passed and found.macs["static_int8"] >= 0.3
    assert found.bytes <= found.trials[-1].bytes <= found.bytes + 0.1 * found.max_bytes  # never too little
    static = [entry for entry in found.plan.layers if entry.activation == "static_int8"]
    assert static and all(entry.input_range and entry.output_range for entry in static)
    assert all(
        "static" in layer.activations for layer in found.sensitivities.layers if layer.kind == "linear"
    )
    assert read_json(Manifest, folder / found.bundle / MANIFEST_NAME).plan == found.plan


def test_pytorch_and_the_file_agree_on_litert(on_litert):
    """30 dB is an error of 3 % of the logits: an INT8 step that falls on the other side of a half."""
    found = on_litert[1]
    assert found.sqnr_db is not None and found.sqnr_db > 30
    assert found.agreement > 0.9


@pytest.mark.parametrize(("step", "exit_code"), [("guards", 4), ("kernel", 1)])
def test_guards_speak_on_litert_too(broken, data, tmp_path, step, exit_code):
    """Both logits round to 1000, and one is first; or steps of the classifier's outputs are too small for the kernel."""
    pytest.importorskip("litert_torch", reason="LiteRT is not installed: pip install 'edgesmith[litert]'")
    model = AutoModelForSequenceClassification.from_pretrained(broken)
    if step == "guards":
        with torch.no_grad():
            model.classifier.weight[:, 0] = 0
            model.classifier.bias[:] = 1000
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(broken).save_pretrained(tmp_path / "model")
    done = call(
        "quantize", tmp_path / "model", "--data", data, "--max-length", LENGTH, "--rows", 8, "--uniform", "int8-static",
        "--runtime", "litert", "--observer", "min_max", "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.exit_code == exit_code, done.stderr
    if step == "kernel":
        assert "LiteRT cannot compute classifier with static activations" in " ".join(done.stderr.split())
        return
    told = " ".join(done.stdout.split())
    assert "of the outputs of layers.1.ffn.intermediate become 0 between" in told
    assert "of the inputs of layers.1.ffn.output become 0 between" in told
    assert "and 5e+03: outliers set the range" in told
    assert "rows have the answer 0; the labels have 2 values" in told
    assert "FAIL" in told


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--size", "0%"], 2, "size is 0.0; allowed: a share above 0 and at most 1"),
        (["--size", "large"], 2, "Example: --size 50%"),
        (["--int8-macs", "100%"], 2, "int8_macs is 1.0; allowed: 0 or more, and below 1"),
        (["--observer", "entropy"], 2, "Allowed: min_max, mse, percentile"),
        (["--uniform", "int8"], 2, "Did you mean"),
        (["--runtime", "onnx-runtime"], 2, "Did you mean 'onnxruntime'"),
        (["--max-trials", "0"], 2, "max_trials is 0; allowed: 1 or more"),
        ([], 2, "no such model folder"),
    ],
)
def test_options_that_make_no_sense(options, code, text, tmp_path):
    done = call("quantize", tmp_path / "nowhere", "--data", tmp_path, "-o", tmp_path / "out", *options)
    assert (done.exit_code, done.stdout) == (code, "")
    assert text in done.stderr
