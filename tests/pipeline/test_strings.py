"""A bundle and the one file made from it answer alike, or there is no file."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from fixtures_pipeline import FinishedRun
from fixtures_text import UNICODE_TEXTS, write_question_bundle, write_small_bundle

from edgesmith.cli import main
from edgesmith.errors import ParityError
from edgesmith.export.wordpiece import CHARACTERS, WordPiece, read_wordpiece
from edgesmith.pipeline import strings
from edgesmith.records import SilentProgress
from edgesmith.runtime import load_bundle
from edgesmith.runtime.strings import StringsSession

pytest.importorskip("onnxruntime_extensions", reason="the extra `strings` is not installed")

PAGE = Path(__file__).parents[2] / "docs" / "runtimes.md"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strings") / "bundle"
    write_small_bundle(folder)
    return folder


@pytest.fixture(autouse=True)
def few_characters(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Latin and its extensions; `slow` compares all of Unicode."""
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(strings, "CHARACTERS", CHARACTERS[:0x300])


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["strings", *map(str, arguments)])


def test_the_file_answers_as_the_bundle_does(bundle: Path, tmp_path: Path) -> None:
    done = call(bundle, "-o", tmp_path / "new" / "model.onnx", "--json")
    found = json.loads(done.stdout)
    content = (tmp_path / "new" / "model.onnx").read_bytes()
    assert found["sha256"] == hashlib.sha256(content).hexdigest() and found["size_bytes"] == len(content)
    assert (found["batch"], found["max_length"], found["code_points"]["different"]) == (1, 32, 0)
    session = StringsSession(tmp_path / "new" / "model.onnx")
    with load_bundle(bundle) as predictor:
        for text in UNICODE_TEXTS:
            answer = session.run(text)
            assert answer["label"][0] == predictor.predict(text)[0].label
            np.testing.assert_allclose(answer["logits"], predictor.logits(text), atol=1e-6)
    facts = {one.key: one.value for one in onnx.load(tmp_path / "new" / "model.onnx").metadata_props}
    manifest = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    assert (facts["bundle_manifest_sha256"], facts["batch"]) == (manifest, "1")
    assert facts["onnxruntime_extensions"]


def test_a_compressed_model_of_int8_with_a_trimmed_vocabulary_answers_alike(
    finished: FinishedRun, tmp_path: Path
) -> None:
    folder = finished.path / finished.verdict.bundle
    found = strings.write_strings(folder, tmp_path / "model.onnx", SilentProgress())
    assert found.code_points.different == 0 and found.max_abs_error <= strings.TOLERANCE
    session = StringsSession(tmp_path / "model.onnx")
    with load_bundle(folder) as predictor:
        for text in UNICODE_TEXTS:
            np.testing.assert_allclose(session.run(text)["logits"], predictor.logits(text), atol=1e-5)


@pytest.mark.slow
def test_all_of_unicode_is_read_alike(bundle: Path, tmp_path: Path) -> None:
    found = strings.write_strings(bundle, tmp_path / "model.onnx", SilentProgress())
    assert (found.code_points.n, found.code_points.different) == (0x110000 - 0x800 - 1, 0)


def test_a_character_that_is_read_differently_ends_it(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(path: Path) -> WordPiece:
        right = read_wordpiece(path)
        return replace(right, adds={**right.adds, "\u0101": "e", "\u0130": ""})

    monkeypatch.setattr(strings, "read_wordpiece", wrong)
    with pytest.raises(
        ParityError, match=r"reads 2 of 768 characters .*U\+0101, U\+0130\. Nothing was written"
    ):
        strings.write_strings(bundle, tmp_path / "model.onnx", SilentProgress())
    assert not (tmp_path / "model.onnx").exists()


def test_a_text_that_is_cut_differently_ends_it(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first and last token are what no sweep looks at alone."""
    module = strings.exporter("strings")
    right = module.add_strings

    def longer(*arguments: object, max_length: int, **others: object) -> onnx.ModelProto:
        return right(*arguments, max_length=max_length + 1, **others)

    monkeypatch.setattr(module, "add_strings", longer)
    with pytest.raises(ParityError, match="output 'logits' differs"):
        strings.write_strings(bundle, tmp_path / "model.onnx", SilentProgress())
    assert not (tmp_path / "model.onnx").exists()


def test_other_tasks_are_refused(tmp_path: Path) -> None:
    write_question_bundle(tmp_path / "bundle")
    done = call(tmp_path / "bundle", "-o", tmp_path / "model.onnx")
    assert done.exit_code == 3
    assert (
        "is for question-answering and onnxruntime; strings go into the graph for text-classif" in done.stderr
    )


def test_an_older_file_is_left_alone(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("mine")
    done = call(bundle, "-o", tmp_path / "model.onnx")
    assert done.exit_code == 2 and "exists; give a new file with -o" in done.stderr
    assert (tmp_path / "model.onnx").read_text() == "mine"


def test_another_ending_is_refused(bundle: Path, tmp_path: Path) -> None:
    done = call(bundle, "-o", tmp_path / "model")
    assert done.exit_code == 2 and "model does not end in .onnx; give a new file" in done.stderr


def test_without_the_extra_the_line_to_type_is_said(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_extensions", None)
    monkeypatch.delitem(sys.modules, "edgesmith.export.strings", raising=False)
    done = call(bundle, "-o", tmp_path / "model.onnx")
    assert done.exit_code == 3 and "Type: pip install 'edgesmith[strings]'" in done.stderr


def test_the_program_of_the_page_runs(bundle: Path, tmp_path: Path) -> None:
    assert call(bundle, "-o", tmp_path / "reviews.onnx", "--quiet").exit_code == 0
    (program,) = re.findall(r"```py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] in ("negative", "positive")
