"""Records survive the way to a file and back, and a damaged file is refused by name."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesmith.errors import DataError, RecipeError
from edgesmith.records import (
    LayerPlan,
    Plan,
    SilentProgress,
    StepRecord,
    describe_environment,
    from_dict,
    read_json,
    to_dict,
    write_json,
    write_text,
)

layers = st.builds(
    LayerPlan,
    layer=st.text(),
    kind=st.sampled_from(["linear", "embedding"]),
    weight=st.sampled_from(["int8", "fp16", "fp32"]),
    granularity=st.sampled_from(["per_tensor", "per_channel"]),
    activation=st.sampled_from(["none", "dynamic_int8"]),
    sensitivity=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    reason=st.text(),
)


@settings(max_examples=40)
@given(st.lists(layers, max_size=3))
def test_a_plan_survives_json(entries: list[LayerPlan]) -> None:
    plan = Plan(layers=tuple(entries))
    assert from_dict(Plan, json.loads(json.dumps(to_dict(plan)))) == plan


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    record = StepRecord(step="prune", key="k", wall_s=1.5, facts={"heads": [4, 3]}, reasons=("é",))
    write_json(tmp_path / "deep" / "step.json", record)
    assert read_json(StepRecord, tmp_path / "deep" / "step.json") == record


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"value": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.json", "half a surrogate: \ud800")
    assert json.loads((tmp_path / "a.json").read_text()) == {"value": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@dataclass(frozen=True)
class Inner:
    size: float
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    count: int
    inner: Inner | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    table: dict[str, Inner] = field(default_factory=dict)
    names: tuple[str, ...] = ()


def test_values_are_converted_all_the_way_down() -> None:
    data = {
        "count": 1,
        "inner": {"size": 2},
        "pair": [1, 2],
        "table": {"x": {"size": 3, "kind": "b"}},
        "names": ["n"],
    }
    outer = from_dict(Outer, data)
    assert outer == Outer(1, Inner(2.0), (1.0, 2.0), {"x": Inner(3.0, "b")}, ("n",))
    assert isinstance(outer.inner and outer.inner.size, float)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([], "Outer: expected a mapping, got list"),
        ({}, "the key 'count' is missing"),
        ({"count": 1, "iner": None}, "unknown key 'iner'. Did you mean 'inner'"),
        ({"count": "1"}, "count: expected int, got str '1'"),
        ({"count": True}, "count: expected int, got bool True"),
        ({"count": 1, "inner": {"size": 1, "knd": "a"}}, "inner: unknown key 'knd'. Did you mean 'kind'"),
        ({"count": 1, "table": {"x": {"size": 1, "kind": "c"}}}, "table.x.kind: unknown value 'c'"),
        ({"count": 1, "names": "abc"}, "names: expected a list, got str 'abc'"),
        ({"count": 1, "names": [1]}, r"names\[0\]: expected str, got int 1"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(data: object, text: str) -> None:
    with pytest.raises(DataError, match=text):
        from_dict(Outer, data, error=DataError)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.json: no such file"):
        read_json(StepRecord, tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(RecipeError, match=r"bad\.json: not valid JSON"):
        read_json(StepRecord, tmp_path / "bad.json")


def test_plan_counts_and_entry() -> None:
    first = LayerPlan(layer="a", kind="linear", weight="int8")
    plan = Plan(layers=(first, LayerPlan(layer="b", kind="linear", weight="fp16")))
    assert plan.counts() == {"int8": 1, "fp16": 1}
    assert plan.entry("a") is first


def test_environment_names_installed_packages_only() -> None:
    import numpy as np

    environment = describe_environment(("numpy", "a-package-that-nobody-has"))
    assert environment.packages == {"numpy": np.__version__}
    assert environment.cores >= 1


def test_a_board_without_the_name_of_its_processor_has_its_own(tmp_path: Path) -> None:
    """As Linux on Arm writes it: /proc/cpuinfo has features only, the device tree ends in a NUL."""
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd0b\n")
    (tmp_path / "device-tree").mkdir()
    (tmp_path / "device-tree" / "model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    found = describe_environment((), tmp_path)
    assert (found.processor, found.features) == ("Raspberry Pi 5 Model B Rev 1.0", ("asimddp",))


def test_silent_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = SilentProgress()
    progress.step("prune", "half of the heads")
    progress.start("epoch", 2)
    progress.advance(1, "loss 0.3")
    progress.finish()
    progress.say("done")
    assert capsys.readouterr() == ("", "")
