"""What the outside world does to a run: files that cannot be read, a disk that is full, a machine that is small."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from fixtures_pipeline import CHILD, FinishedRun, essence, forget
from safetensors.torch import save_file

from edgesmith.cli import main
from edgesmith.pipeline.runs import RunFolder, StepResult
from edgesmith.recipe import Recipe
from edgesmith.records import Verdict, read_json

NOBODY = 65534
ROWS = "text,label\n" + "".join(f"a text of number {row},{row % 2}\n" for row in range(40))


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="edgesmith")


def check_is_refused(done: Result, code: int, text: str) -> None:
    """One line, and no more than that."""
    assert done.exit_code == code, done.stderr
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert done.stdout == ""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may look into; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Root may read and write everything, so root steps down for a while."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def utf16(folder: Path) -> None:
    (folder / "train.csv").write_text(ROWS, encoding="utf-16")


def one_line_of_latin1(folder: Path) -> None:
    (folder / "train.csv").write_bytes(ROWS.encode() + "café,1\n".encode("latin-1"))


def twice_the_same_column(folder: Path) -> None:
    (folder / "train.csv").write_text(ROWS.replace("text,label", "text,text", 1))


def no_text(folder: Path) -> None:
    (folder / "train.csv").write_text("text,label\n" + " ,0\n,1\n" * 20)


def unseen_label(folder: Path) -> None:
    (folder / "validation.csv").write_text(ROWS + "another text,2\n")


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (utf16, "train.csv: the file is UTF-16. Type: iconv"),
        (one_line_of_latin1, "train.csv, line 42: byte 0xe9 is not UTF-8"),
        (twice_the_same_column, "more than one column is called 'text'"),
        (no_text, "no row has a cell in each of 'text', 'label'"),
        (unseen_label, "labels that no training row has: '2'"),
    ],
)
def test_data_that_cannot_be_used_exits_2_and_leaves_nothing(
    damage: Callable[[Path], None], text: str, headed: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "train.csv").write_text(ROWS)
    damage(rows)
    check_is_refused(call("compress", headed, "--data", rows, "-o", tmp_path / "out", "--quiet"), 2, text)
    assert not (tmp_path / "out").exists()


def test_rows_that_cannot_be_read_exit_2(open_folder: Path, headed: Path, as_nobody: None) -> None:
    rows = open_folder / "rows.csv"
    with _as_owner():
        rows.write_text(ROWS)
        rows.chmod(0)
    done = call("compress", headed, "--data", rows, "-o", open_folder / "out", "--quiet")
    check_is_refused(
        done, 2, f"{rows}: cannot be read (Permission denied). Check the file and its permissions."
    )


def test_a_recipe_that_cannot_be_read_exits_2(open_folder: Path, as_nobody: None) -> None:
    recipe = open_folder / "recipe.yaml"
    with _as_owner():
        recipe.write_text("model: m\n")
        recipe.chmod(0)
    check_is_refused(call("run", recipe, "--quiet"), 2, f"{recipe}: cannot be read (Permission denied).")


def test_an_output_that_may_not_be_written_exits_1(open_folder: Path, as_nobody: None) -> None:
    with _as_owner():
        open_folder.chmod(0o555)
    done = call("compress", "m", "--data", "d", "--save-recipe", open_folder / "recipe.yaml")
    text = f"{open_folder / 'recipe.yaml'}: Permission denied. Check its permissions, or choose another folder with -o."
    check_is_refused(done, 1, text)
    assert not any(open_folder.iterdir())


class _as_owner:
    """Root again, for a moment; nothing for everybody else."""

    def __enter__(self) -> None:
        self._user = os.geteuid()
        if os.getuid() == 0:
            os.seteuid(0)

    def __exit__(self, *_: object) -> None:
        if os.getuid() == 0:
            os.seteuid(self._user)


def test_a_model_without_tokenizer_exits_2(headed: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(headed, tmp_path / "model", ignore=shutil.ignore_patterns("tok*", "vocab*")))
    (tmp_path / "rows.csv").write_text(ROWS)
    done = call("compress", model, "--data", tmp_path / "rows.csv", "-o", tmp_path / "out", "--quiet")
    check_is_refused(
        done, 2, f"{model} has no tokenizer.json that could be read, nor files to make one from. Write it"
    )
    assert done.stderr.endswith(f"AutoTokenizer.from_pretrained('ORIGIN').save_pretrained('{model}')\"\n")
    assert not (tmp_path / "out").exists()


def test_a_hub_id_without_a_network_exits_2(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    done = call("compress", "org/name", "--data", tmp_path / "rows.csv", "-o", tmp_path / "out", "--quiet")
    check_is_refused(done, 2, "org/name: this hub id (no folder of that name is here) could not be loaded.")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a disk, and not in every container")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)  # torch has left its file open


def by_safetensors(folder: Path) -> StepResult:
    save_file({"weight": torch.zeros(10**6)}, folder / "model.safetensors")
    return StepResult({})


def by_torch(folder: Path) -> StepResult:
    torch.save(torch.zeros(10**6), folder / "optimizer.pt")
    return StepResult({})


def by_python(folder: Path) -> StepResult:
    (folder / "model.onnx").write_bytes(bytes(4 * 10**6))
    return StepResult({})


@pytest.mark.parametrize("work", [by_safetensors, by_torch, by_python])
def test_a_full_disk_is_called_so_whichever_library_meets_it(
    small_disk: Path, work: Callable[[Path], StepResult]
) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        RunFolder(small_disk, "key").step("03-prune/tiny", config={}, work=work)
    assert caught.value.errno == errno.ENOSPC
    assert not (small_disk / "03-prune" / "tiny").exists()


def test_another_error_of_a_step_stays_what_it_is(tmp_path: Path) -> None:
    def work(_: Path) -> StepResult:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        RunFolder(tmp_path, "key").step("03-prune/tiny", config={}, work=work)


def child(*words: object, **settings: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgesmith", *map(str, words)]
    return subprocess.run(command, env=CHILD, capture_output=True, text=True, check=False, **settings)  # type: ignore[call-overload, no-any-return]


@pytest.mark.slow
def test_a_run_on_a_full_disk_exits_1_with_the_advice(recipe: Recipe, small_disk: Path) -> None:
    recipe.save(small_disk / "recipe.yaml")
    done = child("run", small_disk / "recipe.yaml", "-o", small_disk / "run", "--quiet")
    assert done.returncode == 1
    assert done.stderr.endswith("No space left on device. Free some space; the same command resumes.\n")
    assert len(done.stderr.splitlines()) == 1
    assert not list((small_disk / "run").rglob("step.json"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no processor affinity")
def test_one_core_is_enough(copied: Path, finished: FinishedRun, tmp_path: Path) -> None:
    """What a second core does not change: the answers."""
    forget(copied, ("06-validate",))
    finished.recipe.save(tmp_path / "recipe.yaml")
    core = {min(os.sched_getaffinity(0))}
    done = child(
        "run", tmp_path / "recipe.yaml", "-o", copied, "--quiet",
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert essence(read_json(Verdict, copied / "verdict.json")) == essence(finished.verdict)


@pytest.mark.slow
def test_200_megabytes_of_rows_are_read_in_less_than_six_times_their_size(tmp_path: Path) -> None:
    words = np.random.default_rng(0).integers(0, 10**6, 2000)
    text = " ".join(map(str, words))
    rows = tmp_path / "rows.csv"
    with open(rows, "w", encoding="utf-8") as file:
        file.write("text,label\n")
        for row in range(1_010_000):
            start = row * 7 % (len(text) - 190)
            file.write(f"{row} {text[start : start + 190]},{row % 2}\n")
    assert rows.stat().st_size > 200e6
    script = (
        "import resource, sys\n"
        "from edgesmith.data import load_splits\n"
        "from edgesmith.recipe import DataConfig\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "splits = load_splits(DataConfig(path=sys.argv[1], max_rows=1000), seed=0)\n"
        "print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before), len(splits.train))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, rows], env=CHILD, capture_output=True, text=True, check=True
    )
    peak_bytes, training_rows = map(int, done.stdout.split())
    assert training_rows == 1000
    assert peak_bytes < 6 * rows.stat().st_size
