"""One run for two runtimes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from bundle_checks import check_every_file, check_moved_and_read_only, check_threads
from fixtures_pipeline import FinishedRun, Listener, predictions

from edgesmith.pipeline import compress
from edgesmith.recipe import Recipe
from edgesmith.records import Plan, read_json
from edgesmith.report.load import load_run
from edgesmith.report.markdown import render_markdown
from edgesmith.runtime import load_bundle
from edgesmith.targets import uncalibrated_schemes


@pytest.mark.parametrize(
    ("runtime", "library"),
    [
        ("litert", "litert_torch"),
        pytest.param("openvino", "openvino", marks=pytest.mark.slow),
        pytest.param("executorch", "executorch", marks=pytest.mark.slow),
    ],
)
def test_a_second_runtime_is_added_to_a_finished_run(
    runtime: str, library: str, copied: Path, recipe: Recipe, finished: FinishedRun, tmp_path: Path
) -> None:
    """In one test, since converting takes most of a minute."""
    pytest.importorskip(library, reason=f"{runtime} is not installed: pip install 'edgesmith[{runtime}]'")
    runtimes = ("onnxruntime", runtime)
    heard = Listener()
    first = compress(replace(recipe, runtimes=runtimes), copied, heard)
    assert heard.done[0] == "04-quantize/tiny"  # nothing is trained again
    assert {f"05-export/tiny-{runtime}", f"05-export/baseline-{runtime}", "05-settings", "06-validate"} < set(
        heard.done
    )

    verdicts = {verdict.runtime: verdict for verdict in (first, *first.alternatives)}
    assert set(verdicts) == set(runtimes)
    assert first.passed
    assert first.latency_ms.p50 == min(verdict.latency_ms.p50 for verdict in verdicts.values())
    assert verdicts["onnxruntime"].artifact == finished.verdict.artifact
    assert verdicts["onnxruntime"].model_size_bytes == finished.verdict.model_size_bytes
    assert verdicts[runtime].baseline_size_bytes == finished.verdict.baseline_size_bytes

    plans = {
        name: read_json(Plan, copied / "04-quantize" / "tiny" / f"plan-{name}.json") for name in runtimes
    }
    for name, plan in plans.items():
        kinds = {entry.kind for entry in plan.layers if entry.weight == "int4"}
        assert kinds == {
            kind
            for kind in ("linear", "embedding")
            if any(scheme.weight == "int4" for scheme in uncalibrated_schemes(name, kind))
        }
    assert load_run(copied).plan == plans[first.runtime]

    for name, verdict in verdicts.items():
        rows, bundle = predictions(copied, name)[:20], copied / verdict.bundle
        texts = [row["text"] for row in rows]
        with load_bundle(bundle) as predictor:
            assert predictor.bundle.manifest.plan == plans[name]
            assert [answer.label for answer in predictor.predict(texts)] == [row["artifact"] for row in rows]
            check_threads(predictor.predict, texts[:5])
        check_every_file(bundle, tmp_path / name)
        check_moved_and_read_only(bundle, tmp_path / name, texts[:5])
    report = render_markdown(load_run(copied))
    assert all(name in report for name in runtimes)
