"""A run that is killed or stopped in any step goes on where it was, and ends with the same verdict."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fixtures_pipeline import CHILD, STEPS, FinishedRun, Listener, essence, forget

from edgesmith.pipeline import compress
from edgesmith.recipe import Recipe

DEADLINE_S = 300


def start(recipe: Recipe, run: Path, folder: Path) -> subprocess.Popen[str]:
    """A run of its own, which hears Ctrl-C even where what started these tests does not."""
    recipe.save(folder / "recipe.yaml")
    command = [sys.executable, "-m", "edgesmith", "run", str(folder / "recipe.yaml"), "-o", str(run)]
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # an ignored signal would be inherited
    try:
        return subprocess.Popen(command, env=CHILD, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, heard)


def is_written(path: Path) -> bool:
    """A JSON file is whole; any other is there."""
    try:
        return path.suffix != ".json" or bool(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return False


def stop_when(process: subprocess.Popen[str], folder: Path, pattern: str, sent: signal.Signals) -> str:
    """Sends the signal as soon as something in `folder` matches; returns what the process said."""
    deadline = time.monotonic() + DEADLINE_S
    while not any(map(is_written, folder.glob(pattern))):
        assert process.poll() is None, f"the run ended too early: {process.communicate()[1]}"
        assert time.monotonic() < deadline, f"no {pattern} in {folder} within {DEADLINE_S} s"
        time.sleep(0.002)
    process.send_signal(sent)
    return process.communicate(timeout=60)[1]


def partial_of(run: Path, step: str) -> Path:
    return (run / step).with_name(f".{(run / step).name}.partial")


def check_stopped_in(run: Path, step: str) -> None:
    assert partial_of(run, step).is_dir()
    assert not (run / step).exists()
    assert not (run / "verdict.json").exists()


def check_resumes(finished: FinishedRun, run: Path, lost: tuple[str, ...]) -> Listener:
    """Runs it again: only the lost steps are done, and the verdict is that of the run that nobody stopped."""
    heard = Listener()
    verdict = compress(finished.recipe, run, heard)
    assert heard.done == lost
    assert essence(verdict) == essence(finished.verdict)
    assert not list(run.rglob("*.partial"))
    return heard


def test_a_run_killed_in_the_midst_of_training_goes_on_from_its_checkpoint(
    copied: Path, finished: FinishedRun, tmp_path: Path
) -> None:
    lost = ("03-prune/tiny", "04-quantize/tiny", "05-export/tiny-onnxruntime", "05-settings", "06-validate")
    forget(copied, lost)
    process = start(finished.recipe, copied, tmp_path)
    state = "checkpoints/checkpoint-*/trainer_state.json"
    stop_when(process, partial_of(copied, lost[0]), state, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    check_stopped_in(copied, lost[0])
    heard = check_resumes(finished, copied, lost)
    assert any("going on from checkpoint-" in line for line in heard.lines)


def test_ctrl_c_ends_with_130_and_one_line(copied: Path, finished: FinishedRun, tmp_path: Path) -> None:
    lost = ("04-quantize/tiny", "05-export/tiny-onnxruntime", "05-settings", "06-validate")
    forget(copied, lost)
    process = start(finished.recipe, copied, tmp_path)
    said = stop_when(process, partial_of(copied, lost[0]), "key.txt", signal.SIGINT)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "stopped; the same command resumes."
    assert "Traceback" not in said
    check_stopped_in(copied, lost[0])


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
@pytest.mark.parametrize("step", STEPS)
def test_a_run_stopped_in_any_step_ends_with_the_same_verdict(
    copied: Path, finished: FinishedRun, tmp_path: Path, step: str, sent: signal.Signals, code: int
) -> None:
    lost = STEPS[STEPS.index(step) :]
    forget(copied, lost)
    process = start(finished.recipe, copied, tmp_path)
    said = stop_when(process, partial_of(copied, step), "key.txt", sent)
    assert process.returncode == code
    assert "Traceback" not in said
    check_stopped_in(copied, step)
    check_resumes(finished, copied, lost)
