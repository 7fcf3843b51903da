from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from fixtures_text import weights, write_openvino_model

from edgesmith.errors import BundleError
from edgesmith.runtime.openvino import OpenVINOSession


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_openvino_model(tmp_path_factory.mktemp("openvino") / "model.xml")


def feeds_of(input_ids, attention_mask):
    ids, mask = np.array(input_ids, np.int64), np.array(attention_mask, np.int64)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def test_logits_equal_the_formula(model_path):
    session = OpenVINOSession(model_path)
    assert session.inputs == ("input_ids", "attention_mask")
    logits = session.run(feeds_of([[5, 9, 11], [7, 0, 0]], [[1, 1, 1], [1, 0, 0]]))
    w = weights()
    means = np.stack([w["embedding"][[5, 9, 11]].mean(axis=0), w["embedding"][7]])
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, means @ w["weight"].T + w["bias"], rtol=1e-5, atol=1e-6)


def test_an_answer_is_not_overwritten_by_the_next(model_path):
    session = OpenVINOSession(model_path)
    first = session.run(feeds_of([[5]], [[1]]))
    kept = first.copy()
    session.run(feeds_of([[900]], [[1]]))
    np.testing.assert_array_equal(first, kept)


def test_a_missing_input_is_named(model_path):
    feeds = feeds_of([[5]], [[1]])
    del feeds["attention_mask"]
    with pytest.raises(
        BundleError, match="wants the input 'attention_mask'; there are: input_ids, token_type_ids"
    ):
        OpenVINOSession(model_path).run(feeds)


@pytest.mark.parametrize(
    ("ids", "mask"),
    [((2, 3), (2, 2)), ((2, 3), (3, 3)), ((2, 3), (2, 3, 1)), ((3,), (3,)), ((2, 1, 1), (2, 1, 1))],
)
def test_inputs_that_do_not_fit_are_refused(model_path, ids, mask):
    """Left to itself, OpenVINO gives what an earlier call has left."""
    session = OpenVINOSession(model_path)
    assert session.run(feeds_of([[5]] * 2, [[1]] * 2)).shape == (2, 2)
    feeds = {"input_ids": np.ones(ids, np.int64), "attention_mask": np.ones(mask, np.int64)}
    with pytest.raises(
        BundleError, match=rf"model\.xml wants inputs of .*\[\?,\?\].* got .*{re.escape(str(mask))}"
    ):
        session.run(feeds)


def test_what_is_no_model_is_refused(model_path, tmp_path):
    (tmp_path / "cut.xml").write_bytes(model_path.read_bytes()[:500])
    (tmp_path / "alone.xml").write_bytes(model_path.read_bytes())  # without its weights
    for name in ("cut.xml", "alone.xml", "absent.xml"):
        with pytest.raises(BundleError, match=rf"{name} cannot be loaded by OpenVINO \d"):
            OpenVINOSession(tmp_path / name)


def test_settings_are_checked_and_applied(model_path):
    with pytest.raises(BundleError, match=r"unknown session setting 'INFERENCE_PRECISION'.* 'INFERENCE_PREC"):
        OpenVINOSession(model_path, settings={"INFERENCE_PRECISION": "f32"})
    settings = {"intra_op_num_threads": 3, "INFERENCE_PRECISION_HINT": "f16"}
    compiled = OpenVINOSession(model_path, threads=1, settings=settings).compiled
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("NUM_STREAMS") == 1
    assert (
        str(OpenVINOSession(model_path).compiled.get_property("INFERENCE_PRECISION_HINT"))
        == "<Type: 'float32'>"
    )
