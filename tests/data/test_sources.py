from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgesmith.data.sources import _tables_of, find_tables
from edgesmith.errors import DataError, MissingExtraError

ROWS = "text,label\ngood,pos\nbad,neg\n"


@pytest.mark.parametrize("name", ["validation", "dev", "valid", "val", "Dev"])
def test_a_folder_gives_its_splits(tmp_path: Path, name: str) -> None:
    for stem in ("train", name, "test"):
        (tmp_path / f"{stem}.csv").write_text(ROWS)
    (tmp_path / "README.md").write_text("about")
    tables = find_tables(str(tmp_path))
    assert list(tables) == ["train", "validation", "test"]
    assert tables["validation"].source == str(tmp_path / f"{name}.csv")


def test_a_file_is_the_training_split(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    assert list(find_tables(str(path))) == ["train"]


def test_a_folder_without_training_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    with pytest.raises(DataError, match=r"no train split\. Expected train\.\* .* found: rows\.csv\."):
        find_tables(str(tmp_path))


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    for name in ("train.csv", "dev.csv", "validation.csv"):
        (tmp_path / name).write_text(ROWS)
    with pytest.raises(
        DataError, match=r"more than one file for validation: dev\.csv, validation\.csv\. Keep one\."
    ):
        find_tables(str(tmp_path))


@pytest.mark.parametrize("path", ["absent.csv", "./absent", "/absent/folder/deep", "owner/name/rows.parquet"])
def test_a_path_that_is_not_there_is_no_hub_id(path: str) -> None:
    with pytest.raises(DataError, match="no such file"):
        find_tables(path)


@pytest.mark.parametrize("name", ["imdb", "owner/name", "glue:sst2"])
def test_a_hub_id_needs_datasets(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)  # what Python itself does to block an import
    with pytest.raises(MissingExtraError, match=r"pip install 'edgesmith\[hub\]'"):
        find_tables(name)


def test_a_hub_id_that_cannot_be_reached_says_what_is_allowed() -> None:
    pytest.importorskip("datasets", reason="the extra hub is not installed")
    code = (
        "from edgesmith.data.sources import find_tables\n"
        "from edgesmith.errors import DataError\n"
        "try:\n    find_tables('no-such-owner/no-such-set')\n"
        "except DataError as problem:\n    print(problem)\n"
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | offline, capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith(
        "no-such-owner/no-such-set: no such file or folder here, and the hub does not"
    )
    assert "a hub id (owner/name or name:subset)." in result.stdout


def test_splits_of_the_hub_become_tables() -> None:
    datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")
    rows = datasets.Dataset.from_dict(
        {"text": ["good", "bad"], "label": [1, 0]},
        features=datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(2)}),
    )
    tables = _tables_of({"train": rows, "dev": rows, "unsupervised": rows}, "owner/name")
    assert list(tables) == ["train", "validation"]
    assert tables["train"].frame.to_numpy().tolist() == [["good", 1], ["bad", 0]]
    assert tables["train"].notes == ("owner/name: splits not used: unsupervised.",)
    assert tables["train"].class_names == {"label": ("0", "1")}
    assert tables["validation"].at(1) == "owner/name, split dev, row 1"
    with pytest.raises(DataError, match=r"owner/name: no train split\. Its splits: test\."):
        _tables_of({"test": rows}, "owner/name")
