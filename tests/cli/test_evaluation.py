"""`edgesmith evaluate` against a bundle whose answers are known by construction, through ONNX Runtime itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgesmith.cli import main
from edgesmith.export.bundle import write_bundle
from edgesmith.records import Plan, TensorSpec

onnx = pytest.importorskip("onnx", reason="the extra `onnxruntime` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `onnxruntime` is not installed")

VOCABULARY = {"[UNK]": 0, "good": 1, "bad": 2}
LOGITS = np.array([[0, 0], [0, 1], [1, 0]], np.float32)  # token -> (logit of "neg", logit of "pos")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bag of words: logits are the sum over tokens of a row of `LOGITS`; a tie is "neg"."""
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["logits"], keepdims=0),
    ]
    constants = [numpy_helper.from_array(LOGITS, "table"), numpy_helper.from_array(np.array([1]), "axis")]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "bag", [ids], [logits], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    write_bundle(
        tmp_path / "bundle",
        files={"model.onnx": model.SerializeToString(), "tokenizer.json": tokenizer.to_str()},
        runtime="onnxruntime",
        task="text-classification",
        model="model.onnx",
        inputs=[TensorSpec(name="input_ids", dtype="int64", shape=("batch", "sequence"))],
        outputs=[TensorSpec(name="logits", dtype="float32", shape=("batch", 2))],
        labels=["neg", "pos"],
        max_length=16,
        plan=Plan(layers=()),
        session={},
        metrics={},
        provenance={},
    )
    return tmp_path / "bundle"


def write_rows(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def rows(right: int, wrong: int) -> list[tuple[str, str]]:
    """Distinct rows of which the bag of words gets `right` right."""
    told = [(f"good film {i}", "pos") if i % 2 else (f"bad film {i}", "neg") for i in range(right)]
    return told + [(f"good but dull {i}", "neg") for i in range(wrong)]


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_a_file_is_evaluated_whole(bundle: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.csv", rows(right=30, wrong=10))
    done = evaluate(bundle, "--data", data, "--json")
    assert done.exit_code == 0, done.stderr
    by_hand = {"accuracy": 30 / 40, "f1": 2 * 15 / (2 * 15 + 10), "matthews_corrcoef": 15 * 15 / (25 * 15)}
    assert json.loads(done.stdout) == {"metrics": pytest.approx(by_hand), "n": 40}


def test_of_a_folder_the_test_split_is_evaluated(bundle: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "train.csv", rows(right=40, wrong=0))
    write_rows(tmp_path / "data" / "test.csv", [("good new", "pos"), ("bad new", "neg"), ("bad news", "pos")])
    done = evaluate(bundle, "--data", tmp_path / "data", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"accuracy {2 / 3:.4f}  f1 {2 / 3:.4f}  matthews_corrcoef {1 / 2:.4f}  n 3\n"


def test_one_row_of_one_class_is_enough(bundle: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "one.csv", [("good", "pos")])
    done = evaluate(bundle, "--data", data)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "accuracy 1.0000  f1 1.0000  matthews_corrcoef 0.0000  n 1\n"
    assert "label is column 'label' (guessed" in done.stderr


def test_a_label_that_the_bundle_does_not_know_exits_2(bundle: Path, tmp_path: Path) -> None:
    neutral = [(f"a film of {i} hours", "neutral") for i in range(20)]
    data = write_rows(tmp_path / "rows.csv", [*rows(right=40, wrong=0), *neutral])
    done = evaluate(bundle, "--data", data)
    assert done.exit_code == 2
    assert "labels that the model does not know: 'neutral'. Allowed: 'neg', 'pos'." in done.stderr


def test_a_damaged_bundle_exits_2(bundle: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.csv", rows(right=40, wrong=0))
    with (bundle / "model.onnx").open("ab") as file:
        file.write(b"x")
    done = evaluate(bundle, "--data", data)
    assert done.exit_code == 2
    assert "model.onnx" in done.stderr
