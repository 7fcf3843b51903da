from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesmith.measure.settings import SettingsTrial, try_settings
from edgesmith.runtime.onnxruntime import FUSIONS, OnnxRuntimeSession

SIZE = 256
FAST, SLOW = {FUSIONS: 1}, {FUSIONS: 0}
"""With a constant product folded when the file is loaded, and without."""


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """logits = sum of a constant's powers, plus x: all of its work can be done once."""
    constant = numpy_helper.from_array(np.full((SIZE, SIZE), 1 / SIZE, np.float32), "power_0")
    nodes = [helper.make_node("MatMul", [f"power_{n}", "power_0"], [f"power_{n + 1}"]) for n in range(8)]
    nodes.append(helper.make_node("Add", ["power_8", "x"], ["logits"]))
    x, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, SIZE]) for name in ("x", "logits")
    )
    logits.type.tensor_type.shape.dim[0].dim_value = SIZE
    graph = helper.make_graph(nodes, "powers", [x], [logits], [constant])
    path = tmp_path_factory.mktemp("powers") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    return path


INPUTS = [{"x": np.full((1, SIZE), value, np.float32)} for value in (0.0, 1.0, 2.0, 3.0)]


def trials(
    path: Path, candidates: list[dict[str, int | str]], default: dict[str, int | str], **changes: object
) -> tuple[SettingsTrial, ...]:
    """Of real sessions, of which those without settings are opened as `default`."""
    options = {"objection": lambda _: None, "rounds": 15} | changes
    return try_settings(
        candidates,
        lambda settings: OnnxRuntimeSession(path, settings=settings or default).run,
        INPUTS,
        **options,
    )


def test_the_faster_is_kept(model_path: Path) -> None:
    """Eight products of 256 x 256 a call, or none."""
    slow, fast = {FUSIONS: 0, "enable_cpu_mem_arena": 0}, FAST
    kept, left = trials(model_path, [slow, fast], SLOW)
    assert (kept.settings, kept.decision, kept.is_kept) == (fast, "kept", True)
    assert kept.ratio and kept.low and kept.high and kept.low <= kept.ratio <= kept.high < 0.7
    assert (left.settings, left.decision, left.is_kept) == (slow, "left: another is faster", False)


def test_the_slower_is_left(model_path: Path) -> None:
    (only,) = trials(model_path, [SLOW], FAST)
    assert (only.decision, only.is_kept) == ("left: saves less than 3 %", False)
    assert only.ratio and only.ratio > 1.4


def test_answers_that_cannot_be_taken_leave_the_faster(model_path: Path) -> None:
    asked = []
    (only,) = trials(model_path, [FAST], SLOW, objection=lambda one: asked.append(one) or "other answers")
    assert (only.decision, only.is_kept, asked) == ("left: other answers", False, [FAST])


def test_few_observations_prove_nothing(model_path: Path) -> None:
    (only,) = trials(model_path, [FAST], SLOW, rounds=2)
    assert (only.is_kept, only.low) == (False, None)
    assert only.decision.startswith("left: too few observations; raise validate.inputs")


def test_what_the_runtime_refuses_is_told(model_path: Path) -> None:
    (refused,) = trials(model_path, [{"enable_arena": 0}], {})
    assert refused.decision.startswith(
        "refused: unknown session setting 'enable_arena'. Did you mean 'enable_cpu"
    )
    assert (refused.ratio, refused.is_kept) == (None, False)


def test_a_gain_that_does_not_show_again_is_luck() -> None:
    """On a clock of its own: the first measurement favours the candidate, the second does not."""
    now, calls = 0, {"candidate": 0, "default": 0}
    first = 10 * (1 + 2) * 4  # ten openings, each with a warm-up and two rounds, four inputs a round

    def open_with(settings: dict[str, int | str]):
        name = "candidate" if settings else "default"

        def run(_: object) -> None:
            nonlocal now
            calls[name] += 1
            now += 500_000 if name == "candidate" and calls[name] <= first else 1_000_000

        return run

    (only,) = try_settings([{"a": 1}], open_with, range(4), lambda _: None, rounds=20, clock=lambda: now)
    assert (only.decision, only.ratio, only.is_kept) == ("left: its gain did not show again", 1.0, False)


def test_without_candidates_nothing_is_timed() -> None:
    assert try_settings([], lambda _: lambda _: None, [], lambda _: None, rounds=1) == ()
