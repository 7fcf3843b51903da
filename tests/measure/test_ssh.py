"""OpenSSH's client as a way to a board."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from fixtures_ssh import Server, needs_sshd

from edgesmith.errors import BoardError, RecipeError, UnsupportedError
from edgesmith.measure.ssh import SSH


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("pi", ("pi",)),
        ("pi@board", ("pi@board",)),
        ("pi@board.local:2222", ("-p", "2222", "pi@board.local")),
        ("ssh://pi@board:2222", ("-p", "2222", "pi@board")),
        ("ssh://board/", ("board",)),
        ("pi@[fe80::1%eth0]:22", ("-p", "22", "pi@fe80::1%eth0")),
        ("[::1]", ("::1",)),
    ],
)
def test_hosts(host: str, target: tuple[str, ...]) -> None:
    assert SSH(host).target == target


@pytest.mark.parametrize(
    "host",
    ["", "pi@", "pi@board:0", "pi@board:65536", "pi@board:", "::1", "-oProxyCommand=x", "a b", "x@-b", "a/b"],
)
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(RecipeError, match=r"--host is .*; expected user@host, user@host:port"):
        SSH(host)


def test_no_client_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match=r"ssh is not installed here.* openssh-client"):
        SSH("board").remove("/tmp/x", limit_s=5.0)


@needs_sshd
def test_a_name_that_is_nobodys(board: Server) -> None:
    with pytest.raises(BoardError, match=r"no host has the name 'board\.invalid' \("):
        SSH("pi@board.invalid").remove("/tmp/x", limit_s=60.0)


@needs_sshd
def test_words_arrive_as_they_are(board: Server) -> None:
    lines: list[str] = []
    done = SSH(board.host).run(["echo", "a  'b'\n$c"], script="", listen=lines.append, limit_s=60.0)
    assert (done, lines) == ((0, ""), ["a  'b'", "$c"])


@needs_sshd
def test_codes_and_signals(board: Server) -> None:
    way = SSH(board.host)
    for code in ("exit 3", "kill -9 $$"):
        done = way.run(["sh", "-c", f"echo why >&2; {code}"], script="", listen=print, limit_s=60.0)
        assert done.code == (3 if code == "exit 3" else 128 + signal.SIGKILL)
        assert done.said.startswith("why")


@needs_sshd
def test_a_command_that_takes_too_long(board: Server) -> None:
    with pytest.raises(TimeoutError):
        SSH(board.host).run(["sleep", "60"], listen=print, limit_s=1.0)


@needs_sshd
def test_a_file_goes_on(board: Server, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "it's there"
    here.write_bytes(b"0123456789")
    there.write_bytes(b"0123")
    way, told = SSH(board.host), []
    assert way.copy(here, str(there), offset=4, told=told.append, limit_s=60.0).code == 0
    assert (there.read_bytes(), told[-1]) == (b"0123456789", 10)
    assert way.copy(here, str(there), offset=0, told=told.append, limit_s=60.0).code == 0
    assert there.read_bytes() == b"0123456789"
    done = way.copy(here, "/nowhere/file", offset=0, told=told.append, limit_s=60.0)
    assert done.code != 0
    assert "/nowhere/file" in done.said
    assert way.remove(str(there), limit_s=60.0) == (0, "")
    assert not there.exists()
