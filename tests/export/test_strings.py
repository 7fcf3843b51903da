"""Tokens of the graph against the tokenizer's own, on real texts and on whatever Unicode has."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from fixtures_text import UNICODE_TEXTS, mean_model, minilm_folder
from fixtures_tokenizers import KINDS
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from edgesmith.compress.vocabulary import trim_vocabulary
from edgesmith.errors import DataError, UnsupportedError
from edgesmith.runtime.strings import StringsSession
from edgesmith.runtime.text import TextEncoder

pytest.importorskip("onnxruntime_extensions", reason="the extra `strings` is not installed")

from edgesmith.export.strings import add_strings, tokenizer_graph
from edgesmith.export.wordpiece import WordPiece, read_wordpiece

MAX_LENGTH = 24
TEXTS = (
    *UNICODE_TEXTS,
    "it's a charming and often affecting journey .",
    "Dezactivează protocoalele standard și intră în modul",
    "İstanbul \u0131ss\u0131z Straße Ərəb ŁÓDŹ ĳ ﬁ \u017f ǅ Ⅷ",
    "a\u0301\u0323b combining\u0489 marks, \u0e01\u0e33 and \u0939\u093f\u0928\u094d\u0926\u0940",
    "zero\u200bwidth\u200djoiner\ufeff soft\u00adhyphen \u202eoverride",
    "control\x01\x7f\x85 characters\ufffd",
    "[sep] [SE\u200bP] up[SEP]down [MASK][UNK] [[CLS]] \uff3bSEP\uff3d",
    "hello☃world snow☃ ☃ \ua66e",
    "\ua000 \ua001 \ua002 in\ua000side",
    "한국어 각 힣 ㄱ",
    "𠀀 \U0001d41b\U0001d428\U0001d425\U0001d41d 🇩🇪 ",
    "a" * 99 + " " + "b" * 100 + " " + "c" * 101,
    "é" * 100 + " " + "e\u0301" * 101,
    "...!?# ##ing $1,000.00 `x` ^y^ ~z~ a_b",
)


@cache
def minilm_wordpiece() -> WordPiece:
    return read_wordpiece(minilm_folder() / "tokenizer.json")


def pangram_ids() -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    return [tokenizer.encode(text).ids for text in ("a charming film", "the quick brown fox jumps over")]


def trimmed(folder: Path) -> Path:
    text = (minilm_folder() / "tokenizer.json").read_text(encoding="utf-8")
    path = folder / "trimmed.json"
    path.write_text(trim_vocabulary(text, pangram_ids()).tokenizer_json, encoding="utf-8")
    return path


def sparse(folder: Path, **changes: object) -> Path:
    """Cased, with accents and gaps between ids; most characters start a word or continue one, but not both."""
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "a",
        "##a",
        "b",
        "##c",
        "abc",
        "##cab",
        "A",
        "é",
        "##e\u0301",
        "!",
    ]
    vocab = {piece: 2 * index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=7))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(pieces[:5])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    data = json.loads(tokenizer.to_str())
    data["model"].update(changes)
    path = folder / "sparse.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


class Both:
    """The tokenizer of a file, and the graph made from it."""

    def __init__(self, path: Path, max_length: int = 10_000, wordpiece: WordPiece | None = None) -> None:
        wordpiece = wordpiece or read_wordpiece(path)
        self.encoder = TextEncoder(path, max_length)
        self.session = StringsSession(tokenizer_graph(wordpiece, max_length=max_length).SerializeToString())

    def reference(self, text: str) -> list[int]:
        return list(self.encoder.encode([text])["input_ids"][0].tolist())

    def graph(self, text: str) -> list[int]:
        return list(self.session.run(text)["input_ids"][0].tolist())


MAKERS: dict[str, Callable[[Path], Path]] = {
    "whole": lambda folder: minilm_folder() / "tokenizer.json",
    "trimmed": trimmed,
    "sparse": sparse,
}


@pytest.fixture(scope="module", params=MAKERS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    return Both(MAKERS[request.param](tmp_path_factory.mktemp("tokenizer")))


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_text_has_the_same_tokens(both: Both, text: str) -> None:
    assert both.graph(text) == both.reference(text)


@settings(max_examples=300)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_any_text_has_the_same_tokens(both: Both, text: str) -> None:
    assert both.graph(text) == both.reference(text)


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(["a", "b", "c", "A", "é", "e\u0301", "!", " ", "[SEP]", "[", "ə", "\u200b", "東"])
    )
)
def test_words_of_known_and_unknown_pieces_have_the_same_tokens(both: Both, parts: list[str]) -> None:
    text = "".join(parts)
    assert both.graph(text) == both.reference(text)


def test_a_word_that_cannot_be_written_to_its_end_is_one_unknown_token(tmp_path: Path) -> None:
    """`BertTokenizer` alone gives ``abc`` and an unknown piece."""
    both = Both(sparse(tmp_path))
    assert both.graph("abcb a") == both.reference("abcb a") == [4, 2, 10, 6]


@pytest.mark.parametrize("words", [MAX_LENGTH - 3, MAX_LENGTH - 2, MAX_LENGTH - 1, 5 * MAX_LENGTH])
def test_long_texts_are_cut_before_the_last_token(words: int) -> None:
    both = Both(minilm_folder() / "tokenizer.json", MAX_LENGTH, minilm_wordpiece())
    found = both.graph("word " * words)
    assert found == both.reference("word " * words)
    assert len(found) == min(words + 2, MAX_LENGTH)


@pytest.mark.parametrize("text", ["\0", "good\0 bad", "bad\0"], ids=ascii)
def test_a_nul_is_refused(both: Both, text: str) -> None:
    """The operators after the refusal would read ``good`` and nothing of what follows."""
    with pytest.raises(DataError, match="NUL character"):
        both.graph(text)


def test_a_lone_surrogate_is_refused(both: Both) -> None:
    with pytest.raises(DataError, match="no string of Unicode"):
        both.graph("a\ud800b")


@pytest.mark.parametrize(
    "content", [b"a\xffb", b"\xed\xa0\x80", b"caf\xc3", b"\xc0\x80", b"\xf4\x90\x80\x80"]
)
def test_bytes_that_are_no_utf8_are_refused(tmp_path: Path, content: bytes) -> None:
    """They cannot come from Python; a constant in place of the input stands for a program in C++."""
    graph = tokenizer_graph(read_wordpiece(sparse(tmp_path)), max_length=MAX_LENGTH)
    del graph.graph.input[:]
    graph.graph.initializer.append(helper.make_tensor("text", TensorProto.STRING, [1], [content]))
    graph.graph.input.append(helper.make_tensor_value_info("other", TensorProto.STRING, [1]))
    with pytest.raises(Exception, match="refused: the text has a NUL character or is not valid UTF-8"):
        import onnxruntime
        from onnxruntime_extensions import get_library_path

        options = onnxruntime.SessionOptions()
        options.register_custom_ops_library(get_library_path())
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
        session.run(["input_ids"], {"other": np.array(["x"], object)})


def whole_graph(**changes: object) -> onnx.ModelProto:
    arguments = {"max_length": MAX_LENGTH, "labels": ("negative", "positive"), "facts": {"made": "here"}}
    return add_strings(mean_model(), minilm_wordpiece(), **{**arguments, **changes})


def test_graph_gives_label_probabilities_and_logits() -> None:
    graph = whole_graph()
    found = StringsSession(graph.SerializeToString()).run("a fine film")
    best = int(found["logits"].argmax())
    assert [found[name].shape for name in ("label", "probabilities", "logits")] == [(1,), (1, 2), (1, 2)]
    assert found["label"][0] == ("negative", "positive")[best] and found["probabilities"].argmax() == best
    exponentials = np.exp(found["logits"])
    np.testing.assert_allclose(found["probabilities"], exponentials / exponentials.sum(), rtol=1e-6)
    assert {one.key: one.value for one in graph.metadata_props}["made"] == "here"
    onnx.checker.check_model(graph)


def test_a_batch_of_two_is_refused_by_the_runtime() -> None:
    session = StringsSession(whole_graph().SerializeToString())._session
    with pytest.raises(Exception, match="invalid dimensions for input: text"):
        session.run(None, {"text": np.array(["a", "b"], object)})


def test_a_model_of_pairs_is_refused() -> None:
    model = mean_model()
    model.graph.input.append(
        helper.make_tensor_value_info("token_type_ids", TensorProto.INT64, ["batch", "sequence"])
    )
    with pytest.raises(
        UnsupportedError, match=r"takes attention_mask, input_ids, token_type_ids.*single texts"
    ):
        add_strings(model, minilm_wordpiece(), max_length=8, labels="ab", facts={})


def test_a_model_without_strings_in_its_opset_is_refused() -> None:
    model = mean_model()
    model.opset_import[0].version = 17
    with pytest.raises(
        UnsupportedError, match=r"opset 17; strings need 20 or newer\. Export the model again"
    ):
        add_strings(model, minilm_wordpiece(), max_length=8, labels="ab", facts={})


@pytest.mark.parametrize("kind", KINDS)
def test_other_tokenizers_are_refused(kind: str, tmp_path: Path) -> None:
    KINDS[kind]().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(
        UnsupportedError, match=r"its normalizer is .*; allowed: BertNormalizer.*own run.py takes texts"
    ):
        read_wordpiece(tmp_path / "tokenizer.json")


def test_words_longer_than_the_operator_takes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="max_input_chars_per_word is 201; allowed: up to 200"):
        read_wordpiece(sparse(tmp_path, max_input_chars_per_word=201))


@pytest.mark.parametrize(
    ("token", "rule"), [("[A]", "normalized"), ("[A]", "single_word"), ("<a b>", None), ("Ä", None)]
)
def test_added_tokens_with_rules_of_their_own_are_refused(
    token: str, rule: str | None, tmp_path: Path
) -> None:
    data = json.loads((minilm_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    plain = {**data["added_tokens"][0], "id": 1, "content": token}
    data["added_tokens"].append({**plain, **({rule: True} if rule else {})})
    data["model"]["vocab"][token] = data["model"]["vocab"].pop("[unused0]")
    (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(UnsupportedError, match=r"the added token .* has rules of its own"):
        read_wordpiece(tmp_path / "tokenizer.json")


def test_another_frame_around_a_text_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [SEP]", special_tokens=[("[SEP]", 102)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(
        UnsupportedError, match="puts 1 special tokens around a text; allowed: one before and one after"
    ):
        read_wordpiece(tmp_path / "tokenizer.json")
