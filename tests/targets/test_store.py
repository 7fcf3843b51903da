"""Profiles come with edgesmith, lie in the user's folder, or are files."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesmith.errors import RecipeError
from edgesmith.targets import (
    HOST,
    add_target,
    load_target,
    read_target,
    save_target,
    shipped_names,
    target_names,
    user_folder,
)

BOARD = """
description: my board
runtimes: [onnxruntime]
memory_sizes_bytes: [1_000_000_000]
units:
  cpu: {kind: cpu, cores: 2, sources: {cores: its manual}}
sources: {memory_sizes_bytes: its manual}
"""


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_an_unknown_name_gets_the_nearest_and_all() -> None:
    with pytest.raises(
        RecipeError,
        match=r"Did you mean 'raspberry-pi-5'.*generic-x86, host, .*raspberry-pi-4, .*targets add FILE",
    ):
        load_target("rasberry-pi-5")


def test_what_is_added_is_listed_and_loaded(tmp_path: Path, config: Path) -> None:
    assert target_names() == shipped_names()
    added = add_target(write(tmp_path / "my-board.yaml", BOARD))
    assert user_folder() == config / "edgesmith" / "targets"
    assert load_target("my-board") == added
    assert added.unit().cores == 2
    assert set(target_names()) - set(shipped_names()) == {"my-board"}
    assert target_names()[0] == HOST


def test_a_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    assert load_target(str(write(tmp_path / "my-board.yaml", BOARD))).name == "my-board"


def test_without_a_config_folder_it_is_the_homes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_folder() == tmp_path / ".config" / "edgesmith" / "targets"


@pytest.mark.parametrize("name", shipped_names())
def test_saved_and_read_is_the_same(name: str, tmp_path: Path) -> None:
    target = load_target(name)
    save_target(target, tmp_path / f"{name}.yaml")
    assert read_target(tmp_path / f"{name}.yaml") == target


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "expected a mapping, got list"),
        ("units: [", "not valid YAML"),
        (BOARD.replace("cores: 2", "coers: 2"), "unknown key 'coers'. Did you mean 'cores'"),
        (BOARD.replace("kind: cpu", "kind: tpu"), "unknown value 'tpu'"),
        (BOARD.replace("cores: its manual", ""), r"every figure needs a source.*'cores'"),
        (BOARD.replace("description: my board", ""), "the key 'description' is missing"),
        (BOARD.replace("cores: 2", "cores: two"), "expected int, got str 'two'"),
    ],
)
def test_a_file_that_is_no_profile_is_refused_and_not_kept(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        add_target(write(tmp_path / "my-board.yaml", text))
    assert not user_folder().exists()


def test_a_shipped_name_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"belongs to a profile.*my-raspberry-pi-5\.yaml"):
        add_target(write(tmp_path / "raspberry-pi-5.yaml", BOARD))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nothing\.yaml: cannot be read"):
        load_target(str(tmp_path / "nothing.yaml"))


def test_an_own_host_profile_goes_before_the_empty_one() -> None:
    save_target(load_target("raspberry-pi-5"), user_folder() / "host.yaml")
    assert load_target(HOST).unit().cores == 4
    assert load_target(HOST).is_host
