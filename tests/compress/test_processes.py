"""A training by two processes against one with the doubled batch, with gloo on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import fixtures_processes
import pytest
import torch
from fixtures_processes import PER_PROCESS, STEPS, learn_generally, learn_labels
from safetensors.torch import load_file

TOLERANCE = 2e-6
"""Of a weight, in FP32. Not bitwise: a mean of two means of 8 rows rounds otherwise than the mean of 16, and two halves are
padded to two widths. The learning rate is 1e-3, so that a wrong batch moves weights by 1e-2 within these steps."""


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that both processes wrote into."""
    folder = tmp_path_factory.mktemp("processes")
    command = ["torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, "-m", *command, fixtures_processes.__file__, str(folder)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """After a training, bitwise the same in both processes."""
    first, second = (load_file(folder / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    return first


def told(folder: Path, rank: int) -> dict:
    return json.loads((folder / f"told-{rank}.json").read_text())


def without_key_biases(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A key's bias adds the same to all scores of a query, so softmax takes it out: its gradient is 0 but for rounding, which
    Adam divides by its own size."""
    parts = {
        name: torch.cat([value.chunk(3)[0], value.chunk(3)[2]]) if name.endswith("qkv.bias") else value
        for name, value in state.items()
    }
    assert sum(name.endswith("qkv.bias") for name in parts) == 3
    return parts


def farthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((value - other[name]).abs().max()) for name, value in one.items())


@pytest.fixture
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesmith.compress.training.use_bf16", lambda: False)


@pytest.mark.usefixtures("in_fp32")
def test_two_processes_reach_the_weights_of_one_with_the_doubled_batch(
    launched: Path, tmp_path: Path
) -> None:
    model, result, _ = learn_labels(tmp_path, 2 * PER_PROCESS)
    found = without_key_biases(weights(launched, "labels"))
    assert farthest(found, without_key_biases(model.state_dict())) < TOLERANCE
    smaller, _, _ = learn_labels(tmp_path, PER_PROCESS)
    assert farthest(found, without_key_biases(smaller.state_dict())) > 1000 * TOLERANCE
    for rank in (0, 1):  # over all 41 validation rows, an odd number
        assert told(launched, rank)["labels"]["score"] == result.score
        assert told(launched, rank)["labels"]["curve"] == [list(point) for point in result.curve]


@pytest.mark.usefixtures("in_fp32")
def test_losses_on_what_layers_compute_inside_and_projections_beside_the_model(
    launched: Path, tmp_path: Path
) -> None:
    """Which `DistributedDataParallel` refuses, the unused head as well."""
    model, result = learn_generally(tmp_path, 2 * PER_PROCESS)
    found, expected = (
        without_key_biases(state) for state in (weights(launched, "general"), model.state_dict())
    )
    assert farthest(found, expected) < TOLERANCE
    for rank in (0, 1):
        assert told(launched, rank)["general"]["score"] == pytest.approx(
            result.score, rel=1e-2
        )  # rows repeat


def test_a_broken_off_training_goes_on_to_the_same_weights_in_both_processes(launched: Path) -> None:
    """Bitwise, dropout included, which each process draws for itself."""
    whole = weights(launched, "whole")
    assert farthest(weights(launched, "resumed"), whole) == 0.0
    assert farthest(weights(launched, "labels"), whole) > 1000 * TOLERANCE
    first, second = told(launched, 0), told(launched, 1)
    assert first["left"] == second["left"] == ["checkpoint-4"]
    assert first["resumed steps"] == list(range(5, STEPS + 1))
    assert first["seed"] != second["seed"]
    assert not first["left at the end"]


def test_the_first_process_alone_shows_progress(launched: Path) -> None:
    assert told(launched, 0)["steps"] == list(range(1, STEPS + 1))
    assert told(launched, 1)["steps"] == []
