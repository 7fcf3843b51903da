from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from fixtures_bench import write

from edgesmith.errors import MeasureError
from edgesmith.measure.cold_start import measure_starts
from edgesmith.measure.inputs import make_inputs
from edgesmith.runtime import first_answer
from edgesmith.runtime.bundle import open_bundle


@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_start_is_the_sum_of_its_parts(bundles: dict[str, Path], kind: str) -> None:
    bundle = open_bundle(bundles[kind])
    row = make_inputs(bundle, None, count=1, seed=0).rows[0]
    begin = time.monotonic()
    found = measure_starts(bundle, row, threads=1, times=1)
    wall_ms = 1e3 * (time.monotonic() - begin)
    values = {name: measurement.value for name, measurement in found.items()}
    assert min(values["load"], values["first_answer"]) > 0
    assert (
        values["load"] + values["first_answer"] < values["cold_start"] < wall_ms
    )  # Python's own start is more
    assert 20e6 < values["peak_rss"] < 1e9
    assert [found[name].n for name in ("cold_start", "load", "first_answer", "peak_rss")] == [1] * 4


def test_the_moments_of_a_start_are_in_order(bundles: dict[str, Path], tmp_path: Path) -> None:
    import pickle

    (tmp_path / "row").write_bytes(pickle.dumps(("good film", None)))
    before = time.monotonic_ns()
    first_answer.main([str(bundles["text"]), "1", str(tmp_path / "row"), str(tmp_path / "report")])
    moments = json.loads((tmp_path / "report").read_text())
    assert list(moments) == ["imported", "loaded", "answered"]
    assert before <= moments["imported"] < moments["loaded"] < moments["answered"] <= time.monotonic_ns()


def test_a_process_that_fails_is_told(tmp_path: Path) -> None:
    files = {"model.onnx": b"no graph", "tokenizer.json": "{}"}
    bundle = open_bundle(write(tmp_path / "bundle", "text", files=files))
    with pytest.raises(MeasureError, match=r"opens .*bundle exited with 1: .*BundleError.*cannot be loaded"):
        measure_starts(bundle, ("good", None), threads=1, times=1)
