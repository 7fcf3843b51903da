"""The whole bench on small real bundles. What a machine takes is not tested: counts, formulas and refusals are."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fixtures_bench import WORDS, write

from edgesmith import BenchConfig, DataConfig, bench
from edgesmith.errors import BundleError, MissingExtraError, RecipeError, UnsupportedError
from edgesmith.measure.bench import on_cpus
from edgesmith.records import Bench, from_dict, to_dict

SHORT = BenchConfig(duration_s=0.05, cold_starts=0, resamples=100, inputs=4, warmup=9)
"""A closed loop; how many answers it gets is the machine's business."""

FIFTY = replace(SHORT, rate=200.0, duration_s=0.25, deadline_ms=1000.0)
"""An open loop of 50 arrivals."""


@pytest.mark.parametrize("kind", ["text", "tags", "image"])
def test_bundles_of_every_kind_are_measured(bundles: dict[str, Path], kind: str) -> None:
    found = bench([bundles[kind]], SHORT)
    (one,) = found.bundles
    assert (one.bundle, one.runtime, one.failures) == (str(bundles[kind]), "onnxruntime", ())
    value = {name: measurement.value for name, measurement in one.measured.items()}
    assert 0 < value["latency_min"] <= value["latency_p50"] <= value["latency_max"]
    assert value["size"] == sum(file.stat().st_size for file in bundles[kind].iterdir())
    assert {"ratio", "misses", "cold_start", "utilisation"}.isdisjoint(value)
    assert all(measurement.name == name for name, measurement in one.measured.items())
    assert (one.mean_tokens is None) == (kind == "image")


def test_a_closed_loop_lasts_as_long_as_it_is_told(bundles: dict[str, Path]) -> None:
    """The last answer of n is begun before the end."""
    measured = bench([bundles["text"]], replace(SHORT, duration_s=0.2)).bundles[0].measured
    n = measured["latency_p50"].n
    assert (n - 1) * measured["latency_min"].value < 1e3 * 0.2
    assert n > 1


def test_bundles_take_turns_and_ratios_are_to_the_first(bundles: dict[str, Path]) -> None:
    found = bench([bundles["text"], bundles["image"], bundles["text"]], FIFTY)
    first, *others = found.bundles
    assert "ratio" not in first.measured
    for one in others:
        ratio = one.measured["ratio"]
        parts = one.measured["latency_p50"].value, first.measured["latency_p50"].value
        assert ratio.value == pytest.approx(parts[0] / parts[1])
        assert (ratio.low, ratio.high) == (
            None,
            None,
        )  # an open loop of a quarter of a second has one opening
    assert len({one.measured["latency_p50"].n for one in found.bundles}) == 1


def test_the_interval_of_a_ratio_is_over_openings(bundles: dict[str, Path]) -> None:
    found = bench([bundles["text"], bundles["text"]], replace(SHORT, duration_s=0.3))
    ratio = found.bundles[1].measured["ratio"]
    assert ratio.low < ratio.value < ratio.high
    assert "mean of 10 openings" in ratio.method


@pytest.mark.parametrize("arrivals", ["fixed", "poisson"])
def test_an_open_loop_counts_every_arrival(bundles: dict[str, Path], arrivals: str) -> None:
    found = bench([bundles["text"], bundles["text"]], replace(FIFTY, arrivals=arrivals))
    for one in found.bundles:
        assert {one.measured[name].n for name in ("latency_p50", "misses", "waiting_p99")} == {50}
        assert one.measured["latency_p50"].low <= one.measured["latency_p50"].high
        capacity, utilisation = one.measured["capacity"].value, one.measured["utilisation"].value
        assert utilisation == pytest.approx(200 / capacity)
        assert 0 <= one.measured["misses"].value <= 50


def test_a_rate_far_above_capacity_fails_and_ends(bundles: dict[str, Path]) -> None:
    found = bench([bundles["text"]], replace(SHORT, rate=1e6, deadline_ms=5.0))
    (one,) = found.bundles
    arrivals = one.measured["latency_p50"].n
    assert arrivals < 1e6 * SHORT.duration_s
    assert found.notes == (
        f"The schedule ends after {arrivals:,} arrivals: they come faster than they can be answered, and the queue only grows.",
    )
    assert len(one.failures) == 1
    assert "a rate of 1e+06 a second is " in one.failures[0]
    assert one.measured["misses"].value > arrivals / 2


def test_a_deadline_below_the_fastest_answer_fails(bundles: dict[str, Path]) -> None:
    found = bench([bundles["text"]], replace(SHORT, deadline_ms=1e-6))
    (one,) = found.bundles
    misses, fastest = one.measured["misses"], one.measured["latency_min"].value
    assert misses.value == misses.n
    assert one.failures == (
        f"no answer meets the deadline of 1e-06 ms: the fastest of {misses.n:,} took {fastest:.3g} ms.",
    )


def test_more_misses_than_allowed_fail(bundles: dict[str, Path]) -> None:
    """At 20 times its capacity most answers miss a deadline that the first ones meet."""
    config = replace(SHORT, rate=1e6, deadline_ms=5.0, max_misses=0.01)
    (one,) = bench([bundles["text"]], config).bundles
    misses = one.measured["misses"]
    told = (
        f"{misses.value / misses.n:.2%} of {misses.n:,} answers missed the deadline of 5 ms; allowed: 1.00%."
    )
    assert told in one.failures


def test_the_result_can_be_written_and_read(bundles: dict[str, Path]) -> None:
    found = bench([bundles["text"]], SHORT)
    assert from_dict(Bench, to_dict(found)) == found


def test_cold_starts_are_of_fresh_processes(bundles: dict[str, Path]) -> None:
    found = bench([bundles["text"]] * 2, replace(SHORT, cold_starts=1))
    first, second = (one.measured for one in found.bundles)
    assert first["cold_start"] == second["cold_start"]  # one bundle, measured once
    assert first["cold_start"].value > first["load"].value + first["first_answer"].value
    assert first["peak_rss"].unit == "bytes"


def test_real_rows_are_named(bundles: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "good film"}\n{"text": "bad"}\n')
    found = bench([bundles["text"]], SHORT, data=DataConfig(path=str(tmp_path / "rows.jsonl")))
    assert found.bundles[0].inputs == "2 of the 2 rows of rows.jsonl"
    assert found.bundles[0].mean_tokens == (4 + 3) / 2
    assert any("text is column 'text' (guessed" in note for note in found.notes)


def test_real_rows_have_their_own_length(bundles: dict[str, Path]) -> None:
    with pytest.raises(RecipeError, match="length is 9, and there is data"):
        bench([bundles["text"]], replace(SHORT, length=9), data=DataConfig(path="rows.csv"))


def test_this_process_is_bound_for_the_time_of_a_block() -> None:
    before = os.sched_getaffinity(0)
    with on_cpus([min(before)]):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


def test_cpus_that_are_not_there_are_refused() -> None:
    own = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
    with pytest.raises(RecipeError, match=f"--cpu is 0,4095; allowed: {own}"), on_cpus([0, 4095]):
        pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 0.0}, "rate is 0; allowed: a finite number above 0"),
        ({"rate": -3.0}, "rate is -3"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"rate": float("inf")}, "rate is inf"),
        ({"deadline_ms": 0.0}, "deadline_ms is 0"),
        ({"deadline_ms": -33.0}, "deadline_ms is -33"),
        ({"duration_s": 0.0}, "duration_s is 0"),
        ({"threads": 0}, "threads is 0; allowed: 1 or more"),
        ({"warmup": 0}, "warmup is 0; allowed: 1 or more"),
        ({"inputs": 0}, "inputs is 0"),
        ({"length": 0}, "length is 0"),
        ({"cold_starts": -1}, "cold_starts is -1; allowed: 0 or more"),
        ({"arrivals": "poison", "rate": 1.0}, "Did you mean 'poisson'"),
        ({"arrivals": "poisson"}, "there is no rate. Type: --rate 30"),
        (
            {"rate": 0.05, "duration_s": 10.0},
            "gives no arrival in 10 s; allowed: a duration of 20 s or more",
        ),
        ({"max_misses": 0.1}, "with a deadline"),
        ({"max_misses": 1.0, "deadline_ms": 3.0}, "max_misses is 1"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        BenchConfig(**changes)


def test_no_bundle_is_refused() -> None:
    with pytest.raises(RecipeError, match="no bundle to bench"):
        bench([])


def test_a_folder_that_is_none_and_one_that_is_no_bundle(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(BundleError, match=r"is not a bundle: it has no manifest\.json"):
            bench([path], SHORT)


def test_a_tampered_bundle_is_refused(bundles: dict[str, Path], tmp_path: Path) -> None:
    own = Path(shutil.copytree(bundles["text"], tmp_path / "own"))
    with (own / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match=r"own/model\.onnx has \d+ bytes; the manifest says"):
        bench([bundles["text"], own], SHORT)


@pytest.mark.parametrize("cold_starts", [0, 1])
def test_a_runtime_that_is_not_installed_gives_the_line_to_type(
    bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch, cold_starts: int
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # what import sees where it is absent
    with pytest.raises(MissingExtraError, match=r"pip install 'edgesmith\[onnxruntime\]'"):
        bench([bundles["text"]], replace(SHORT, cold_starts=cold_starts))


def test_a_runtime_that_is_not_known_is_refused(tmp_path: Path) -> None:
    unknown = write(tmp_path / "bundle", "text", runtime="onnxruntimes")
    with pytest.raises(UnsupportedError, match="Did you mean 'onnxruntime'"):
        bench([unknown], SHORT)


def test_different_tasks_are_benched_together_without_data_only(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    both = [bundles["text"], bundles["tags"]]
    assert [one.task for one in bench(both, SHORT).bundles] == ["text-classification", "token-classification"]
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"{word},1\n" for word in WORDS))
    with pytest.raises(UnsupportedError, match="different tasks"):
        bench(both, SHORT, data=DataConfig(path=str(tmp_path / "rows.csv")))
