"""The run folder with steps that write one file: what is found again, what is done anew, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgesmith.errors import RecipeError
from edgesmith.pipeline.runs import (
    KEY_NAME,
    LOCK_NAME,
    RunFolder,
    StepResult,
    base_key,
    check_is_usable,
    digest,
    locked,
)
from edgesmith.records import STEP_RECORD_NAME, StepRecord, read_json
from edgesmith.report.load import RECIPE_NAME


@dataclass(frozen=True)
class Config:
    epochs: int = 1


class Counted:
    """Work that counts its tries, sees what lies in its folder, and may fail."""

    def __init__(self, failure: type[BaseException] | None = None) -> None:
        self.failure, self.found = failure, list[list[str]]()

    def __call__(self, folder: Path) -> StepResult:
        self.found.append(sorted(path.name for path in folder.iterdir()))
        (folder / "model.bin").write_text("weights")
        if self.failure:
            raise self.failure
        return StepResult({"accuracy": 0.5}, ("because",))

    @property
    def tries(self) -> int:
        return len(self.found)


def do(
    run: RunFolder, work: Callable[[Path], StepResult], name: str = "03-prune/tiny", **options: object
) -> StepRecord:
    record, folder = run.step(name, work=work, **{"config": Config(), **options})  # type: ignore[arg-type]
    assert read_json(StepRecord, folder / STEP_RECORD_NAME) == record
    return record


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_step_is_done_once(tmp_path: Path) -> None:
    work, told = Counted(), list[StepRecord]()
    first = do(RunFolder(tmp_path, "base"), work)
    again = do(RunFolder(tmp_path, "base"), work, on_reuse=told.append)
    assert work.tries == 1
    assert first == again == told[0]
    assert (first.step, first.config, first.facts, first.reasons) == (
        "prune", {"epochs": 1}, {"accuracy": 0.5}, ("because",),
    )  # fmt: skip
    files = [KEY_NAME, "model.bin", STEP_RECORD_NAME]
    assert names(tmp_path) == sorted(f"03-prune/tiny/{name}" for name in files)


PARENT = StepRecord(step="distill", key="other", wall_s=0.0)


@pytest.mark.parametrize(
    ("base", "options"),
    [("other", {}), ("base", {"config": Config(epochs=2)}), ("base", {"parents": (PARENT,)})],
    ids=["model, data, seed or code", "configuration", "parent"],
)
def test_a_step_is_done_anew_when_what_it_depends_on_changed(
    tmp_path: Path, base: str, options: dict[str, object]
) -> None:
    work = Counted()
    first = do(RunFolder(tmp_path, "base"), work)
    second = do(RunFolder(tmp_path, base), work, **options)
    assert work.found == [[KEY_NAME], [KEY_NAME]]  # nothing of the older try lies in the way
    assert first.key != second.key


def test_what_a_stopped_step_left_waits_for_the_same_key(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        do(RunFolder(tmp_path, "base"), Counted(KeyboardInterrupt))
    assert not (tmp_path / "03-prune" / "tiny").exists()
    work = Counted()
    do(RunFolder(tmp_path, "base"), work)
    assert work.found == [[KEY_NAME, "model.bin"]]


def test_what_a_stopped_step_left_is_cleared_for_another_key(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        do(RunFolder(tmp_path, "base"), Counted(KeyboardInterrupt))
    work = Counted()
    do(RunFolder(tmp_path, "other"), work)
    assert work.found == [[KEY_NAME]]


def test_the_older_result_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    first = do(RunFolder(tmp_path, "base"), Counted())
    with pytest.raises(OSError, match="disk"):
        do(RunFolder(tmp_path, "other"), Counted(type("Full", (OSError,), {"__str__": lambda _: "disk"})))
    assert do(RunFolder(tmp_path, "base"), Counted()) == first


def test_a_step_killed_before_its_renaming_is_not_done_again(tmp_path: Path) -> None:
    first = do(RunFolder(tmp_path, "base"), Counted())
    final = tmp_path / "03-prune" / "tiny"
    final.rename(final.with_name(".tiny.partial"))
    work = Counted()
    assert do(RunFolder(tmp_path, "base"), work) == first
    assert work.tries == 0
    assert [path.name for path in final.parent.iterdir()] == ["tiny"]


def test_steps_of_an_older_recipe_are_dropped(tmp_path: Path) -> None:
    older = RunFolder(tmp_path, "base")
    for name in ("00-finetune", "02-distill/trial-tiny", "02-distill/trial-small", "03-prune/small"):
        do(older, Counted(), name)
    for name in ("01-analyze", "03-prune/medium"):
        with pytest.raises(KeyboardInterrupt):
            do(older, Counted(KeyboardInterrupt), name)
    (tmp_path / "bundle").mkdir()
    run = RunFolder(tmp_path, "base")
    do(run, Counted(), "02-distill/trial-tiny")
    do(run, Counted(), "03-prune/tiny")
    run.drop_unused()
    kept = [f"{step}/{name}" for step in ("02-distill/trial-tiny", "03-prune/tiny") for name in (KEY_NAME, "model.bin", STEP_RECORD_NAME)]  # fmt: skip
    assert names(tmp_path) == sorted(kept)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["02-distill", "03-prune", "bundle"]


def test_a_run_folder_is_held_by_one_process(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with locked(run), pytest.raises(RecipeError, match=r"another run works in .*run\."), locked(run):
        pass
    with locked(run):  # and given back
        pass


@pytest.mark.parametrize("name", [LOCK_NAME, RECIPE_NAME])
def test_a_started_run_can_be_used_again(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "01-analyze").mkdir()
    check_is_usable(tmp_path)


def test_a_new_or_empty_folder_can_be_used(tmp_path: Path) -> None:
    check_is_usable(tmp_path)
    check_is_usable(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RecipeError, match="is not empty and not a run of edgesmith"), locked(tmp_path):
        pass
    with pytest.raises(RecipeError, match=r"thesis\.tex is a file"), locked(tmp_path / "thesis.tex"):
        pass
    assert names(tmp_path) == ["thesis.tex"]


def test_the_base_key_depends_on_content_and_not_on_names(tmp_path: Path) -> None:
    models = []
    for name, weights in (("a", "1"), ("copy of a", "1"), ("b", "2")):
        models.append(tmp_path / name)
        models[-1].mkdir()
        (models[-1] / "model.safetensors").write_text(weights)
        (models[-1] / "README.md").write_text(name)
    first = base_key(models[0], "data", 0, {"max_length": 128})
    assert first == base_key(models[1], "data", 0, {"max_length": 128})
    others = [
        base_key(models[2], "data", 0, {"max_length": 128}),
        base_key(models[0], "other data", 0, {"max_length": 128}),
        base_key(models[0], "data", 1, {"max_length": 128}),
        base_key(models[0], "data", 0, {"max_length": 64}),
    ]
    assert len({first, *others}) == 5


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
