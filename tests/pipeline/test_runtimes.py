"""One run for two runtimes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fixtures_pipeline import FinishedRun, Listener, predictions

pytest.importorskip("litert_torch", reason="LiteRT is not installed: pip install 'edgesmith[litert]'")

from edgesmith.pipeline import compress
from edgesmith.recipe import Recipe
from edgesmith.records import Plan, read_json
from edgesmith.report.load import load_run
from edgesmith.report.markdown import render_markdown
from edgesmith.runtime import load_bundle

RUNTIMES = ("onnxruntime", "litert")


def test_a_second_runtime_is_added_to_a_finished_run(
    copied: Path, recipe: Recipe, finished: FinishedRun
) -> None:
    """In one test, since converting takes most of a minute."""
    heard = Listener()
    first = compress(replace(recipe, runtimes=RUNTIMES), copied, heard)
    assert heard.done[0] == "04-quantize/tiny"  # nothing is trained again
    assert {"05-export/tiny-litert", "05-export/baseline-litert", "06-validate"} < set(heard.done)

    verdicts = {verdict.runtime: verdict for verdict in (first, *first.alternatives)}
    assert set(verdicts) == set(RUNTIMES)
    assert first.passed
    assert first.latency_ms.p50 == min(verdict.latency_ms.p50 for verdict in verdicts.values())
    assert verdicts["onnxruntime"].artifact == finished.verdict.artifact
    assert verdicts["onnxruntime"].model_size_bytes == finished.verdict.model_size_bytes
    assert verdicts["litert"].baseline_size_bytes == finished.verdict.baseline_size_bytes

    plans = {
        runtime: read_json(Plan, copied / "04-quantize" / "tiny" / f"plan-{runtime}.json")
        for runtime in RUNTIMES
    }
    assert "int4" in plans["litert"].counts()
    assert "int4" not in plans["onnxruntime"].counts()
    assert load_run(copied).plan == plans[first.runtime]

    for runtime, verdict in verdicts.items():
        rows = predictions(copied, runtime)
        with load_bundle(copied / verdict.bundle) as predictor:
            assert predictor.bundle.manifest.plan == plans[runtime]
            texts = [row["text"] for row in rows[:20]]
            assert [answer.label for answer in predictor.predict(texts)] == [
                row["artifact"] for row in rows[:20]
            ]
    report = render_markdown(load_run(copied))
    assert all(runtime in report for runtime in RUNTIMES)
