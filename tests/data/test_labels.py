from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from edgesmith.data.labels import (
    MAX_GUESSED_CLASSES,
    check_are_classes,
    class_name,
    is_missing,
    score,
    sort_classes,
)
from edgesmith.errors import UnsupportedError


@pytest.mark.parametrize("cell", [None, float("nan"), np.nan, pd.NA, pd.NaT, "", "  \t", []])
def test_nothing_is_missing(cell: Any) -> None:
    assert is_missing(cell)
    assert class_name(cell) is None


@pytest.mark.parametrize("cell", [0, False, "nan", "None", 0.0, ["a"], {}, np.array([1.0, np.nan])])
def test_something_is_not_missing(cell: Any) -> None:
    assert not is_missing(cell)


@pytest.mark.parametrize(
    ("cell", "name"),
    [(1, "1"), (1.0, "1"), (-1, "-1"), (True, "True"), (" spam ", "spam"), ("1.0", "1.0"), (0.5, "0.5")],
)
def test_class_name(cell: Any, name: str) -> None:
    assert class_name(cell) == name


def test_integers_sort_by_value_and_names_by_letter() -> None:
    assert sort_classes(["10", "9", "-1", "9"]) == ("-1", "9", "10")
    assert sort_classes(["b", "10", "9"]) == ("10", "9", "b")


@pytest.mark.parametrize("names", [("5.000", "3.8"), ("1", "0.5"), ("1e-3", "2")])
def test_scores_are_refused_even_if_named(names: tuple[str, ...]) -> None:
    with pytest.raises(
        UnsupportedError, match=r"a\.csv, column 's': \S+ is a score. Predict it with --task text-regression"
    ):
        check_are_classes(names, "s", "a.csv", is_named=True)


@pytest.mark.parametrize("names", [("1.0", "2.0"), ("1.5", "many"), ("nan", "inf"), ("v1.5", "v2")])
def test_names_that_are_no_scores_pass(names: tuple[str, ...]) -> None:
    check_are_classes(names, "s", "a.csv", is_named=False)


def test_many_labels_are_classes_only_if_the_column_is_named() -> None:
    names = tuple(map(str, range(MAX_GUESSED_CLASSES + 1)))
    check_are_classes(names[1:], "intent", "a.csv", is_named=False)
    check_are_classes(names, "intent", "a.csv", is_named=True)
    with pytest.raises(
        UnsupportedError, match=r"51 distinct labels; more than 50 .* Classification needs classes"
    ):
        check_are_classes(names, "intent", "a.csv", is_named=False)


@pytest.mark.parametrize(
    ("cell", "value"), [("5.000", 5.0), (3, 3.0), (np.float32(0.5), 0.5), (" -1e-2 ", -0.01)]
)
def test_a_score_is_a_finite_number(cell: Any, value: float) -> None:
    assert score(cell) == pytest.approx(value)


@pytest.mark.parametrize("cell", [None, "", float("nan"), "inf", "five", True, [1.0]])
def test_anything_else_is_no_score(cell: Any) -> None:
    assert score(cell) is None
