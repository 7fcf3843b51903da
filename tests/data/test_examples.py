from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from edgesmith.data.examples import TextExamples, fingerprint
from edgesmith.errors import DataError

PAIRS = TextExamples(("a", "b", "c"), ("x", "y", "z"), (0, 1, 0))
SINGLE = TextExamples(("a", "b"), None, (0, 1))


def test_take_keeps_the_order_asked_for() -> None:
    assert PAIRS.take([2, 0]) == TextExamples(("c", "a"), ("z", "x"), (0, 0))
    assert SINGLE.take([1]) == TextExamples(("b",), None, (1,))
    assert len(PAIRS) == 3
    assert len(PAIRS.take([])) == 0


@pytest.mark.parametrize(
    ("texts", "pairs", "labels", "counts"),
    [
        (("a",), None, (0, 1), "1 texts, 1 pairs and 2 labels"),
        (("a",), (), (0,), "1 texts, 0 pairs and 1 labels"),
    ],
)
def test_sides_of_different_length_are_refused(
    texts: tuple[str, ...], pairs: tuple[str, ...] | None, labels: tuple[int, ...], counts: str
) -> None:
    with pytest.raises(DataError, match=counts):
        TextExamples(texts, pairs, labels)


def test_fingerprint_is_sha256_of_the_rows_as_json() -> None:
    assert fingerprint(SINGLE) == hashlib.sha256(b'[[["a", "b"], null, [0, 1]]]').hexdigest()


def test_fingerprint_sees_content_order_and_split() -> None:
    others = [
        fingerprint(SINGLE, PAIRS),
        fingerprint(PAIRS, SINGLE),
        fingerprint(SINGLE, PAIRS.take([0, 2, 1])),
        fingerprint(SINGLE.take([0]), PAIRS),
        fingerprint(TextExamples(("a", "b"), None, (0, 0)), PAIRS),
        fingerprint(TextExamples(("a", "b"), ("", ""), (0, 1)), PAIRS),
    ]
    assert len(set(others)) == len(others)


def test_fingerprint_is_the_same_in_another_process() -> None:
    code = "from edgesmith.data.examples import *; print(fingerprint(TextExamples(('\\u00e9', 'b'), None, (0, 1))), end='')"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"}
    other = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert other.stdout == fingerprint(TextExamples(("\u00e9", "b"), None, (0, 1)))
