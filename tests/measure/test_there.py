"""What a board's Python does before a bench, on this machine."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

from edgesmith.measure.there import ARCHIVE, PART, look, prepare


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, tuple[int, str]]:
    """An archive and a large file."""
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        archive.writestr("a/b.txt", "unpacked")
    contents = {ARCHIVE: (tmp_path / "archive").read_bytes(), "bundle-1/model.bin": b"0123456789"}
    return {name: (len(each), hashlib.sha256(each).hexdigest()) for name, each in contents.items()}


def test_a_folder_is_made_and_everything_is_lacking(
    tmp_path: Path, wanted: dict[str, tuple[int, str]]
) -> None:
    home = tmp_path / "new" / "home"
    found = prepare(str(home), wanted)
    assert found["lacking"] == dict.fromkeys(wanted, 0)
    assert found["free"] > 0
    assert home.stat().st_mode & 0o777 == 0o700


def test_parts_are_told_and_whole_ones_are_taken(tmp_path: Path, wanted: dict[str, tuple[int, str]]) -> None:
    home = tmp_path / "home"
    prepare(str(home), wanted)
    part = home / f"bundle-1/model.bin{PART}"
    part.write_bytes(b"0123")
    assert prepare(str(home), wanted)["lacking"] == {ARCHIVE: 0, "bundle-1/model.bin": 4}
    part.write_bytes(b"0123456789")
    (home / f"{ARCHIVE}{PART}").write_bytes((tmp_path / "archive").read_bytes())
    assert prepare(str(home), wanted)["lacking"] == {}
    assert (home / "bundle-1/model.bin").read_bytes() == b"0123456789"
    assert (home / "a/b.txt").read_text() == "unpacked"
    assert list(home.rglob(f"*{PART}")) == []


@pytest.mark.parametrize("ending", ["", PART])
def test_what_has_another_hash_is_thrown_away(
    tmp_path: Path, wanted: dict[str, tuple[int, str]], ending: str
) -> None:
    home = tmp_path / "home"
    prepare(str(home), wanted)
    file = home / f"bundle-1/model.bin{ending}"
    for content in (b"9876543210", b"0123456789!"):
        file.write_bytes(content)
        assert prepare(str(home), wanted)["lacking"]["bundle-1/model.bin"] == 0
        assert not file.exists()


def test_a_folder_of_others_is_refused(tmp_path: Path, wanted: dict[str, tuple[int, str]]) -> None:
    """In a folder for everybody's temporary files anyone may have made it before."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "own").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "own")
    for name in ("open", "link"):
        told = prepare(str(tmp_path / name), wanted)
        assert told["problem"] == f"{tmp_path / name} is there and no folder that only this user may write to"
    (tmp_path / "file").write_text("")
    assert "file: " in prepare(str(tmp_path / "file" / "home"), wanted)["problem"]


def test_what_is_installed_is_told() -> None:
    import numpy

    found = look(["numpy", "no-such-package"], "~")
    assert found["packages"] == {"numpy": numpy.__version__}
    assert found["python"] == sys.executable
    assert found["folder"] == str(Path.home())
