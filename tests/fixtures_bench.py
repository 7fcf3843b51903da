"""Bundles of texts, tags and images that answer at once: a table of numbers, or a mean of pixels, on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesmith.export.bundle import write_bundle
from edgesmith.records import ImagePreprocessing, Plan, TensorSpec

onnx = pytest.importorskip("onnx", reason="the extra `onnxruntime` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `onnxruntime` is not installed")

WORDS = ("good", "bad", "film", "book", "long", "short")
SPECIAL = ("[UNK]", "[CLS]", "[SEP]", "[PAD]")
MAX_LENGTH, HEIGHT, WIDTH = 16, 8, 6


def tokenizer_json() -> str:
    """A word a token, [CLS] before and [SEP] after."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer.to_str()


def graph(kind: str, labels: int) -> bytes:
    """``text``: the sum over tokens of rows of a table; ``tags``: these rows; ``image``: the mean of each channel."""
    from onnx import TensorProto, helper, numpy_helper

    table = np.random.default_rng(0).normal(size=(len(SPECIAL) + len(WORDS), labels)).astype(np.float32)
    constants = {"table": table, "token_axis": np.array([1]), "pixel_axes": np.array([2, 3])}
    if kind == "image":
        value = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, HEIGHT, WIDTH])
        nodes = [helper.make_node("ReduceMean", ["pixel_values", "pixel_axes"], ["logits"], keepdims=0)]
    else:
        value = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", "s"])
        nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows" if kind == "text" else "logits"])]
    if kind == "text":
        nodes.append(helper.make_node("ReduceSum", ["rows", "token_axis"], ["logits"], keepdims=0))
    shape = ["n", "s", labels] if kind == "tags" else ["n", labels]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    made = helper.make_graph(nodes, kind, [value], [logits], tensors)
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    ).SerializeToString()


def write(folder: Path, kind: str, **changes: Any) -> Path:
    """A bundle of a kind of `graph`."""
    tasks = {"text": "text-classification", "tags": "token-classification", "image": "image-classification"}
    labels = {"text": ["neg", "pos"], "tags": ["O", "B-X", "I-X"], "image": ["red", "green", "blue"]}[kind]
    is_image = kind == "image"
    files: dict[str, Any] = {"model.onnx": graph(kind, len(labels))}
    fed = TensorSpec(name="input_ids", dtype="int64", shape=("n", "s"))
    if is_image:
        fed = TensorSpec(name="pixel_values", dtype="float32", shape=("n", 3, HEIGHT, WIDTH))
    else:
        files["tokenizer.json"] = tokenizer_json()
    settings = ImagePreprocessing(
        resize=(HEIGHT, WIDTH), crop=None, resample=2, scale=1 / 255, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    contents: dict[str, Any] = {
        "files": files,
        "runtime": "onnxruntime",
        "task": tasks[kind],
        "model": "model.onnx",
        "inputs": [fed],
        "outputs": [TensorSpec(name="logits", dtype="float32", shape=("n", len(labels)))],
        "labels": labels,
        "max_length": MAX_LENGTH,
        "plan": Plan(layers=()),
        "session": {},
        "metrics": {},
        "provenance": {},
        "preprocessing": settings if is_image else None,
    }
    write_bundle(folder, **{**contents, **changes})
    return folder


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kind -> a bundle of it; not to be changed."""
    folder = tmp_path_factory.mktemp("bench")
    return {kind: write(folder / kind, kind) for kind in ("text", "tags", "image")}
