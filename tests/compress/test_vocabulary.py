from __future__ import annotations

import json
from collections import Counter
from functools import cache

import pytest
from fixtures_models import SECOND_SENTENCES, SENTENCES, glue_sentences
from fixtures_text import UNICODE_TEXTS, minilm_folder
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel, WordPiece
from tokenizers.pre_tokenizers import WhitespaceSplit

from edgesmith.compress.vocabulary import TrimmedVocabulary, check_can_trim, trim_vocabulary
from edgesmith.errors import RecipeError, UnsupportedError

CORPUS = (*SENTENCES, *SECOND_SENTENCES)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@cache
def original() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def trim(corpus=CORPUS, **settings) -> TrimmedVocabulary:
    return trim_vocabulary(original().to_str(), [original().encode(text).ids for text in corpus], **settings)


@cache
def trimmed() -> tuple[TrimmedVocabulary, Tokenizer]:
    vocabulary = trim()
    return vocabulary, Tokenizer.from_str(vocabulary.tokenizer_json)


def test_texts_whose_tokens_all_stay_are_tokenised_as_before():
    vocabulary, tokenizer = trimmed()
    remap = vocabulary.remap()
    for text in CORPUS:
        before, after = original().encode(text), tokenizer.encode(text)
        assert after.tokens == before.tokens
        assert after.ids == [remap[old] for old in before.ids]


def test_real_texts_whose_tokens_all_stay_are_tokenised_as_before():
    sentences = glue_sentences("SST-2", "sentence", 600)
    vocabulary = trim(sentences[:300])
    tokenizer, remap = Tokenizer.from_str(vocabulary.tokenizer_json), vocabulary.remap()
    whole = 0
    for text in sentences:
        before = original().encode(text)
        if set(before.ids) <= remap.keys():
            whole += 1
            assert tokenizer.encode(text).ids == [remap[old] for old in before.ids]
        else:
            assert "[UNK]" not in set(tokenizer.encode(text).tokens) - set(before.tokens)
    assert 300 <= whole < 600


def test_the_tables_rows_are_the_old_ones():
    vocabulary, tokenizer = trimmed()
    assert vocabulary.kept_ids == tuple(sorted(set(vocabulary.kept_ids)))
    assert tokenizer.get_vocab_size() == len(vocabulary.kept_ids) < original().get_vocab_size() / 10
    for new, old in enumerate(vocabulary.kept_ids):
        assert tokenizer.id_to_token(new) == original().id_to_token(old)


WORDS = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20),
    st.text(alphabet="abcdefghijklmnopqrstuvwxyz'-.0123456789éøß日本", min_size=1, max_size=40),
)


@given(st.lists(WORDS, min_size=1, max_size=4).map(" ".join))
def test_nothing_that_could_be_written_becomes_unknown(text):
    before, after = original().encode(text), trimmed()[1].encode(text)
    assert after.tokens.count("[UNK]") == before.tokens.count("[UNK]")
    assert "".join(after.tokens).replace("##", "") == "".join(before.tokens).replace("##", "")


@pytest.mark.parametrize("text", UNICODE_TEXTS)
def test_nor_do_these(text):
    before, after = original().encode(text), trimmed()[1].encode(text)
    assert after.tokens.count("[UNK]") == before.tokens.count("[UNK]")


def test_single_sentences_and_pairs_get_their_special_tokens():
    _, tokenizer = trimmed()
    new = {token: tokenizer.token_to_id(token) for token in SPECIAL}
    assert list(new.values()) == [0, 1, 2, 3, 4]  # they were 0, 100, 101, 102 and 103
    single, pair = tokenizer.encode("movie"), tokenizer.encode("movie", "good")
    assert single.tokens == ["[CLS]", "movie", "[SEP]"]
    assert [single.ids[0], single.ids[-1]] == [new["[CLS]"], new["[SEP]"]]
    assert pair.tokens == ["[CLS]", "movie", "[SEP]", "good", "[SEP]"]
    assert [pair.ids[at] for at in (0, 2, 4)] == [new["[CLS]"], new["[SEP]"], new["[SEP]"]]
    assert pair.type_ids == [0, 0, 0, 1, 1]
    assert tokenizer.encode("[MASK]").ids[1] == new["[MASK]"]


def test_a_bert_post_processor_and_padding_follow_too():
    data = json.loads(original().to_str())
    data["post_processor"] = {
        "type": "Sequence",
        "processors": [{"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101]}],
    }
    data["padding"] = {
        "strategy": {"Fixed": 6},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 103,
        "pad_type_id": 0,
        "pad_token": "[MASK]",
    }
    vocabulary = trim_vocabulary(json.dumps(data), [original().encode("movie").ids])
    encoded = Tokenizer.from_str(vocabulary.tokenizer_json).encode("movie")
    assert encoded.tokens == ["[CLS]", "movie", "[SEP]", "[MASK]", "[MASK]", "[MASK]"]
    assert encoded.ids == [
        vocabulary.remap()[old] for old in (101, original().token_to_id("movie"), 102, *[103] * 3)
    ]


def test_coverage_is_the_fraction_of_tokens_that_stay():
    assert trimmed()[0].coverage == 1.0
    ids = [original().encode(text).ids for text in CORPUS]
    rare = trim_vocabulary(original().to_str(), ids, min_count=2)
    kept = set(rare.kept_ids)
    flat = [token for row in ids for token in row]
    assert rare.coverage == pytest.approx(sum(token in kept for token in flat) / len(flat))
    assert 0.5 < rare.coverage < 1
    assert trim_vocabulary(original().to_str(), []).coverage == 1.0


def test_rare_tokens_leave():
    kept = set(trim(min_count=2).kept_ids)
    slow, movie = original().token_to_id("slow"), original().token_to_id("gorgeous")
    assert slow in kept  # twice
    assert movie not in kept  # once


def test_a_cap_drops_the_rarest_tokens_first():
    floor = len(trim(corpus=()).kept_ids)
    whole = trim().kept_ids
    capped = trim(vocab_size=floor + 3)
    assert len(capped.kept_ids) == floor + 3
    assert set(capped.kept_ids) < set(whole)
    counts = Counter(token for text in CORPUS for token in original().encode(text).ids)
    dropped = set(whole) - set(capped.kept_ids)
    added = set(capped.kept_ids) - set(trim(corpus=()).kept_ids)
    assert len(added) == 3
    assert min(counts[token] for token in added) >= max(counts[token] for token in dropped)
    assert trim(vocab_size=len(whole) + 100).kept_ids == whole
    assert len(trim(vocab_size=floor).kept_ids) == floor


def test_words_of_the_corpuss_letters_can_stay_too():
    few, more = trim(["a bad cab"]), trim(["a bad cab"], keep_letters=True)
    added = {original().id_to_token(token) for token in set(more.kept_ids) - set(few.kept_ids)}
    assert {"dad", "##ada"} <= added
    assert all(set(token.removeprefix("##")) <= set("abcd") for token in added)
    capped = trim(["a bad cab"], keep_letters=True, vocab_size=len(few.kept_ids) + 1)
    assert set(few.kept_ids) < set(capped.kept_ids)  # what the corpus uses goes first
    assert "dad" in Tokenizer.from_str(more.tokenizer_json).get_vocab()


def test_a_word_that_the_corpus_uses_too_seldom_stays_out():
    corpus = ["a bad cab", "a bad dad"]
    kept = {original().id_to_token(token) for token in trim(corpus, min_count=2, keep_letters=True).kept_ids}
    assert "bad" in kept
    assert not {"cab", "dad"} & kept


def test_vowel_signs_belong_to_the_letters():
    """Devanagari, as MiniLM's vocabulary does not hold it: a tokenizer made here."""
    pieces = (
        "[UNK]",
        *(prefix + one for one in "काि" for prefix in ("", "##")),
        "का",
        "कि",
        "कब",
        "##ब",
        "ब",
    )
    tokenizer = Tokenizer(WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    kept = trim_vocabulary(tokenizer.to_str(), [tokenizer.encode("का ि").ids], keep_letters=True).kept_ids
    assert {"का", "कि"} <= {pieces[token] for token in kept}
    assert "कब" not in {pieces[token] for token in kept}


def test_a_cap_below_the_floor_is_refused():
    floor = len(trim(corpus=()).kept_ids)
    message = (
        f"prune.vocabulary_size is {floor - 1}; allowed: {floor} or more, the special tokens and single characters that "
        f"stay in any case, or null for no limit. Type: --set prune.vocabulary_size={floor}$"
    )
    with pytest.raises(RecipeError, match=message):
        trim(vocab_size=floor - 1)
    with pytest.raises(RecipeError, match=message):
        check_can_trim(original().to_str(), floor - 1)
    check_can_trim(original().to_str(), floor)


def test_a_tokenizer_of_whole_words_is_refused():
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "word": 1}, unk_token="[UNK]"))
    message = (
        "of a WordLevel tokenizer is not supported; WordPiece, BPE, Unigram are. Give a model with one of"
    )
    for call in (lambda text: trim_vocabulary(text, []), lambda text: check_can_trim(text, None)):
        with pytest.raises(UnsupportedError, match=message):
            call(tokenizer.to_str())


def test_a_token_that_characters_cannot_replace_stays():
    data = json.loads(original().to_str())
    vocab = data["model"]["vocab"]
    for token in ("##q", "##⅔"):
        del vocab[token]
    kept = trim_vocabulary(json.dumps(data), []).kept_ids
    assert vocab["##que"] in kept  # without ##q nothing else can begin so
    assert vocab["aquatic"] in kept
    assert vocab["queen"] not in kept  # q, ##u, ##e, ##e, ##n
