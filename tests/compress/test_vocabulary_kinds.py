"""BPE and Unigram: tokenizers that are trained here, and small ones that can be read at a glance."""

from __future__ import annotations

import json
from functools import cache

import pytest
from fixtures_text import UNICODE_TEXTS
from fixtures_tokenizers import KINDS, SPECIAL, byte_level_bpe, lines, unigram
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from edgesmith.compress.vocabulary import TrimmedVocabulary, check_can_trim, trim_vocabulary
from edgesmith.errors import RecipeError

CORPUS = lines()[:30]
EVERY = pytest.mark.parametrize("kind", KINDS)


def ids_of(tokenizer: Tokenizer, texts) -> list[list[int]]:
    return [tokenizer.encode(text).ids for text in texts]


@cache
def trimmed(kind: str) -> tuple[Tokenizer, Tokenizer, TrimmedVocabulary]:
    """The tokenizer, the same for the corpus, and what is known of it."""
    before = KINDS[kind]()
    vocabulary = trim_vocabulary(before.to_str(), ids_of(before, CORPUS))
    return before, Tokenizer.from_str(vocabulary.tokenizer_json), vocabulary


def unknown(tokenizer: Tokenizer, text: str) -> int:
    return tokenizer.encode(text).ids.count(tokenizer.token_to_id("<unk>"))


@EVERY
def test_texts_whose_tokens_all_stay_are_tokenised_as_before(kind):
    before, after, vocabulary = trimmed(kind)
    new = vocabulary.remap()
    whole = 0
    for text in lines():
        old = before.encode(text)
        if set(old.ids) <= new.keys():
            whole += 1
            assert after.encode(text).ids == [new[token] for token in old.ids]
        else:
            assert unknown(after, text) == unknown(before, text)
    assert len(CORPUS) <= whole < len(lines())


@EVERY
def test_the_tables_rows_are_the_old_ones(kind):
    before, after, vocabulary = trimmed(kind)
    assert vocabulary.kept_ids == tuple(sorted(set(vocabulary.kept_ids)))
    assert after.get_vocab_size() == len(vocabulary.kept_ids) < before.get_vocab_size()
    for new, old in enumerate(vocabulary.kept_ids):
        assert after.id_to_token(new) == before.id_to_token(old)
    assert vocabulary.coverage == 1.0


TEXTS = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30),
    st.text(alphabet="abcdefgxyz '-.0123456789éøß слово 日本語\u0301", min_size=1, max_size=40),
    st.lists(st.sampled_from(" ".join(lines()).split()), max_size=6).map(" ".join),
)


@EVERY
@given(text=TEXTS)
def test_what_could_be_written_still_can_and_reads_the_same(kind, text):
    before, after, _ = trimmed(kind)
    assert unknown(after, text) == unknown(before, text)
    if before.decoder is not None and not unknown(before, text):
        assert after.decode(after.encode(text).ids) == before.decode(before.encode(text).ids)


@EVERY
@pytest.mark.parametrize("text", UNICODE_TEXTS)
def test_so_can_these(kind, text):
    before, after, _ = trimmed(kind)
    assert unknown(after, text) == unknown(before, text)


@EVERY
def test_special_tokens_keep_their_places_and_get_their_new_ids(kind):
    before, after, _ = trimmed(kind)
    assert [after.token_to_id(token) for token in SPECIAL] == list(range(len(SPECIAL)))
    single, pair = after.encode("a"), after.encode("a", "a")
    assert (single.tokens[0], single.tokens[-1]) == ("<s>", "</s>")
    assert pair.tokens == before.encode("a", "a").tokens
    for encoded in (single, pair):
        assert encoded.ids == [after.token_to_id(token) for token in encoded.tokens]


@EVERY
def test_a_cap_keeps_the_frequent_tokens_and_is_kept_to(kind):
    before, _, vocabulary = trimmed(kind)
    ids = ids_of(before, CORPUS)
    least = len(trim_vocabulary(before.to_str(), []).kept_ids)
    size = (least + len(vocabulary.kept_ids)) // 2
    capped = trim_vocabulary(before.to_str(), ids, vocab_size=size)
    assert least < len(capped.kept_ids) <= size
    assert set(capped.kept_ids) < set(vocabulary.kept_ids)
    assert 0.5 < capped.coverage < 1
    after = Tokenizer.from_str(capped.tokenizer_json)
    for text in CORPUS:
        assert unknown(after, text) == unknown(before, text)
    with pytest.raises(RecipeError, match=rf"Type: --set prune.vocabulary_size={least}$"):
        check_can_trim(before.to_str(), least - 1)


def test_a_trimmed_tokenizer_can_be_trimmed_again():
    _, after, vocabulary = trimmed("byte-level BPE")
    again = trim_vocabulary(vocabulary.tokenizer_json, ids_of(after, CORPUS))
    assert again.kept_ids == tuple(range(len(vocabulary.kept_ids)))
    assert json.loads(again.tokenizer_json) == json.loads(vocabulary.tokenizer_json)


def test_all_256_bytes_stay():
    for kind, alphabet in (
        ("byte-level BPE", sorted(pre_tokenizers.ByteLevel.alphabet())),
        ("BPE with byte fallback", [f"<0x{byte:02X}>" for byte in range(256)]),
    ):
        assert set(alphabet) <= trimmed(kind)[1].get_vocab().keys()


def test_words_of_the_corpuss_letters_can_stay_too():
    tokenizer = byte_level_bpe()
    ids = [tokenizer.encode("the rows слово", add_special_tokens=False).ids]
    few, more = (
        set(trim_vocabulary(tokenizer.to_str(), ids, keep_letters=letters).kept_ids)
        for letters in (False, True)
    )
    added = [tokenizer.decode([token]).strip() for token in more - few]
    assert few < more
    assert {"her", "or"} <= set(added)
    assert all(set(word) <= set("therows слово") for word in added)


# ---- BPE at a glance


def bpe(vocab: str, merges: str, **settings) -> Tokenizer:
    """Pieces and merges with spaces between, those of a merge with a plus."""
    numbers = {piece: number for number, piece in enumerate(vocab.split())}
    pairs = [tuple(merge.split("+")) for merge in merges.split()]
    tokenizer = Tokenizer(models.BPE(numbers, pairs, **settings))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def test_what_a_piece_is_merged_from_stays_with_it():
    tokenizer = bpe("a b c d ab cd abcd bc", "b+c a+b c+d ab+cd")
    assert tokenizer.encode("abab cdcd").tokens == ["ab", "ab", "cd", "cd"]
    tokenizer = bpe("a b c d ab cd abcd ba", "a+b c+d ab+cd b+a")
    vocabulary = trim_vocabulary(tokenizer.to_str(), [[tokenizer.token_to_id("abcd")]])
    after = Tokenizer.from_str(vocabulary.tokenizer_json)
    assert sorted(after.get_vocab()) == ["a", "ab", "abcd", "b", "c", "cd", "d"]
    assert json.loads(vocabulary.tokenizer_json)["model"]["merges"] == [["a", "b"], ["c", "d"], ["ab", "cd"]]
    assert after.encode("abcd").tokens == ["abcd"]
    assert after.encode("bab").tokens == ["b", "ab"]
    assert tokenizer.encode("bcba").tokens == ["b", "c", "ba"]
    assert after.encode("bcba").tokens == ["b", "c", "b", "a"]


def test_a_piece_that_several_merges_make_keeps_the_parts_of_all():
    """abc is a + bc, since b + c comes first; where a + b has come first, it would be ab + c."""
    tokenizer = bpe("a b c ab bc abc", "b+c a+b ab+c a+bc")
    assert tokenizer.encode("abc").tokens == ["abc"]
    after = Tokenizer.from_str(trim_vocabulary(tokenizer.to_str(), [[5]]).tokenizer_json)
    assert after.encode("abc").tokens == ["abc"]
    assert {"ab", "bc"} <= after.get_vocab().keys()


def test_a_cap_counts_the_parts_of_a_piece():
    tokenizer = bpe("a b c d ab cd abcd ba", "a+b c+d ab+cd b+a")
    ids = [[6, 6, 6, 7]]  # abcd needs two more, ba none
    for size, kept in ((4, "abcd"), (5, "a b c d ba"), (6, "a b c d ba"), (7, "a b c d ab cd abcd")):
        after = Tokenizer.from_str(trim_vocabulary(tokenizer.to_str(), ids, vocab_size=size).tokenizer_json)
        assert sorted(after.get_vocab()) == sorted(kept.split() if " " in kept else kept)


def test_a_whole_word_that_its_characters_cannot_write_stays():
    """With ``ignore_merges`` a word that is a piece is found as it stands."""
    tokenizer = bpe("<unk> a b xb ab", "a+b", unk_token="<unk>", ignore_merges=True)
    assert tokenizer.encode("xb").tokens == ["xb"]
    after = Tokenizer.from_str(trim_vocabulary(tokenizer.to_str(), []).tokenizer_json)
    assert after.encode("xb").tokens == ["xb"]
    assert after.encode("ab xa").tokens == ["a", "b", "<unk>", "a"]


def test_ids_follow_wherever_they_stand():
    """A post-processor, padding, and added tokens that are no pieces of the model."""
    tokenizer = Tokenizer.from_str(byte_level_bpe().to_str())
    tokenizer.add_special_tokens(["<extra>"])
    tokenizer.add_tokens(["verbatim"])
    extra, added = tokenizer.token_to_id("<extra>"), tokenizer.token_to_id("verbatim")
    assert (extra, added) == (byte_level_bpe().get_vocab_size(), byte_level_bpe().get_vocab_size() + 1)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<extra>", extra))
    tokenizer.enable_padding(pad_id=extra, pad_token="<extra>", length=30)
    vocabulary = trim_vocabulary(tokenizer.to_str(), [])
    new, after = vocabulary.remap(), Tokenizer.from_str(vocabulary.tokenizer_json)
    for text in ("verbatim", "a verbatim text"):
        assert after.encode(text).tokens.count("verbatim") == 1
        assert new[added] in after.encode(text).ids
    encoded = after.encode("aa")
    assert (encoded.tokens[0], encoded.ids[0], encoded.ids[-1]) == ("<extra>", new[extra], new[extra])
    assert after.decode([new[added]]) == "verbatim"


# ---- Unigram at a glance


def pieces_with_scores(*pieces: tuple[str, float]) -> Tokenizer:
    return Tokenizer(models.Unigram([("<unk>", 0.0), *pieces], unk_id=0, byte_fallback=False))


def test_the_unknown_pieces_id_follows():
    tokenizer = Tokenizer(models.Unigram([("abc", -1.0), ("a", -3.0), ("<unk>", 0.0)], 2, False))
    text = trim_vocabulary(tokenizer.to_str(), []).tokenizer_json
    # abc has characters that are no pieces, so it stays
    assert Tokenizer.from_str(text).encode("abcz").ids == [0, 2]
    tokenizer = Tokenizer(models.Unigram([("aa", -1.0), ("a", -3.0), ("<unk>", 0.0)], 2, False))
    after = Tokenizer.from_str(trim_vocabulary(tokenizer.to_str(), []).tokenizer_json)
    assert after.encode("aaz").ids == [0, 0, 1]


def test_a_character_within_longer_pieces_only_does_not_become_unknown():
    """z is in xz alone. Once wx is gone, w + xz costs more than wwwx + unknown, for a score that is not what it was."""
    tokenizer = pieces_with_scores(
        ("w", -25.0), ("x", -25.0), ("xz", -20.0), ("www", -2.0), ("wwwx", -3.0), ("q", -30.0)
    )
    assert tokenizer.encode("wwwxz").ids == [4, 3]  # -22, against -3 - 40
    vocabulary = trim_vocabulary(tokenizer.to_str(), [[5]])
    assert 4 not in vocabulary.kept_ids
    after = Tokenizer.from_str(vocabulary.tokenizer_json)
    assert [after.id_to_token(token) for token in after.encode("wwwxz").ids] == ["w", "w", "w", "xz"]
    data = json.loads(vocabulary.tokenizer_json)
    data["model"]["vocab"][0][1] = 0.0  # as the library would have it
    assert 0 in Tokenizer.from_str(json.dumps(data)).encode("wwwxz").ids


def test_scores_stay_as_they_are_where_every_character_is_a_piece():
    before = dict(json.loads(unigram().to_str())["model"]["vocab"])
    after = json.loads(trimmed("Unigram")[2].tokenizer_json)["model"]["vocab"]
    assert all(before[piece] == score for piece, score in after)
