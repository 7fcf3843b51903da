"""Settings of the session: tried on this machine, written into the manifest, and left as they are for another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fixtures_pipeline import FinishedRun, Listener

from edgesmith.measure.settings import SettingsTrial
from edgesmith.pipeline import compress
from edgesmith.pipeline.setups import Setup
from edgesmith.recipe import Recipe
from edgesmith.records import STEP_RECORD_NAME, StepRecord, from_dict, read_json
from edgesmith.report.load import load_run
from edgesmith.report.markdown import render_markdown
from edgesmith.runtime import OnnxRuntimeSession, open_bundle
from edgesmith.runtime.onnxruntime import ARENA, FUSIONS

SLOW, OTHER = {FUSIONS: 0}, {ARENA: 0}


def facts(run: Path) -> tuple[Setup, list[SettingsTrial]]:
    record = read_json(StepRecord, run / "05-settings" / STEP_RECORD_NAME)
    found = record.facts["runtimes"]["onnxruntime"]
    return from_dict(Setup, found["setup"]), [from_dict(SettingsTrial, trial) for trial in found["trials"]]


def test_every_candidate_is_tried_and_told(finished: FinishedRun) -> None:
    setup, trials = facts(finished.path)
    assert setup.drop == finished.verdict.validation_drop
    assert sorted(map(str, OnnxRuntimeSession.candidates)) == sorted(str(trial.settings) for trial in trials)
    page = render_markdown(load_run(finished.path))
    for trial in trials:
        ((name, value),) = trial.settings.items()
        assert (
            f"onnxruntime, {name}={value}: p50 {trial.ratio:.2f}x of that with the defaults; left: " in page
        )


def test_what_is_kept_goes_with_the_bundle(
    copied: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default made the slowest there is, so that one candidate has to be faster."""
    plain = OnnxRuntimeSession.__init__

    def opened(self, path, *, threads=1, settings=None):
        plain(self, path, threads=threads, settings=settings or SLOW)

    monkeypatch.setattr(OnnxRuntimeSession, "__init__", opened)
    monkeypatch.setattr(OnnxRuntimeSession, "candidates", (OTHER, {FUSIONS: 99}))
    more = replace(recipe, validate=replace(recipe.validate, rounds=30))
    verdict = compress(more, copied, Listener())
    setup, trials = facts(copied)
    assert setup.settings == trials[0].settings
    assert trials[0].is_kept
    bundle = open_bundle(copied / verdict.bundle)
    assert bundle.manifest.session == {"intra_op_num_threads": 1, **setup.settings}
    assert bundle.manifest.metrics["validation_drop"] == setup.drop == verdict.validation_drop


def test_another_device_gets_the_defaults(copied: Path, recipe: Recipe, finished: FinishedRun) -> None:
    heard = Listener()
    verdict = compress(replace(recipe, target="raspberry-pi-5"), copied, heard)
    assert heard.done == ("06-validate",)
    assert not (copied / "05-settings").exists()
    assert open_bundle(copied / verdict.bundle).manifest.session == {"intra_op_num_threads": 1}
    assert verdict.validation_drop == finished.verdict.validation_drop
