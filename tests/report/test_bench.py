from __future__ import annotations

from dataclasses import replace

import pytest

from edgesmith.records import (
    Bench,
    BenchConfig,
    BenchedBundle,
    Energy,
    Measurement,
    Noise,
    describe_environment,
)
from edgesmith.report.bench import bench_tables, failures

QUIET = Noise(other_cores=0.0, steal=0.0, spread=0.01, reasons=())
NOISY = replace(QUIET, reasons=("other programs kept 1.4 of 4 cores busy",))


def measured(**values: tuple[float, float | None, float | None]) -> dict[str, Measurement]:
    return {
        name: Measurement(name=name, value=value, unit="", n=1800, method="", low=low, high=high)
        for name, (value, low, high) in values.items()
    }


def bundle(**changes: object) -> BenchedBundle:
    contents = {
        "bundle": "runs/a/bundle/onnxruntime",
        "runtime": "onnxruntime",
        "task": "text-classification",
        "inputs": "32 texts",
        "mean_tokens": 9.0,
        "measured": measured(
            latency_p50=(1.234, 1.2, 1.28),
            latency_p99=(2.5, None, None),
            latency_max=(7.0, None, None),
            drift=(0.02, -0.01, 0.05),
            misses=(12, None, None),
            size=(3_180_000, None, None),
        ),
    }
    return BenchedBundle(**contents | changes)


def bench(*bundles: BenchedBundle, noise: Noise = QUIET, **config: object) -> Bench:
    return Bench(
        bundles=bundles or (bundle(),),
        config=BenchConfig(**config),
        noise=noise,
        environment=describe_environment(()),
        date="2026-01-02",
    )


def figures(found: Bench) -> dict[str, tuple[str, ...]]:
    return {name: cells for name, *cells in map(list, bench_tables(found)[1].rows)}


def test_values_stand_beside_their_intervals() -> None:
    assert figures(bench()) == {
        "p50": ["1.23 ms (1.20 to 1.28)"],
        "p99": ["2.50 ms"],
        "slowest": ["7.00 ms"],
        "drift": ["+2.0 % (-1.0 to +5.0), none seen"],
        "deadline missed": ["12 of 1,800, 0.67 %"],
        "size of the bundle": ["3.18 MB"],
    }


def test_a_noisy_machine_is_told_beside_every_figure_of_time() -> None:
    found = bench(noise=NOISY)
    assert [name for name in figures(found) if not name.endswith(", noisy")] == ["size of the bundle"]
    note = bench_tables(found)[1].notes[0]
    assert note == "NOISY MACHINE: other programs kept 1.4 of 4 cores busy. Measure again when it is idle."
    assert not any("NOISY" in note for note in bench_tables(bench())[1].notes)


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.01, 0.05, "drifts"), (-0.01, 0.05, "none seen"), (-0.3, -0.1, "drifts")]
)
def test_a_drift_is_tested_by_its_interval(low: float, high: float, verdict: str) -> None:
    one = bundle(measured=measured(latency_max=(7.0, None, None), drift=(0.02, low, high)))
    assert figures(bench(one))["drift"][0].endswith(f", {verdict}")


def test_what_one_bundle_lacks_is_a_dash() -> None:
    second = bundle(measured=bundle().measured | measured(ratio=(0.5, 0.49, 0.52)))
    found = bench(bundle(), second)
    assert figures(found)["ratio"] == ["-", "0.500 (0.490 to 0.520)"]
    assert bench_tables(found)[1].columns == ("", "A", "B")
    assert [row[0] for row in bench_tables(found)[0].rows] == ["A", "", "B", ""]


def test_the_loop_is_told() -> None:
    assert any(note.startswith("Closed loop, 10 s a bundle") for note in bench_tables(bench())[1].notes)
    poisson = bench(rate=30.0, arrivals="poisson", cpus=(1, 3))
    notes = bench_tables(poisson)[1].notes
    assert any(note.startswith("Open loop, poisson arrivals, 30 a second for 10 s") for note in notes)
    assert any("n = 1,800" in note for note in notes)
    assert any("CPU 1,3)" in note for note in notes)


def test_a_board_is_named() -> None:
    told = [f"Measured on {start}{describe_environment(()).processor} (" for start in ("", "pi@board: ")]
    for found, text in zip((bench(), replace(bench(), host="pi@board")), told, strict=True):
        assert any(note.startswith(text) for note in bench_tables(found)[1].notes)


def test_failures_name_the_bundle_where_there_are_several() -> None:
    failed = bundle(failures=("too slow.",))
    assert failures(bench(failed)) == ["too slow."]
    assert failures(bench(bundle(), failed)) == ["runs/a/bundle/onnxruntime: too slow."]
    assert failures(bench()) == []


def test_energy_stands_beside_what_it_was_read_from() -> None:
    joules = measured(
        latency_max=(7.0, None, None),
        energy=(12.34, None, None),
        energy_above_idle=(8.5, None, None),
        power=(4.0, None, None),
    )
    energy = Energy(sensor="RAPL", covers="package-0", gap_s=0.104, idle_w=1.25)
    found = replace(bench(bundle(measured=joules), noise=NOISY), energy=energy)
    told = figures(found)
    assert told["energy per answer, noisy"] == ["12.3 mJ"]
    assert told["  above idle, part of it, noisy"] == ["8.5 mJ"]
    assert told["mean power, noisy"] == ["4 W"]
    assert (
        "energy: measured by RAPL (package-0), readings at most 0.1 s apart, other programs included; 1.25 W before the "
        "questions. It is of all the time of a bundle's turns, over its answers."
    ) in bench_tables(found)[1].notes


def test_energy_that_was_not_measured_has_a_reason_and_no_row() -> None:
    found = replace(bench(), energy=Energy(reason="no sensor can be read (RAPL: absent)"))
    assert not any("energy" in name for name in figures(found))
    assert "energy: not measured: no sensor can be read (RAPL: absent)." in bench_tables(found)[1].notes
    assert not any("energy" in note for note in bench_tables(bench())[1].notes)
