"""What cannot be done is refused through the command line: one line, the right exit code, and nothing left behind."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fixtures_pipeline import CHILD, FinishedRun, Listener, essence
from safetensors.torch import load_file, save_file

from edgesmith.cli import main
from edgesmith.pipeline import compress
from edgesmith.pipeline.runs import locked
from edgesmith.recipe import Recipe


@dataclass(frozen=True)
class Inputs:
    """Copies that a test may damage, and the output folder, which is not there."""

    model: Path
    data: Path
    out: Path

    def compress(self, *options: object) -> Result:
        job = ["compress", self.model, "--data", self.data, "-o", self.out, "--quiet", *options]
        return CliRunner().invoke(main, [str(word) for word in job], prog_name="edgesmith")


@pytest.fixture
def inputs(headed: Path, data: Path, tmp_path: Path) -> Inputs:
    model, rows = tmp_path / "model", tmp_path / "data"
    return Inputs(Path(shutil.copytree(headed, model)), Path(shutil.copytree(data, rows)), tmp_path / "out")


def no_model(inputs: Inputs) -> None:
    shutil.rmtree(inputs.model)


def no_config(inputs: Inputs) -> None:
    (inputs.model / "config.json").unlink()


def nan_weights(inputs: Inputs) -> None:
    file = inputs.model / "model.safetensors"
    weights = load_file(file)
    weights["bert.embeddings.LayerNorm.weight"][0] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})


def no_data(inputs: Inputs) -> None:
    shutil.rmtree(inputs.data)


def empty_file(inputs: Inputs) -> None:
    (inputs.data / "train.csv").write_text("")


def no_rows(inputs: Inputs) -> None:
    (inputs.data / "train.csv").write_text("text,label\n")


def one_class(inputs: Inputs) -> None:
    rows = "".join(f"text number {row},0\n" for row in range(50))
    for file in inputs.data.iterdir():
        file.write_text("text,label\n" + rows)


def three_classes(inputs: Inputs) -> None:
    with open(inputs.data / "train.csv", "a", encoding="utf-8") as file:
        file.write("neither the one nor the other,2\n")


def nothing(_: Inputs) -> None:
    pass


@pytest.mark.parametrize(
    ("damage", "options", "text"),
    [
        (no_model, [], "no such model folder"),
        (no_config, [], "could not be loaded"),
        (nan_weights, [], "the weight bert.embeddings.LayerNorm.weight holds NaN"),
        (no_data, [], "data: no such file"),
        (empty_file, [], "train.csv"),
        (no_rows, [], "train.csv"),
        (one_class, [], "every row has the label '0'"),
        (three_classes, [], "a head of 2 labels (LABEL_0, LABEL_1); the data has 3 (0, 1, 2)"),
        (nothing, ["--label-column", "lable"], "Did you mean 'label'?"),
        (nothing, ["--target", "raspbery-pi-5"], "Did you mean 'raspberry-pi-5'?"),
        (nothing, ["--set", "distill.epoch=2"], "Did you mean 'epochs'?"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_used_exits_2_and_leaves_nothing(
    inputs: Inputs, damage: Callable[[Inputs], None], options: list[str], text: str
) -> None:
    damage(inputs)
    done = inputs.compress(*options)
    assert done.exit_code == 2, done.stderr
    assert text in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert not inputs.out.exists()


def test_an_output_that_is_a_file_is_left_alone(inputs: Inputs) -> None:
    inputs.out.write_text("mine")
    done = inputs.compress()
    assert done.exit_code == 2
    assert "is a file" in done.stderr
    assert inputs.out.read_text() == "mine"


def test_a_folder_of_somebody_else_is_left_alone(inputs: Inputs) -> None:
    inputs.out.mkdir()
    (inputs.out / "thesis.tex").touch()
    no_data(inputs)  # the folder is looked at first: reading data may take minutes
    done = inputs.compress()
    assert done.exit_code == 2
    assert "is not empty and not a run of edgesmith" in done.stderr
    assert [path.name for path in inputs.out.iterdir()] == ["thesis.tex"]


def test_a_folder_in_which_another_run_works_is_refused(inputs: Inputs) -> None:
    with locked(inputs.out):
        done = inputs.compress()
        assert done.exit_code == 2
        assert done.stderr.startswith("error: another run works in ")
        assert [path.name for path in inputs.out.iterdir()] == [".lock"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into every folder")
def test_a_read_only_folder_exits_1(inputs: Inputs) -> None:
    inputs.out.mkdir(mode=0o500)
    done = inputs.compress()
    assert done.exit_code == 1
    assert "Permission denied" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_extra_exits_3_with_the_line_to_type(inputs: Inputs) -> None:
    script = "import sys; sys.modules['onnx'] = None\nfrom edgesmith.cli import main; main(sys.argv[1:])"
    job = ["compress", inputs.model, "--data", inputs.data, "-o", inputs.out]
    command = [sys.executable, "-c", script, *map(str, job)]
    done = subprocess.run(command, env=CHILD, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr == "error: onnx is not installed. Type: pip install 'edgesmith[onnxruntime]'\n"
    assert not inputs.out.exists()


@pytest.mark.slow
def test_a_disk_that_is_full_exits_1_and_the_same_command_resumes(
    recipe: Recipe, finished: FinishedRun, copied: Path, tmp_path: Path
) -> None:
    """A limit on the size of files, smaller than a checkpoint, fails a write as a full disk does."""
    recipe.save(tmp_path / "recipe.yaml")
    shutil.rmtree(copied / "03-prune")
    command = [
        sys.executable,
        "-m",
        "edgesmith",
        "run",
        str(tmp_path / "recipe.yaml"),
        "-o",
        str(copied),
        "--quiet",
    ]
    done = subprocess.run(
        command, env=CHILD, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (copied / "03-prune" / "tiny").exists()
    assert not (copied / "verdict.json").exists()
    assert essence(compress(recipe, copied, Listener())) == essence(finished.verdict)
