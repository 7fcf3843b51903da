from __future__ import annotations

import importlib.util
import json
import os
import py_compile
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from bundle_checks import link_packages, run_alone
from fixtures_text import LABELS, UNICODE_TEXTS, minilm_folder, write_question_bundle, write_small_bundle

from edgesmith.errors import ExportError
from edgesmith.export import run_script as module
from edgesmith.export.run_script import run_script, write_run_script
from edgesmith.runtime import load_bundle

# What the device has: these and the standard library.
DEVICE_PACKAGES = ("numpy", "numpy.libs", "tokenizers", "onnxruntime", "openvino")
TEXTS = [text for text in UNICODE_TEXTS if text.strip() and "\n" not in text]


@pytest.fixture(scope="module")
def device_packages(tmp_path_factory) -> Path:
    """A folder that holds only the packages of a device, as links to the installed ones."""
    return link_packages(tmp_path_factory.mktemp("device"), DEVICE_PACKAGES)


@pytest.fixture
def run(device_packages, tmp_path):
    """Runs ``run.py`` of a bundle from another folder, in a Python that sees `device_packages` alone."""
    return partial(run_alone, device_packages, cwd=tmp_path)


def test_answers_equal_edgesmiths_own(small_bundle, run):
    done = run(small_bundle, "--json", *TEXTS)
    assert (done.stderr, done.returncode) == ("", 0)
    answers = load_bundle(small_bundle).predict(TEXTS)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [vars(answer) for answer in answers]
    assert len({answer.label for answer in answers}) == 2


def test_a_bundle_for_openvino_answers_with_as_little(openvino_bundle, run):
    done = run(openvino_bundle, "--json", *TEXTS)
    assert (done.stderr, done.returncode) == ("", 0)
    answers = load_bundle(openvino_bundle).predict(TEXTS)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [vars(answer) for answer in answers]


def test_questions_are_answered_as_edgesmith_answers_them(run, tmp_path):
    write_question_bundle(tmp_path / "questions")
    context = "Nobody saw the ship. In 1843, Ada Lovelace left London for good."
    done = run(tmp_path / "questions", "--json", "--question", "Who left?", "--context", context)
    assert (done.stderr, done.returncode) == ("", 0)
    (answer,) = load_bundle(tmp_path / "questions").predict("Who left?", context)
    assert json.loads(done.stdout) == vars(answer)
    assert context[answer.start : answer.end] == answer.answer


def test_reads_standard_input_in_any_locale(small_bundle, run):
    content = "\n".join(TEXTS)
    done = run(small_bundle, input=content, env={**os.environ, "LC_ALL": "C"})
    answers = load_bundle(small_bundle).predict(TEXTS)
    assert done.stdout == "".join(f"{answer.label}\t{answer.probability:.4f}\n" for answer in answers)


def test_a_file_and_the_time(small_bundle, run, tmp_path):
    (tmp_path / "data.jsonl").write_text("".join(json.dumps({"text": text, "n": 1}) + "\n" for text in TEXTS))
    done = run(small_bundle, "--file", "data.jsonl", "--text-column", "text", "--time")
    assert done.stdout.split() == [answer.label for answer in load_bundle(small_bundle).predict(TEXTS)]
    assert done.stderr.startswith("p50 ")


def test_runs_as_a_script_and_writes_nothing_into_the_bundle(own_bundle, tmp_path):
    before = sorted(path.relative_to(own_bundle) for path in own_bundle.rglob("*"))
    link = tmp_path / "link.py"
    link.symlink_to(own_bundle / "run.py")  # the bundle is found through a link too
    own_bundle.chmod(0o555)
    for command in ([sys.executable, own_bundle / "run.py"], [sys.executable, link]):
        done = subprocess.run([*command, "a text"], capture_output=True, text=True, cwd="/", check=True)
        assert done.stdout.split("\t")[0] in LABELS
    own_bundle.chmod(0o755)
    assert sorted(path.relative_to(own_bundle) for path in own_bundle.rglob("*")) == before


def test_a_damaged_bundle_is_one_line_and_exit_code_2(own_bundle, run):
    (own_bundle / "tokenizer.json").write_text("{}")
    done = run(own_bundle, "a text")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and "tokenizer.json has 2 bytes" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("runtime", "fixture"), [("onnxruntime", "small_bundle"), ("openvino", "openvino_bundle")]
)
def test_a_missing_runtime_is_named_with_what_to_type(runtime, fixture, request, device_packages, tmp_path):
    bundle = request.getfixturevalue(fixture)
    shutil.copytree(device_packages, tmp_path / "less", symlinks=True)
    (tmp_path / "less" / runtime).unlink()
    done = run_alone(tmp_path / "less", bundle, "a text")
    assert done.returncode == 3
    assert done.stderr.startswith(f"error: {runtime} is not installed.")
    assert done.stderr.endswith(f"On the device: pip install numpy tokenizers {runtime}\n")


def test_executorchs_line_names_torch_too(run, tmp_path):
    """Whose Python runtime needs it, and does not bring it; nothing of the model is read before."""
    files = {"model.pte": b"never opened", "tokenizer.json": minilm_folder() / "tokenizer.json"}
    write_small_bundle(tmp_path / "bundle", files=files, runtime="executorch", model="model.pte")
    done = run(tmp_path / "bundle", "a text")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(
        "error: executorch is not installed. Type: pip install 'edgesmith[executorch]'"
    )
    assert done.stderr.endswith("On the device: pip install numpy tokenizers executorch torch\n")


def test_a_reader_that_leaves_early_is_no_error(small_bundle, tmp_path):
    (tmp_path / "texts.txt").write_text("a text\n" * 3000)
    command = [sys.executable, small_bundle / "run.py", "--file", tmp_path / "texts.txt"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert (process.stderr.read(), process.wait(timeout=20)) == (b"", 0)
    process.stderr.close()


def test_help_has_examples_that_name_real_options(small_bundle, run):
    text = run(small_bundle, "--help").stdout
    assert 'python run.py --pair "a text" "its pair"' in text
    assert "needs: numpy, tokenizers" in text


def test_what_is_generated(tmp_path):
    path = write_run_script(tmp_path)
    py_compile.compile(str(path), cfile=str(tmp_path / "run.pyc"), doraise=True)
    assert os.access(path, os.X_OK)
    source = path.read_text()
    assert source == run_script()  # the same every time
    assert "Generated by edgesmith" in source.split('"""')[1]
    assert "import edgesmith" not in source and "from edgesmith" not in source
    for heavy in ("transformers", "datasets", "pandas"):
        assert f"import {heavy}" not in source
    before, _, after = source.partition("        import torch\n        from executorch import runtime\n")
    assert after and "import torch" not in before + after  # only ExecuTorch's session takes its tensors
    assert "class TextEncoder" in source and "# Attributes of `onnxruntime.SessionOptions`" in source
    assert "class StepError" not in source and "def write_json" not in source  # not needed, so left out


def test_every_copied_definition_is_edgesmiths_own():
    source = run_script()
    for name in module.MODULES:
        spec = importlib.util.find_spec(name)
        own = Path(spec.origin).read_text()
        section = source.split(f"# ---- {name} ")[1].split("\n# ---- ")[0].split("\n", 1)[1]
        for paragraph in section.removesuffix(module.FOOTER).split("\n\n"):
            assert paragraph.strip("\n") in own


@pytest.fixture
def make_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, source: str) -> str:
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return name

    return make


MAIN = "import sys\nfrom pathlib import Path\n\n\ndef main(arguments: list, folder: Path) -> int:\n    return {}\n"


def test_only_what_main_needs_is_kept_with_its_comments(make_module):
    parts = "import os\nimport json as js\n\n# Why two.\nTWO = 2\nTHREE = 3\n\n\ndef twice(x):\n    return js.loads('2') * TWO\n"
    source = run_script((make_module("parts_a", parts), make_module("main_a", MAIN.format("twice(1)"))))
    assert "# Why two.\nTWO = 2\n" in source
    assert "import json as js\n" in source
    assert "THREE" not in source and "import os" not in source


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("size = 1\n", "size = 2\n", "'size' already means something else"),
        ("import json\n", "def json():\n    pass\n", "'json' already means something else"),
        ("from os import path\n", "import path\n", "'path' already means something else"),
        ("one = 1\n", "from edgesmith.errors import DataError as Wrong\n", "without `as`"),
        (
            "one = 1\n",
            "from edgesmith.errors import DataError\n",
            r"run.py needs \['DataError'\] of modules that are not among",
        ),
        ("one = 1\n", "def f():\n    from edgesmith import errors\n", "move it to the top of the module"),
        ("one = 1\n", "if True:\n    pass\n", "line 1: a If cannot be part of run.py"),
    ],
)
def test_what_cannot_be_copied_is_refused(make_module, first, second, message):
    make_module("path", "inside = 1\n")
    modules = (
        make_module("first_b", first),
        make_module("second_b", second),
        make_module("main_b", MAIN.format(0)),
    )
    with pytest.raises(ExportError, match=message):
        run_script(modules)
