"""The table says what a runtime executes; anything else is refused with what it does execute."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import get_args

import pytest

from edgesmith.errors import UnsupportedError
from edgesmith.records import LayerPlan
from edgesmith.records.plan import Activation, Granularity, LayerKind, WeightDtype
from edgesmith.targets import (
    CAPABILITIES,
    capability_of,
    gives_integers,
    integer_schemes,
    runtime_names,
    uncalibrated_schemes,
)

EVERY_ENTRY = [
    LayerPlan(layer="l", kind=kind, weight=weight, granularity=granularity, activation=activation)
    for kind, weight, granularity, activation in product(
        get_args(LayerKind), get_args(WeightDtype), get_args(Granularity), get_args(Activation)
    )
]


def test_no_entry_has_two_rows() -> None:
    for runtime, entry in product(runtime_names(), EVERY_ENTRY):
        assert sum(row.covers(entry) for row in CAPABILITIES if row.runtime == runtime) <= 1


def test_onnxruntime_executes_integers_and_float_storage() -> None:
    executed = Counter()
    for entry in EVERY_ENTRY:
        try:
            executed[(entry.kind, entry.weight, capability_of("onnxruntime", entry).computes)] += 1
        except UnsupportedError:
            continue
    # A float weight has no scale, so every granularity counts.
    assert executed == {
        ("linear", "int8", "int8"): 3,  # per channel, dynamic and static; per block
        ("linear", "int4", "int8"): 1,
        ("embedding", "int8", "fp32"): 1,
        ("embedding", "int4", "fp32"): 1,
        ("linear", "fp16", "fp32"): 3,
        ("embedding", "fp16", "fp32"): 3,
        ("linear", "fp32", "fp32"): 3,
        ("embedding", "fp32", "fp32"): 3,
    }


def uncalibrated(runtime: str, kind: LayerKind) -> list[str]:
    return [str(scheme) for scheme in uncalibrated_schemes(runtime, kind)]


def test_what_a_plan_without_calibration_may_use() -> None:
    assert uncalibrated("onnxruntime", "linear") == ["int8 dynamic"]
    assert uncalibrated("onnxruntime", "embedding") == ["int8", "int4 per_block"]
    assert uncalibrated("litert", "linear") == ["int4 dynamic", "int8 dynamic"]
    assert "int8 static" in map(str, integer_schemes("litert", "linear"))
    assert gives_integers("litert") and not gives_integers("onnxruntime")
    assert [str(scheme) for scheme in integer_schemes("onnxruntime", "linear")] == [
        "int8 dynamic",
        "int8 static",
        "int8 per_block dynamic",
        "int4 per_block dynamic",
    ]
    assert [str(scheme) for scheme in integer_schemes("onnxruntime", "embedding")] == [
        "int8",
        "int4 per_block",
    ]


def test_a_refusal_says_what_would_work() -> None:
    entry = LayerPlan(
        layer="l", kind="linear", weight="int8", granularity="per_tensor", activation="dynamic_int8"
    )
    with pytest.raises(
        UnsupportedError, match=r"layer 'l'.*It can execute: linear int8 per_channel, activations"
    ):
        capability_of("onnxruntime", entry)


def test_an_unknown_runtime_gets_the_nearest() -> None:
    with pytest.raises(UnsupportedError, match="Did you mean 'onnxruntime'"):
        capability_of("onnx-runtime", EVERY_ENTRY[0])
