"""Settings in a manifest, whatever runs the artifact."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures_text import UNICODE_TEXTS, write_small_bundle

from edgesmith.errors import BundleError, MissingExtraError
from edgesmith.runtime import load_bundle
from edgesmith.runtime.openvino import OPENVINO_SETTINGS, PINNING
from edgesmith.runtime.predictor import SESSIONS
from edgesmith.runtime.settings import THREADS_SETTING, own_settings


def test_threads_are_everybodys() -> None:
    assert own_settings({THREADS_SETTING: 4, PINNING: "NO"}, OPENVINO_SETTINGS) == {PINNING: "NO"}
    assert own_settings(None, OPENVINO_SETTINGS) == {}


@pytest.mark.parametrize("runtime", SESSIONS)
def test_an_unknown_setting_is_refused_by_name(runtime: str) -> None:
    """Before the file is looked at: here there is none."""
    with pytest.raises(
        BundleError, match=r"unknown session setting 'intra_op_threads'\. Did you mean 'intra"
    ):
        try:
            SESSIONS[runtime](Path("absent"), settings={"intra_op_threads": 1})
        except MissingExtraError as error:
            pytest.skip(str(error))


@pytest.mark.parametrize("runtime", SESSIONS)
def test_a_candidate_is_no_unknown_setting(runtime: str) -> None:
    """So that the only thing wrong is the file."""
    for settings in SESSIONS[runtime].candidates:
        with pytest.raises(BundleError, match="absent cannot be loaded"):
            try:
                SESSIONS[runtime](Path("absent"), settings=settings)
            except MissingExtraError as error:
                pytest.skip(str(error))


def test_a_bundle_is_opened_with_those_of_its_manifest(tmp_path: Path) -> None:
    """And answers the same, whichever they are, where they do not touch the arithmetic."""
    answers = []
    for number, settings in enumerate(({}, *SESSIONS["onnxruntime"].candidates)):
        manifest = write_small_bundle(tmp_path / str(number), session={THREADS_SETTING: 1, **settings})
        assert manifest.session == {THREADS_SETTING: 1, **settings}
        with load_bundle(tmp_path / str(number)) as predictor:
            answers.append(predictor.predict(UNICODE_TEXTS))
    assert answers.count(answers[0]) == len(answers) > 1
    write_small_bundle(tmp_path / "unknown", session={"enable_arena": 1})
    with pytest.raises(
        BundleError, match=r"unknown session setting 'enable_arena'\. Did you mean 'enable_cpu"
    ):
        load_bundle(tmp_path / "unknown")
