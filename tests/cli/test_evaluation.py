"""`edgesmith evaluate` against a bundle whose answers are known by construction, through ONNX Runtime itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as skmetrics

from edgesmith.cli import main
from edgesmith.cli.evaluation import Evaluation
from edgesmith.export.bundle import write_bundle
from edgesmith.records import GLUE_METRICS, METRICS_OF, Plan, TensorSpec
from edgesmith.runtime import Judge

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


OFFICIAL = {
    "CoLA": {"matthews_corrcoef": skmetrics.matthews_corrcoef},
    "MRPC": {"f1": skmetrics.f1_score, "accuracy": skmetrics.accuracy_score},
    "QQP": {"f1": skmetrics.f1_score, "accuracy": skmetrics.accuracy_score},
    "STS-B": {"pearson": lambda *pair: pearsonr(*pair)[0], "spearman": lambda *pair: spearmanr(*pair)[0]},
} | {task: {"accuracy": skmetrics.accuracy_score} for task in ("SST-2", "MNLI", "QNLI", "RTE", "WNLI")}
"""As GLUE's own list has it, by scikit-learn and SciPy."""


def test_the_nine_tasks_of_glue_have_their_metrics() -> None:
    assert {task: tuple(metrics) for task, metrics in OFFICIAL.items()} == GLUE_METRICS


@pytest.mark.parametrize("task", [task for task in OFFICIAL if task != "STS-B"])
def test_a_row_as_glue_reports_it(bundle: Path, tmp_path: Path, task: str) -> None:
    told = [
        ("good film", "pos"),
        ("bad film", "neg"),
        ("good but dull", "neg"),
        ("good", "pos"),
        ("grey", "pos"),
    ]
    truth, given = [1, 0, 0, 1, 1], [1, 0, 1, 1, 0]  # by the bag of words
    done = evaluate(
        bundle, "--data", write_rows(tmp_path / "rows.csv", told), "--glue", task.lower(), "--quiet"
    )
    assert done.exit_code == 0, done.stderr
    values = "/".join(f"{100 * metric(truth, given):.1f}" for metric in OFFICIAL[task].values())
    assert done.stdout == f"{task}  {'/'.join(OFFICIAL[task])}  {values}  n 5\n"


def test_the_row_of_sts_b() -> None:
    truth, given = np.array([0.0, 1.5, 2.0, 5.0, 3.5]), np.array([0.5, 1.0, 3.0, 4.0, 3.5])
    judges = [Judge.of("text-regression", name) for name in METRICS_OF["text-regression"]]
    found = Evaluation(metrics={judge.metric: judge.quality(given, truth) for judge in judges}, n=5)
    values = "/".join(f"{100 * metric(given, truth):.1f}" for metric in OFFICIAL["STS-B"].values())
    assert found.glue_line("STS-B") == f"STS-B  pearson/spearman  {values}  n 5"


def test_a_bundle_of_another_task_than_glues_is_refused(bundle: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.csv", rows(right=4, wrong=2))
    done = evaluate(bundle, "--data", data, "--glue", "STS-B")
    assert done.exit_code == 2
    assert (
        "--glue STS-B: the task is judged by pearson and spearman, and this bundle has no pearson"
        in done.stderr
    )
    assert (
        "its metrics: accuracy, f1, matthews_corrcoef. Give a bundle for STS-B, or leave --glue out."
        in done.stderr
    )


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
