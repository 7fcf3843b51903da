from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from fixtures_text import UNICODE_TEXTS, minilm_folder
from scipy.special import softmax as scipy_softmax
from tokenizers import Tokenizer, models

from edgesmith.errors import BundleError, DataError
from edgesmith.runtime import Answer, TextEncoder, decode_labels, softmax
from edgesmith.runtime.text import Score, decode_scores

SST2 = Path(__file__).parents[3] / "shared" / "data" / "glue" / "SST-2" / "dev.tsv"


@pytest.fixture(scope="module")
def reference():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(minilm_folder())


def encoder(max_length: int = 32) -> TextEncoder:
    return TextEncoder(minilm_folder() / "tokenizer.json", max_length)


def assert_equal_feeds(reference, texts, pairs=None, max_length=32):
    expected = reference(
        list(texts),
        None if pairs is None else list(pairs),
        truncation="longest_first",
        max_length=max_length,
        padding="longest",
        return_tensors="np",
        return_token_type_ids=True,
    )
    feeds = encoder(max_length).encode(texts, pairs)
    assert sorted(feeds) == ["attention_mask", "input_ids", "token_type_ids"]
    for name, array in feeds.items():
        assert array.dtype == np.int64
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_equals_transformers_on_unicode(reference):
    assert_equal_feeds(reference, UNICODE_TEXTS)
    for text in UNICODE_TEXTS:
        assert_equal_feeds(reference, [text])


@pytest.mark.parametrize("max_length", [4, 7, 32, 512])
def test_equals_transformers_on_pairs(reference, max_length):
    assert_equal_feeds(reference, UNICODE_TEXTS, UNICODE_TEXTS[::-1], max_length)


def test_equals_transformers_on_real_sentences(reference):
    if not SST2.is_file():
        pytest.skip("the SST-2 dev split is not beside the project")
    with SST2.open(encoding="utf-8", newline="") as file:
        texts = [row["sentence"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    assert len(texts) == 872
    assert_equal_feeds(reference, texts, max_length=24)


def test_pads_to_the_longest_of_the_batch_and_no_further():
    assert encoder().encode(["one"])["input_ids"].shape == (1, 3)  # [CLS] one [SEP]
    feeds = encoder().encode(["one", "one two three"])
    assert feeds["input_ids"].shape == (2, 5)
    assert feeds["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


def test_no_texts_are_no_rows():
    assert encoder().encode([])["input_ids"].shape == (0, 0)


def test_max_length_includes_special_tokens_and_must_leave_room():
    assert encoder(4).encode(["one two three four"])["input_ids"].shape == (1, 4)
    with pytest.raises(BundleError, match="max_length is 3; allowed: 4 or more"):
        encoder(3)


@pytest.mark.parametrize("text", [7, None, "\ud800"])
def test_what_is_no_text_is_named(text):
    with pytest.raises(DataError, match=r"text 1 is (7|None|'\\ud800'); expected a string"):
        encoder().encode(["fine", text])


def test_pairs_must_match():
    with pytest.raises(DataError, match="2 texts and 1 pairs"):
        encoder().encode(["a", "b"], ["c"])


@pytest.mark.parametrize("content", ["", "{}", "not json"])
def test_a_broken_tokenizer_is_refused(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(BundleError, match=r"tokenizer\.json cannot be loaded as a tokenizer"):
        TextEncoder(path, 32)


@pytest.mark.parametrize(
    ("vocabulary", "pad_id"), [({"a": 0, "<pad>": 1}, 1), ({"[PAD]": 3, "a": 0}, 3), ({"a": 0}, 0)]
)
def test_padding_token_without_a_stored_choice(tmp_path, vocabulary, pad_id):
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    feeds = TextEncoder(tmp_path / "tokenizer.json", 8).encode(["a", ""])
    assert feeds["input_ids"].tolist() == [[0], [pad_id]]
    assert feeds["attention_mask"].tolist() == [[1], [0]]


def test_softmax_equals_scipy_and_does_not_overflow():
    logits = np.array([[1000.0, 999.0, -1000.0], [0.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(softmax(logits), scipy_softmax(logits.astype(np.float64), axis=1), rtol=1e-12)


def test_decode_labels_takes_the_largest_logit():
    logits = np.array([[0.0, np.log(3.0)], [2.0, 2.0]])
    assert decode_labels(logits, ("no", "yes")) == [
        Answer("yes", 1, pytest.approx(0.75)),  # 3 / (1 + 3)
        Answer("no", 0, pytest.approx(0.5)),
    ]


@pytest.mark.parametrize("shape", [(1, 3), (2,), (1, 2, 2)])
def test_decode_labels_refuses_other_shapes(shape):
    with pytest.raises(BundleError, match=r"expected \(batch, 2\), a logit for each of no, yes"):
        decode_labels(np.zeros(shape), ("no", "yes"))


def test_a_score_is_the_only_output():
    assert decode_scores(np.array([[1.5], [-2.0]], np.float32)) == [Score(1.5), Score(-2.0)]
    with pytest.raises(BundleError, match=r"shape \(1, 2\); expected \(batch, 1\)"):
        decode_scores(np.zeros((1, 2), np.float32))
