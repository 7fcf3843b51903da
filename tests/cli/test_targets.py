"""`edgesmith targets` and the commands under it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgesmith.cli import main
from edgesmith.targets import HOST, shipped_names

BOARD = """
description: my board
runtimes: [onnxruntime]
units:
  cpu: {kind: cpu, cores: 2, sources: {cores: its manual}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="edgesmith")


def test_all_are_listed_with_runtimes_and_units() -> None:
    lines = call("targets").stdout.splitlines()
    assert [line.split()[0] for line in lines] == shipped_names()
    assert next(line for line in lines if line.startswith("jetson-agx-orin")).endswith(
        "litert; cpu, gpu, npu]"
    )
    assert [one["name"] for one in json.loads(call("targets", "--json").stdout)] == shipped_names()


def test_one_is_told_in_units_with_numbered_sources_and_with_what_is_unknown() -> None:
    told = call("targets", "show", "raspberry-pi-5").stdout
    assert f"{'memory':26}LPDDR4X-4267  [1]" in told
    assert f"{'[1]':5}Raspberry Pi 5 product brief\n" in told
    assert f"{'clock_hz':26}2.4 GHz  [1]" in told
    assert f"{'memory_bandwidth_bytes_s':26}17.068 GB/s" in told
    assert f"{'caches_bytes':26}l1d 64 KiB, l2 512 KiB, l3 2 MiB" in told
    assert f"{'peak':26}fp32 76.8, fp16 153.6, int8 307.2 GMAC/s" in told
    assert "macs_per_s" not in told  # of a CPU its macs_per_cycle stand for it
    zero = call("targets", "show", "raspberry-pi-zero-2-w").stdout
    assert f"{'power_max_w':26}unknown: only the supply's" in zero
    assert (
        json.loads(call("targets", "show", "raspberry-pi-5", "--json").stdout)["units"]["cpu"]["cores"] == 4
    )


@pytest.mark.parametrize("name", [name for name in shipped_names() if name != HOST])
def test_what_is_unknown_of_a_shipped_device_has_a_reason(name: str) -> None:
    lines = call("targets", "show", name).stdout.splitlines()
    assert not [line for line in lines if line.endswith(" unknown")]


def test_this_machine_says_how_it_is_measured() -> None:
    assert (
        "Nothing is measured yet. Type: edgesmith targets calibrate" in call("targets", "show", HOST).stdout
    )


def test_a_profile_is_added_listed_and_shown() -> None:
    Path("my-board.yaml").write_text(BOARD)
    done = call("targets", "add", "my-board.yaml")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("my-board: kept in ")
    assert "my-board" in call("targets").stdout
    told = call("targets", "show", "my-board").stdout
    assert f"{'cores':26}2  [1]" in told
    assert told.endswith(f"sources\n  {'[1]':5}its manual\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["targets", "show", "hosts"], "Did you mean 'host'"),
        (["targets", "add", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["targets", "calibrate", "--threads", "two"], "Example: --threads 1,2,4"),
        (["targets", "calibrate", "--threads", "4096"], "threads is 4096"),
        (["targets", "calibrate", "--runtime", "litrt"], "Did you mean 'litert'"),
    ],
)
def test_errors_exit_2_and_say_what_is_allowed(arguments: list[str], text: str) -> None:
    done = call(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert text in done.stderr


def test_a_calibration_is_written_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `onnxruntime` is not installed")
    from edgesmith.pipeline import calibration

    small = calibration.Grid(rows=(4,), widths=(16,), head_dims=(4,), function_width=16, copy_bytes=100_000)
    monkeypatch.setattr(
        calibration.calibrate, "__kwdefaults__", {"runtime": "onnxruntime", "grid": small}
    )  # the real thing, on small sizes
    done = call("targets", "calibrate", "--name", "my-machine", "--threads", "1", "-o", "here")
    assert done.exit_code == 0, done.stderr
    assert "GMAC/s" in done.stdout
    assert done.stdout.rstrip().endswith(f"wrote {Path('here') / 'my-machine.yaml'}")
    assert call("targets", "add", "here/my-machine.yaml").exit_code == 0
    assert "launch" in call("targets", "show", "my-machine").stdout
