from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from fixtures_text import CHILD_ENVIRONMENT, mean_model, weights
from onnx import TensorProto, helper

from edgesmith.errors import BundleError
from edgesmith.runtime import OnnxRuntimeSession


@pytest.fixture
def model_path(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(mean_model().SerializeToString())
    return path


def feeds_of(input_ids, attention_mask):
    ids, mask = np.array(input_ids, np.int64), np.array(attention_mask, np.int64)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def test_logits_equal_the_formula(model_path):
    session = OnnxRuntimeSession(model_path)
    logits = session.run(feeds_of([[5, 9, 11], [7, 0, 0]], [[1, 1, 1], [1, 0, 0]]))
    w = weights()
    means = np.stack([w["embedding"][[5, 9, 11]].mean(axis=0), w["embedding"][7]])
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, means @ w["weight"].T + w["bias"], rtol=1e-5, atol=1e-6)


def test_only_declared_inputs_are_passed(model_path):
    session = OnnxRuntimeSession(model_path)
    assert session.inputs == ("input_ids", "attention_mask")
    assert session.run(feeds_of([[5]], [[1]])).shape == (
        1,
        2,
    )  # with token_type_ids, which it does not declare


def test_a_missing_input_is_named(model_path):
    feeds = feeds_of([[5]], [[1]])
    del feeds["attention_mask"]
    with pytest.raises(
        BundleError, match="wants the input 'attention_mask'; there are: input_ids, token_type_ids"
    ):
        OnnxRuntimeSession(model_path).run(feeds)


def test_a_failing_run_names_model_and_shapes(model_path):
    with pytest.raises(BundleError, match=r"model\.onnx failed on inputs of shape .*\(1, 1\)"):
        OnnxRuntimeSession(model_path).run(feeds_of([[10**6]], [[1]]))  # beyond the embedding table


@pytest.mark.parametrize("content", [b"", b"not a model", mean_model().SerializeToString()[:500]])
def test_what_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.onnx cannot be loaded by ONNX Runtime \d"):
        OnnxRuntimeSession(path)


def test_an_absent_or_unsupported_model_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"absent\.onnx cannot be loaded"):
        OnnxRuntimeSession(tmp_path / "absent.onnx")
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Unheard", ["x"], ["y"])], "g", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "unheard.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="Unheard"):
        OnnxRuntimeSession(tmp_path / "unheard.onnx")


def test_settings_are_applied_and_threads_win(model_path):
    session = OnnxRuntimeSession(
        model_path, threads=2, settings={"intra_op_num_threads": 1, "session.intra_op.allow_spinning": 0}
    )
    options = session._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_an_unknown_setting_is_refused(model_path):
    with pytest.raises(BundleError, match=r"session setting 'intra_op_threads'.* 'intra_op_num_threads'"):
        OnnxRuntimeSession(model_path, settings={"intra_op_threads": 1})


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers"])
def test_a_missing_package_gives_the_line_to_type(small_bundle, package):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"  # what Python itself uses for `cannot be imported`
        "from edgesmith.errors import MissingExtraError\n"
        "from edgesmith.runtime import load_bundle\n"
        "try:\n    load_bundle(sys.argv[1])\n"
        "except MissingExtraError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, small_bundle],
        capture_output=True,
        text=True,
        check=True,
        env=CHILD_ENVIRONMENT,
    )
    assert done.stdout == f"{package} is not installed. Type: pip install 'edgesmith[onnxruntime]'\n"
