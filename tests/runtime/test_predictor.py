from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from fixtures_text import MAX_LENGTH, UNICODE_TEXTS, minilm_folder, weights, write_small_bundle
from tokenizers import Tokenizer

from edgesmith.errors import BundleError, DataError, UnsupportedError
from edgesmith.runtime import load_bundle


@pytest.fixture(scope="module")
def predictor(small_bundle):
    with load_bundle(small_bundle) as predictor:
        yield predictor


@cache
def tokenizer() -> Tokenizer:
    loaded = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    loaded.no_padding()
    loaded.enable_truncation(MAX_LENGTH)
    return loaded


def expected_logits(text: str, pair: str | None = None) -> np.ndarray:
    """mean of embeddings @ weight.T + bias over the tokens that the tokenizer library itself gives."""
    w = weights()
    mean = w["embedding"][tokenizer().encode(text, pair).ids].mean(axis=0)
    return mean @ w["weight"].T + w["bias"]


def test_logits_equal_the_formula_in_the_order_given(predictor):
    logits = predictor.logits(UNICODE_TEXTS)
    assert logits.shape == (len(UNICODE_TEXTS), 2)
    np.testing.assert_allclose(
        logits, [expected_logits(text) for text in UNICODE_TEXTS], rtol=1e-4, atol=1e-5
    )


def test_pairs(predictor):
    logits = predictor.logits(["a film", "a book"], ["it is good", "bad"])
    expected = [expected_logits("a film", "it is good"), expected_logits("a book", "bad")]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert predictor.predict("a film", "it is good") == predictor.predict(["a film"], ["it is good"])


@pytest.mark.parametrize("batch_size", [2, 4, 100])
def test_a_float_model_answers_alike_in_batches(predictor, batch_size):
    np.testing.assert_allclose(
        predictor.logits(UNICODE_TEXTS, batch_size=batch_size),
        predictor.logits(UNICODE_TEXTS),
        rtol=1e-4,
        atol=1e-5,
    )


def test_predict_takes_the_larger_probability(predictor):
    for text, answer in zip(UNICODE_TEXTS, predictor.predict(UNICODE_TEXTS), strict=True):
        low, high = sorted(expected_logits(text))
        assert answer.label == ("negative", "positive")[int(expected_logits(text).argmax())]
        assert answer.probability == pytest.approx(1 / (1 + np.exp(low - high)), rel=1e-4)
    assert len({answer.label for answer in predictor.predict(UNICODE_TEXTS)}) == 2


def test_a_string_is_one_text(predictor):
    assert predictor.predict("one text") == predictor.predict(["one text"])


def test_no_texts_are_no_answers(predictor):
    assert predictor.predict([]) == []
    assert predictor.logits([]).shape == (0, 2)


def test_bad_calls_are_refused(predictor):
    with pytest.raises(DataError, match="batch_size is 0; allowed: 1 or more"):
        predictor.logits(["a"], batch_size=0)
    with pytest.raises(DataError, match="1 texts and 2 pairs"):
        predictor.logits(["a"], ["b", "c"])
    with pytest.raises(DataError, match="text 0 is 3"):
        predictor.logits([3])


def test_a_closed_predictor_says_so(small_bundle):
    with load_bundle(small_bundle) as predictor:
        pass
    with pytest.raises(BundleError, match="was closed; load the bundle again"):
        predictor.predict("a")


def test_an_unknown_runtime_is_refused(tmp_path):
    write_small_bundle(tmp_path / "bundle", runtime="onxruntime")
    with pytest.raises(UnsupportedError, match=r"unknown runtime 'onxruntime'.* 'onnxruntime'"):
        load_bundle(tmp_path / "bundle")


def test_labels_must_match_the_model(tmp_path):
    write_small_bundle(tmp_path / "bundle", labels=("a", "b", "c"))
    with (
        load_bundle(tmp_path / "bundle") as predictor,
        pytest.raises(BundleError, match=r"output has shape \(1, 2\)"),
    ):
        predictor.predict("a")


def test_a_damaged_bundle_is_refused_unless_told_otherwise(own_bundle):
    (own_bundle / "labels.json").write_text("[]")
    with pytest.raises(BundleError, match=r"labels\.json"):
        load_bundle(own_bundle)
    assert len(load_bundle(own_bundle, verify=False).predict("a")) == 1
