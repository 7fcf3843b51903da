"""The matrix is read off the capability tables; every gap has its reason and a way out."""

from __future__ import annotations

from itertools import product

import pytest

from edgesmith.errors import UnsupportedError
from edgesmith.records import METRICS_OF, RUNTIME_NAMES
from edgesmith.targets import (
    CAPABILITIES,
    FAMILIES,
    TASKS_ON,
    WEIGHT_DTYPES,
    check_task,
    runtime_names,
    support_matrix,
)
from edgesmith.targets.support import support

CELLS = {(cell.family, cell.runtime, cell.precision): cell for cell in support_matrix()}


def test_every_runtime_has_rows_and_tasks() -> None:
    assert runtime_names() == sorted(RUNTIME_NAMES) == sorted(TASKS_ON)


def test_every_cell_is_there_once() -> None:
    assert len(support_matrix()) == len(CELLS)
    assert set(CELLS) == set(product(FAMILIES, runtime_names(), WEIGHT_DTYPES))


def test_a_cell_is_supported_where_a_row_covers_it_and_the_runtime_takes_a_task() -> None:
    for cell in CELLS.values():
        wanted = (cell.runtime, "linear", cell.precision)
        rows = [row for row in CAPABILITIES if (row.runtime, row.kind, row.weight) == wanted]
        has_task = set(FAMILIES[cell.family]) & set(TASKS_ON[cell.runtime])
        assert cell.computes == (rows[0].computes if rows and has_task else None)
        assert (cell.computes is None) == bool(cell.reason)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (
            ("bert", "openvino", "int4"),
            "nothing is written in INT4 for openvino: store FP32, FP16 or INT8, or take litert",
        ),
        (("mobilebert", "onnxruntime", "fp32"), "no compact form: prune it with edgesmith prune"),
    ],
)
def test_a_gap_says_why_and_what_would_work(cell: tuple[str, str, str], reason: str) -> None:
    assert CELLS[cell].reason.startswith(reason)


def test_a_task_is_taken_or_refused_as_the_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS_ON, "litert", ("text-classification",))
    assert support("vit", "litert", "int8").reason == (
        "litert takes text-classification; for image-classification take executorch, onnxruntime or openvino"
    )
    for runtime, task in product(TASKS_ON, METRICS_OF):
        if task in TASKS_ON[runtime]:
            check_task(runtime, task)
        else:
            with pytest.raises(
                UnsupportedError, match=rf"{task} on {runtime} is not supported, .*--runtime \w+"
            ):
                check_task(runtime, task)


def test_the_families_are_those_that_models_are_loaded_of() -> None:
    from edgesmith.models import families, vision

    texts, images = set(families.FAMILIES), set(vision.VISION_FAMILIES)
    assert {name for name, tasks in FAMILIES.items() if "text-classification" in tasks} == texts
    assert {name for name, tasks in FAMILIES.items() if "image-classification" in tasks} == images
    assert {name for name, tasks in FAMILIES.items() if not tasks} <= set(families.WHOLE_FAMILIES)
    assert set(FAMILIES) >= texts | images
