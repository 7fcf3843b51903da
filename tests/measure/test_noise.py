from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgesmith.measure.noise import CpuTimes, NoiseMeter, judge_noise, read_cpu_times, time_loops

TICK = 1 / os.sysconf("SC_CLK_TCK")
QUIET = [1.0, 1.01, 1.02]


def judge(*, busy: float, steal: float = 0.0, own: float, loops: list[float] = QUIET):
    """10 s of 4 cores."""
    before, after = CpuTimes(100, 5, 1000), CpuTimes(100 + busy, 5 + steal, 1040)
    return judge_noise(before, after, wall_s=10, own_s=own, loops=loops)


def test_cpu_times_are_read_as_proc_says(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  1000 200 300 4000 50 6 7 80 999 99\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    found = read_cpu_times(tmp_path)
    assert found.busy == pytest.approx((1000 + 200 + 300 + 6 + 7) * TICK)
    assert found.steal == pytest.approx(80 * TICK)
    assert found.total == pytest.approx((1000 + 200 + 300 + 4000 + 50 + 6 + 7 + 80) * TICK)


def test_an_old_kernel_tells_no_steal(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  1000 200 300 4000\n")
    assert read_cpu_times(tmp_path) == CpuTimes(1500 * TICK, 0.0, 5500 * TICK)


def test_a_system_that_does_not_tell_gives_none(tmp_path: Path) -> None:
    assert read_cpu_times(tmp_path) is None
    noise = judge_noise(None, None, wall_s=10, own_s=9, loops=QUIET)
    assert (noise.other_cores, noise.steal, noise.reasons) == (None, None, ())


def test_other_programs_are_what_this_one_did_not_use() -> None:
    noise = judge(busy=23, own=9)
    assert noise.other_cores == pytest.approx((23 - 9) / 10)
    assert noise.reasons == ("other programs kept 1.4 of 4 cores busy",)


def test_a_little_of_other_programs_is_quiet() -> None:
    assert judge(busy=9 + 0.9 * 4, own=9).reasons == ()
    assert judge(busy=9 + 1.1 * 4, own=9).reasons != ()


def test_own_threads_are_no_noise() -> None:
    assert judge(busy=40, own=41).other_cores == 0


def test_steal_is_a_part_of_all_time() -> None:
    noise = judge(busy=9, own=9, steal=2)
    assert noise.steal == pytest.approx(2 / 40)
    assert noise.reasons == ("the hypervisor gave 5.0% of this machine's time to others",)


def test_an_uneven_loop_is_noise() -> None:
    noise = judge(busy=9, own=9, loops=[1.0] * 50 + [1.5] * 50)
    assert noise.spread == pytest.approx((1.5 - 1.0) / 1.25)
    assert noise.reasons == ("a fixed loop took between 0.80 and 1.20 of its median",)


def test_the_meter_watches_a_block(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  0 0 0 1000 0 0 0 0\n")
    with NoiseMeter(tmp_path) as meter:
        assert len(time_loops()) == 200
        (tmp_path / "stat").write_text("cpu  0 0 0 1000 0 0 0 3000\n")
    assert meter.noise.steal == 1.0
    assert any("100.0%" in reason for reason in meter.noise.reasons)
