"""Energy of turns: by formula from curves, and of sensors that are files which a thread advances."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures_sysfs import HWMON, place, zone

from edgesmith.errors import DataError, MeasureError, UnsupportedError
from edgesmith.measure.bench import bench_opened, choose_inputs, open_bundles
from edgesmith.measure.energy import EnergyCurve, EnergyWatch, GaugeMeter, LogMeter, weigh_energy
from edgesmith.measure.realtime import Trace, closed_loop
from edgesmith.measure.sensors import EnergySensor, Gauge, find_gauges
from edgesmith.records import Bench, BenchConfig, Energy, SilentProgress, from_dict, to_dict

S = 10**9
SENSOR = EnergySensor(name="RAPL", is_readable=True, detail="package-0")


def turns(*seconds: tuple[float, float]) -> np.ndarray:
    return (np.array(seconds) * S).astype(np.int64)


def trace(n: int, *seconds: tuple[float, float]) -> Trace:
    nothing = np.zeros(n, np.int64)
    return Trace(nothing, nothing, nothing, turns(*seconds), nothing)


@contextmanager
def advancing(path: Path, value: Callable[[float], int]) -> Iterator[None]:
    """A file that holds the value of the seconds since its beginning, renewed every 2 ms, in place as the kernel's are.

    A rename over it would wait for the disk; a write of always the same length needs none.
    """
    begin, is_over = time.perf_counter(), threading.Event()

    def go_on() -> None:
        with path.open("r+b", buffering=0) as file:
            while not is_over.wait(0.002):
                os.pwrite(file.fileno(), f"{value(time.perf_counter() - begin):020d}\n".encode(), 0)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def skip_if_late(how: Energy) -> None:
    if how.gap_s > 0.4:
        pytest.skip(
            f"this machine was too busy for a thread to read ten times a second: not for {how.gap_s:.1f} s"
        )


def test_a_counter_is_read_between_its_readings() -> None:
    curve = EnergyCurve(turns((0, 1), (2, 4)).ravel(), np.array([0.0, 10, 30, 30]))
    assert curve.between(turns((0.5, 1.0))) == pytest.approx(5)
    assert curve.between(turns((0.0, 0.5), (1.5, 3.0))) == pytest.approx(5 + 10)
    assert curve.longest_gap_s(0, 1 * S) == 1
    assert curve.longest_gap_s(0, 3 * S) == 2
    assert curve.gaps_s(turns((0.0, 0.9), (2.0, 4.0))).tolist() == [[1, 1], [2, 2]]


def test_power_is_integrated_by_trapezoids_also_from_within_one() -> None:
    """P = 2 t W over 0 to 4 s: the energy of t0 to t1 is t1^2 - t0^2."""
    curve = EnergyCurve.of_power(turns((0, 1), (3, 4)).ravel(), np.array([0.0, 2, 6, 8]))
    for begin, end in ((0.0, 4.0), (0.25, 0.75), (1.5, 3.5), (0.5, 4.0)):
        assert curve.between(turns((begin, end))) == pytest.approx(end**2 - begin**2)


def test_every_bundle_gets_what_was_used_in_its_turns() -> None:
    """At rest 1 W for 2 s; then A at 5 W and B at 3 W, a second each in turns."""
    power = [1, 1, 5, 3, 5, 3, 1]
    joules = np.concatenate([[0.0], np.cumsum(np.repeat(power, 10)) / 10])
    meter = Known(EnergyCurve((np.arange(len(joules)) * S // 10), joules))
    how, (first, second) = weigh_energy(
        meter, (0, 2 * S), [trace(100, (2, 3), (4, 5)), trace(50, (3, 4), (5, 6))]
    )
    assert how.reason is None
    assert (how.sensor, how.covers) == ("RAPL", "package-0")
    assert (how.gap_s, how.idle_w) == pytest.approx((0.1, 1.0))
    assert [first[name].value for name in first] == pytest.approx([1e3 * 10 / 100, 1e3 * 8 / 100, 5])
    assert [second[name].value for name in second] == pytest.approx([1e3 * 6 / 50, 1e3 * 4 / 50, 3])
    assert {name: one.unit for name, one in first.items()} == {
        "energy": "mJ",
        "energy_above_idle": "mJ",
        "power": "W",
    }
    assert (first["energy"].n, second["energy"].n) == (100, 50)


class Known:
    """A meter whose curve is written down."""

    sensor = SENSOR

    def __init__(self, curve: EnergyCurve) -> None:
        self.known = curve

    def curve(self, begin: int, end: int) -> EnergyCurve:
        return self.known


def test_turns_that_readings_cannot_tell_apart_get_no_number() -> None:
    curve = EnergyCurve(np.arange(100) * S // 10, np.arange(100.0))
    short = [trace(2, (2, 2.3), (3, 3.5)), trace(2, (2.4, 3), (4, 5))]
    how, found = weigh_energy(Known(curve), (0, 1 * S), short)
    assert found == [{}, {}]
    assert how.reason == (
        "readings lie 0.1 s apart where turns end, which tells turns of 0.5 s and more; those of a bundle last 0.4 s. Bench "
        "one by one, or in turns of 1 s: --rate 30"
    )
    how, found = weigh_energy(Known(curve), (0, 1 * S), short[:1])
    assert found == [{}]
    assert how.reason.endswith("Bench for longer")
    how, found = weigh_energy(Known(curve), (0, 1 * S), short[1:])
    assert how.reason is None


def test_power_that_was_not_read_for_long_gets_no_number_but_a_counter_does() -> None:
    moments = np.array([*np.arange(0, 30), *np.arange(60, 100)]) * S // 10  # a hole of 3.1 s in 7 s
    power = EnergyCurve.of_power(moments, np.full(70, 2.0))
    how, found = weigh_energy(Known(power), (0, 1 * S), [trace(9, (1, 8))])
    assert found == [{}]
    assert how.reason == "there is no reading of power for 3.1 s, and a bundle had 7 s. Bench for longer"
    how, (one,) = weigh_energy(Known(replace(power, watts=None)), (0, 1 * S), [trace(9, (1, 8))])
    assert (how.reason, how.gap_s) == (None, pytest.approx(3.1))
    assert one["power"].value == pytest.approx(2.0)


def test_a_counter_that_a_thread_advances_and_that_begins_again(tmp_path: Path) -> None:
    """20 W at a counter that is full every 0.5 s."""
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0, range_uj=10_000_000)
    with advancing(counter, lambda seconds: round(20e6 * seconds) % 10_000_000):
        watch = EnergyWatch("rapl", tmp_path, idle_s=0.5)
        assert watch.is_measuring
        with watch:
            traces = closed_loop([lambda index: time.sleep(0.02)], 4, duration_s=1.0)
    how, found = watch.weigh(traces)
    skip_if_late(how)
    assert how.reason is None, how.reason
    (one,) = found
    assert how.idle_w == pytest.approx(20, rel=0.25)
    assert one["power"].value == pytest.approx(20, rel=0.15)
    mean_s = float(np.diff(traces[0].turns)[0, 0]) / S / one["energy"].n
    assert one["energy"].value == pytest.approx(1e3 * one["power"].value * mean_s)
    assert abs(one["energy_above_idle"].value) < 0.4 * one["energy"].value
    assert one["energy"].method.startswith("RAPL, package-0: the processor with all that runs on it")


def test_a_counter_that_stands_still_gets_no_number(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    watch = EnergyWatch("auto", tmp_path, idle_s=0.1)
    with watch:
        traces = closed_loop([lambda index: time.sleep(0.02)], 4, duration_s=0.1)
    how, found = watch.weigh(traces)
    assert found == [{}]
    assert how.reason == (
        "RAPL: the counter stood still, as virtual machines' do. edgesmith analyze MODEL --target T predicts it"
    )


def test_a_rail_is_sampled_and_one_that_disappears_gets_no_number(tmp_path: Path) -> None:
    place(tmp_path, f"{HWMON}/in1_label", "VDD_IN")
    place(tmp_path, f"{HWMON}/in1_input", 5000)
    current = place(tmp_path, f"{HWMON}/curr1_input", 600)

    def measure(during: Callable[[], object]) -> tuple[list[Trace], GaugeMeter]:
        with GaugeMeter(find_gauges(tmp_path)["jetson"], 0.01) as meter:
            time.sleep(0.05)
            during()
            traces = closed_loop([lambda index: time.sleep(0.01)], 4, duration_s=0.2)
        return traces, meter

    traces, meter = measure(lambda: None)
    begin, end = traces[0].turns[0]
    curve = meter.curve(begin, end)
    assert curve.between(traces[0].turns) == pytest.approx(3.0 * (end - begin) / S)
    assert len(curve.moments) > 5
    traces, meter = measure(current.unlink)
    with pytest.raises(MeasureError, match=r"could not be read any more after .* readings: .*No such file"):
        meter.curve(*traces[0].turns[0])


def test_a_sensor_that_was_asked_for_and_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for option, told in (("rapl", "RAPL cannot be read: absent"), ("jetson", "Jetson rails cannot be read")):
        with pytest.raises(UnsupportedError, match=told):
            EnergyWatch(option, tmp_path)


def test_without_a_sensor_the_reason_is_told_and_nothing_rests(tmp_path: Path) -> None:
    begin = time.monotonic()
    with EnergyWatch("auto", tmp_path) as watch, EnergyWatch(None, tmp_path) as unasked:
        assert time.monotonic() - begin < 1.0
    how, found = watch.weigh([trace(1, (0, 1))] * 2)
    assert found == [{}, {}]
    assert how.reason.startswith("no sensor can be read (RAPL: absent: no processor in ")
    assert how.reason.endswith("predicts it")
    assert unasked.weigh([trace(1, (0, 1))]) == (None, [{}])


def write_log(path: Path, begin_s: float, end_s: float, step_s: float = 0.05, watts: float = 4.0) -> None:
    """Samples by the clock of the system."""
    times = np.arange(begin_s, end_s, step_s)
    path.write_text("time,power_w\n" + "".join(f"{moment:.6f},{watts}\n" for moment in times))


def test_a_log_is_read_when_it_reaches_over_the_bench(tmp_path: Path) -> None:
    """4 W, and a meter that writes its file only after the bench."""
    path = tmp_path / "meter.csv"
    path.write_text("time,power_w\n")
    now = time.time()
    watch = EnergyWatch(str(path), idle_s=0.2)
    with watch:
        traces = closed_loop([lambda index: time.sleep(0.02)], 4, duration_s=0.4)
    write_log(path, now - 1, time.time() + 1)
    how, (one,) = watch.weigh(traces)
    assert how.reason is None, how.reason
    assert (how.sensor, how.covers) == ("meter.csv", "time from 'time', power from 'power_w'")
    assert (how.gap_s, how.idle_w, one["power"].value) == pytest.approx((0.05, 4.0, 4.0), rel=1e-3)
    assert one["energy_above_idle"].value == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(("before", "after"), [(10.0, -5.0), (-0.05, 1.0), (10.0, -0.05)])
def test_a_log_that_does_not_reach_over_the_bench_gets_no_number(
    before: float, after: float, tmp_path: Path
) -> None:
    path = tmp_path / "meter.csv"
    path.write_text("time,power_w\n")
    with LogMeter(path, wait_s=0.0) as meter:
        begin, now = time.perf_counter_ns(), time.time()
        time.sleep(0.2)
        end = time.perf_counter_ns()
    write_log(path, now - before, time.time() + after)
    with pytest.raises(
        MeasureError, match=r"meter.csv has samples from .*, and the bench lasted from .* before, during"
    ):
        meter.curve(begin, end)
    how, found = weigh_energy(meter, (begin, end), [trace(1, (begin / S, end / S))])
    assert (found, how.idle_w) == ([{}], None)
    assert how.reason.endswith("by the clock of this machine. edgesmith analyze MODEL --target T predicts it")


def test_a_log_without_a_sample_or_with_a_bad_one_gets_no_number(tmp_path: Path) -> None:
    path = tmp_path / "meter.csv"
    path.write_text("time,power_w\n")
    with LogMeter(path, wait_s=0.0) as meter:
        begin = time.perf_counter_ns()
    with pytest.raises(MeasureError, match=r"meter.csv has no sample, and the bench"):
        meter.curve(begin, begin + 1)
    path.write_text(f"time,power_w\n{time.time()},nan\n")
    how, found = weigh_energy(meter, (begin, begin + 1), [trace(1, (0, 1))])
    assert found == [{}]
    assert how.reason == (
        f"{path}, line 2: 'nan' is no finite number. Remove the line, or log again. edgesmith analyze MODEL --target T "
        "predicts it"
    )


def test_a_log_with_wrong_columns_is_refused_before_the_bench(tmp_path: Path) -> None:
    path = tmp_path / "meter.csv"
    path.write_text("seconds,milliwatthours\n1,2\n")
    with pytest.raises(DataError, match="expected time and power, or time, voltage and current"):
        EnergyWatch(str(path))


def test_the_whole_bench_reads_a_sensor(bundles: dict[str, Path], tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0, range_uj=10**9)
    config = BenchConfig(
        duration_s=2, rate=50, cold_starts=0, resamples=100, inputs=4, warmup=9, energy="rapl"
    )
    opened = open_bundles([bundles["text"], bundles["image"]])
    asked = choose_inputs(opened, None, config)
    with advancing(counter, lambda seconds: round(8e6 * seconds)):
        found = bench_opened(opened, asked, config, SilentProgress(), sys=tmp_path)
    skip_if_late(found.energy)
    assert found.energy.reason is None, found.energy.reason
    for one in found.bundles:
        assert one.measured["power"].value == pytest.approx(8, rel=0.15)
        assert one.measured["energy"].value == pytest.approx(8e3 / 50, rel=0.3)
        assert one.measured["energy"].n == 100
    assert from_dict(Bench, to_dict(found)) == found


def test_a_reading_that_is_no_number_ends_the_readings() -> None:
    def read() -> float:
        raise ValueError("invalid literal")

    with GaugeMeter(Gauge(sensor=SENSOR, read=read)) as meter:
        pass
    with pytest.raises(
        MeasureError, match="RAPL could not be read any more after 0 readings: invalid literal"
    ):
        meter.curve(0, 1)
