"""What becomes of a candidate once it is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesmith.pipeline.built import Built, best_of
from edgesmith.records import Candidate, EncoderShape, StepRecord, Structure

SHAPE = EncoderShape(
    vocab=100,
    hidden=8,
    head_dim=4,
    heads=(2,),
    neurons=(16,),
    embedding_rank=8,
    positions=16,
    type_vocab=0,
    labels=2,
)


def built(name: str, size_bytes: int, **runtimes: tuple[float, float | None]) -> Built:
    """Drop on all validation rows and on the longest, by runtime."""
    exports = {}
    for runtime, (drop, longest) in runtimes.items():
        group = None if longest is None else {"rows": 1475, "mean": longest, "error": 0.008}
        facts = {"rows": 6000, "drop": drop, "longest": group}
        exports[runtime] = (StepRecord(step="export", key="", wall_s=1.0, facts=facts), Path())
    candidate = Candidate(
        name=name,
        structure=Structure(depth=1),
        shape=SHAPE,
        size_bytes=size_bytes,
        latency_ms=1.0,
        latency_is_measured=True,
    )
    return Built(candidate=candidate, plans=Path(), exports=exports)


@pytest.mark.parametrize(
    ("drop", "longest", "keeps"),
    [
        (0.0098, None, True),
        (0.91 - 0.9, None, True),  # a little more than 0.01 in floating point
        (0.0102, None, False),
        (0.0098, 0.017, True),  # within a standard error of the budget
        (0.0098, 0.023, False),
    ],
)
def test_both_all_rows_and_the_longest_must_keep_the_drop(drop, longest, keeps):
    assert built("tiny", 10**6, onnxruntime=(drop, longest)).keeps(0.01) is keeps


def test_the_runtime_that_loses_least_decides():
    one = built("tiny", 10**6, onnxruntime=(0.012, 0.0), litert=(0.008, 0.04))
    assert one.drop == 0.008
    assert not one.keeps(0.01)
    assert one.story == (
        "built: lost 0.80 points on 6,000 validation rows (4.00 on the 1,475 longest, standard error 0.80)"
    )


def test_the_cheapest_that_keeps_the_drop_is_best_else_the_one_that_loses_least():
    tiny, small, full = (
        built("tiny", 1, onnxruntime=(0.0098, 0.04)),
        built("small", 2, onnxruntime=(0.005, 0.01)),
        built("full", 9, onnxruntime=(0.001, 0.0)),
    )
    assert best_of([tiny, full, small], 0.01) is small
    assert best_of([tiny, full, small], 0.0) is full


def test_without_long_rows_nothing_is_said_of_them():
    assert (
        built("tiny", 1, onnxruntime=(-0.002, None)).story
        == "built: gained 0.20 points on 6,000 validation rows"
    )
