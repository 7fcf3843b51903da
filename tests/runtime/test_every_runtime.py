"""The same texts through the bundles of several runtimes; LiteRT's come from its converter, in tests/export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bundle_checks import (
    check_every_file,
    check_moved_and_read_only,
    check_second_account,
    check_threads,
)
from fixtures_text import CHILD_ENVIRONMENT, UNICODE_TEXTS, write_question_bundle

from edgesmith.errors import BundleError
from edgesmith.runtime import load_bundle


@pytest.fixture(scope="module", params=["small_bundle", "openvino_bundle"], ids=["onnxruntime", "openvino"])
def bundle(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def test_the_logits_are_those_of_onnxruntime(bundle: Path, small_bundle: Path) -> None:
    """Whose own are compared with the formula in test_predictor."""
    with load_bundle(bundle) as predictor, load_bundle(small_bundle) as reference:
        expected = reference.logits(UNICODE_TEXTS)
        for batch_size in (1, 4):
            found = predictor.logits(UNICODE_TEXTS, batch_size=batch_size)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_threads_may_share_a_predictor(bundle: Path) -> None:
    with load_bundle(bundle) as predictor:
        check_threads(predictor.predict, UNICODE_TEXTS)


def test_a_closed_one_says_so(bundle: Path) -> None:
    with load_bundle(bundle) as predictor:
        assert len(predictor.predict("a text")) == 1
    with pytest.raises(BundleError, match="was closed"):
        predictor.predict("a text")


def test_a_flipped_bit_in_any_file_is_refused(bundle: Path, tmp_path: Path) -> None:
    check_every_file(bundle, tmp_path)


def test_another_folder_without_permission_to_write_is_enough(bundle: Path, tmp_path: Path) -> None:
    check_moved_and_read_only(bundle, tmp_path, UNICODE_TEXTS)


def test_another_account_may_use_it(bundle: Path) -> None:
    check_second_account(bundle, UNICODE_TEXTS)


def test_neither_torch_nor_telemetry_is_loaded(bundle: Path) -> None:
    code = (
        "import sys; from edgesmith.runtime import load_bundle; load_bundle(sys.argv[1]).predict(['a', 'b']); "
        "print(*(name for name in ('torch', 'transformers', 'openvino_telemetry') if sys.modules.get(name)))"
    )
    command = [sys.executable, "-c", code, bundle]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=CHILD_ENVIRONMENT)
    assert done.stdout.split() == []


def test_threads_may_share_what_answers_questions(tmp_path: Path) -> None:
    """Whose tokenizer is set anew for every question."""
    write_question_bundle(tmp_path / "questions")
    context = "Nobody saw the ship. In 1843, Ada Lovelace left London for good. " * 5
    questions = ["Who left?", "When did she leave the city of London, and why?", "What ship?"]
    with load_bundle(tmp_path / "questions") as predictor:
        check_threads(lambda question: predictor.predict(question, context), questions)
