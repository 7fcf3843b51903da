"""`edgesmith bench` as it is typed."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[1]))  # where fixtures_bench is
from fixtures_bench import bundles, write
from fixtures_ssh import Server, board, lean, needs_sshd, sshd

from edgesmith.cli import main
from edgesmith.records import Bench, read_json

__all__ = ["board", "bundles", "lean", "sshd"]

BRIEF = ("--duration", "250ms", "--cold-starts", "0", "--warmup", "9")
OPEN = (*BRIEF, "--rate", "200")


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)], env={"COLUMNS": "100"})


def test_a_table_is_printed(bundles: dict[str, Path]) -> None:
    done = bench(bundles["text"], bundles["image"], *OPEN, "--deadline", "900ms")
    assert done.exit_code == 0, done.stderr
    shown = " ".join(done.stdout.split())
    for told in (
        "32 texts made of the bundle's own vocabulary, mean 16.0 tokens",
        "images made of random pixels",
        "ratio",
        "deadline missed",
        "of 50, ",
        "Open loop, fixed arrivals, 200 a second for 0.25 s: latency counts from the scheduled arrival",
        "1 thread, batch 1, after 9 answers to warm up",
    ):
        assert told in shown, told
    assert ", noisy" in shown if "NOISY MACHINE" in shown else ", noisy" not in shown
    assert "50 arrivals for each bundle" in done.stderr


def test_json_and_the_file_are_the_same_record(bundles: dict[str, Path], tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))  # those of this process need not begin with 0
    done = bench(bundles["tags"], *BRIEF, "--json", "--quiet", "-o", tmp_path / "bench.json", "--cpu", core)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "bench.json").read_text())
    found = read_json(Bench, tmp_path / "bench.json")
    assert (found.config.duration_s, found.config.rate, found.config.cpus) == (0.25, None, (core,))
    assert found.environment.cores == 1
    assert done.stderr == ""


def test_an_impossible_deadline_exits_4_with_the_result(bundles: dict[str, Path]) -> None:
    done = bench(bundles["text"], *OPEN, "--deadline", "0.001us", "--json", "--quiet")
    assert done.exit_code == 4
    (one,) = json.loads(done.stdout)["bundles"]
    assert one["measured"]["misses"]["value"] == one["measured"]["misses"]["n"] == 50
    assert done.stderr == f"error: not met: {one['failures'][0]}\n"
    assert "no answer meets the deadline of 1e-06 ms" in done.stderr


def test_an_impossible_rate_exits_4_and_names_the_bundle(bundles: dict[str, Path]) -> None:
    done = bench(bundles["text"], bundles["text"], *BRIEF, "--duration", "10ms", "--rate", "1e6", "--quiet")
    assert done.exit_code == 4
    assert f"not met: {bundles['text']}: a rate of 1e+06 a second is " in done.stderr


def test_real_rows(bundles: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("sentence,label\ngood film,1\nbad book,0\n")
    done = bench(bundles["text"], *BRIEF, "--data", tmp_path / "rows.csv", "--text-column", "sentence")
    assert done.exit_code == 0, done.stderr
    assert "2 of the 2 rows of rows.csv, mean 4.0 tokens" in " ".join(done.stdout.split())


def test_energy_is_measured_or_said_not_to_be(bundles: dict[str, Path]) -> None:
    """Whatever this machine has."""
    done = bench(bundles["text"], *BRIEF, "--duration", "1s", "--energy", "auto", "--json", "--quiet")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    is_measured = found["energy"]["reason"] is None
    assert ("energy" in found["bundles"][0]["measured"]) == is_measured
    assert is_measured or "edgesmith analyze MODEL --target T predicts it" in found["energy"]["reason"]


def test_energy_of_a_power_meters_file(bundles: dict[str, Path], tmp_path: Path) -> None:
    """A line of 5 V and 0.4 A every 20 ms for two minutes from now: 2 W."""
    path, begin = tmp_path / "meter.csv", time.time()
    lines = (f"{begin + step / 50:.6f};5,0;400".replace(".", ",") for step in range(120 * 50))
    path.write_text("\n".join(["Time;Voltage(V);Current(mA)", *lines, ""]))
    done = bench(bundles["text"], *BRIEF, "--duration", "1s", "--energy", path)
    assert done.exit_code == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert re.search(r"mean power(, noisy)? 2 W", shown)
    assert "energy per answer" in shown
    assert (
        "energy: measured by meter.csv (time from 'Time', voltage from 'Voltage(V)', current from 'Current(mA)')"
        in shown
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--energy", "rap"),
            "Did you mean 'rapl'? Allowed: auto, jetson, nvml, rapl. Or name a power meter's file that ends in .csv.",
        ),
        (
            ("--energy", "none.csv"),
            "none.csv: cannot be read (No such file or directory). Start the meter's log first.",
        ),
        (("--energy", "meter.csv", "--host", "pi@board"), "a file of this machine and by its clock"),
        (("--rate", "0"), "rate is 0; allowed: a finite number above 0."),
        (("--deadline", "-3ms"), "--deadline is '-3ms'; expected a number with one of: ms, s, us."),
        (("--deadline", "0ms"), "deadline_ms is 0"),
        (("--duration", "1h"), "--duration is '1h'; expected a number with one of: s, min, ms."),
        (("--max-misses", "1%"), "with a deadline. Type: --deadline 33ms"),
        (("--cpu", "a"), "--cpu is 'a'; expected numbers of CPUs. Example: --cpu 0,1"),
        (("--cpu", "4095"), "--cpu is 4095; allowed: "),
        (("--length", "17"), "takes 3 to 16 tokens, special ones included."),
        (("--python", "x"), "--time-limit are of a board. Name it: --host user@board"),
        (("--host", "pi@"), "--host is 'pi@'; expected user@host, user@host:port"),
        (("--time-limit", "5"), "--time-limit is '5'; expected a number with one of: s, min, h."),
        (
            ("--busy-wait",),
            "busy_wait is True and there is no rate, so nothing is waited for. Type: --rate 30",
        ),
        (("--arrivals", "fix"), "'fix' is not one of 'fixed', 'poisson'."),
    ],
)
def test_what_makes_no_sense_exits_2(
    bundles: dict[str, Path], arguments: tuple[str, ...], message: str
) -> None:
    done = bench(bundles["text"], *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_what_is_no_bundle_exits_2(tmp_path: Path) -> None:
    assert bench().exit_code == 2
    for path in (tmp_path / "absent", tmp_path):
        done = bench(path)
        assert (done.exit_code, done.stdout) == (2, "")
        assert f"{path} is not a bundle" in done.stderr


def test_a_tampered_bundle_exits_2(tmp_path: Path) -> None:
    folder = write(tmp_path / "bundle", "text")
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"max_length": 16', '"max_length": 17'))
    done = bench(folder)
    assert done.exit_code == 2
    assert (
        "manifest.json.sha256 has changed: the second does not hold the SHA-256 of the first" in done.stderr
    )


def test_different_tasks_with_data_exit_3(bundles: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text\ngood\nbad\n")
    done = bench(bundles["text"], bundles["tags"], "--data", tmp_path / "rows.csv")
    assert done.exit_code == 3
    assert "the same data cannot be asked of bundles of different tasks" in done.stderr


def test_a_missing_runtime_exits_3(bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # what import sees where it is absent
    done = bench(bundles["text"])
    assert done.exit_code == 3
    assert "onnxruntime is not installed. Type: pip install 'edgesmith[onnxruntime]'" in done.stderr


@needs_sshd
def test_a_board_is_named_and_its_verdict_is_ours(
    board: Server, bundles: dict[str, Path], lean: str, tmp_path: Path
) -> None:
    there = ("--host", board.host, "--python", lean, "--deadline", "0.001us")
    done = bench(bundles["text"], *BRIEF, *there, "-o", tmp_path / "bench.json")
    assert done.exit_code == 4
    assert f"Measured on {board.host}: " in " ".join(done.stdout.split())
    assert read_json(Bench, tmp_path / "bench.json").host == board.host
    assert "not met: no answer meets the deadline of 1e-06 ms" in done.stderr
    assert f"copying to {board.host}, kB" in done.stderr


@needs_sshd
def test_a_board_without_a_python_exits_3(board: Server, bundles: dict[str, Path]) -> None:
    done = bench(bundles["text"], "--host", board.host, "--python", "/nowhere/python")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith(f"error: {board.host} has no Python at '/nowhere/python'")
