from edgesmith.measure.code_points import sweep
from edgesmith.records import SilentProgress

LETTERS = [chr(code) for code in range(0x4E00, 0x4E00 + 1300)]


def ids(text: str) -> list[int]:
    return [ord(c) for c in text]


def test_equal_tokenizers_differ_nowhere():
    found = sweep(ids, ids, LETTERS, SilentProgress())
    assert (found.n, found.different, found.examples) == (1300, 0, ())


def test_every_character_that_is_read_differently_is_found_and_no_other():
    wrong = {LETTERS[place] for place in (0, 511, 512, 700, 1299)}
    found = sweep(ids, lambda text: [0 if c in wrong else ord(c) for c in text], LETTERS, SilentProgress())
    assert found.different == len(wrong)
    assert found.examples == tuple(f"U+{ord(c):04X}" for c in sorted(wrong))


def test_a_character_that_is_wrong_only_inside_a_word_is_found():
    inside = LETTERS[3]
    found = sweep(ids, lambda text: ids(text.replace(f"t{inside}", "t")), LETTERS, SilentProgress())
    assert found.examples == (f"U+{ord(inside):04X}",)


def test_only_the_first_are_named():
    found = sweep(ids, lambda text: [], LETTERS, SilentProgress())
    assert found.different == 1300 and found.examples == tuple(f"U+{ord(c):04X}" for c in LETTERS[:10])
