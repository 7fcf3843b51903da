"""The whole way to a board and back, by OpenSSH's own client and server on this machine.

The board's Python has numpy, tokenizers, Pillow and ONNX Runtime only. Where time matters nothing is asserted of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures_bench import graph, tokenizer_json, write
from fixtures_ssh import CORE, Server, lean_python, make_key, needs_sshd, start, use

from edgesmith import BenchConfig, DataConfig
from edgesmith.errors import BoardError, RecipeError, UnsupportedError
from edgesmith.measure import board as room
from edgesmith.measure.board import bench_on_board
from edgesmith.measure.ssh import SSH
from edgesmith.records import TESTED_VERSIONS, Bench, SilentProgress, from_dict, to_dict

pytestmark = needs_sshd

SHORT = BenchConfig(duration_s=0.05, cold_starts=0, resamples=100, inputs=4, warmup=9)
ENDLESS = replace(SHORT, cold_starts=100_000)
LARGE_BYTES = 6_000_000


class Listener(SilentProgress):
    """Notes what it is told, and does something when it hears a word or of so many kB, once."""

    def __init__(
        self, word: str = "", kilobytes: int = sys.maxsize, then: Callable[[], object] = int
    ) -> None:
        self.said: list[str] = []
        self._word, self._kilobytes, self._then = word, kilobytes, then

    def say(self, text: str) -> None:
        self.said.append(text)
        if self._word and self._word in text:
            self._act()

    def advance(self, done: int, note: str = "") -> None:
        if done >= self._kilobytes:
            self._act()

    def _act(self) -> None:
        then, self._then = self._then, int
        then()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PAUSE_S", 0.0)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a file that takes its time."""
    ballast = np.random.default_rng(0).bytes(LARGE_BYTES)
    files = {"model.onnx": graph("text", 2), "tokenizer.json": tokenizer_json(), "ballast.bin": ballast}
    return write(tmp_path_factory.mktemp("large") / "bundle", "text", files=files)


def left_on(board: Server) -> list[str]:
    """Files of the board, once no bench runs there any more."""
    for _ in range(200):
        if not benches_on(board) and not any(board.temporary.iterdir()):
            break
        time.sleep(0.1)
    assert benches_on(board) == []
    return [path.name for path in board.temporary.rglob("*")]


def benches_on(board: Server) -> list[int]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told = file.read_bytes()
        except OSError:
            continue
        if b"edgesmith.measure.on_board" in told and str(board.temporary).encode() in told:
            found.append(int(file.parent.name))
    return found


def test_a_whole_bench(board: Server, bundles: dict[str, Path], lean: str) -> None:
    listener = Listener()
    asked = [bundles["text"], bundles["image"], bundles["text"]]
    found = bench_on_board(
        asked, SSH(board.host), replace(SHORT, cold_starts=1), python=lean, progress=listener
    )
    assert found.host == board.host
    assert [one.bundle for one in found.bundles] == list(map(str, asked))
    for one in found.bundles:
        assert one.measured["size"].value == sum(file.stat().st_size for file in Path(one.bundle).iterdir())
        assert 0 < one.measured["load"].value < one.measured["cold_start"].value
        assert one.failures == ()
    assert "ratio" in found.bundles[2].measured
    assert found.environment.cores == 1  # of a board that has CORE only
    assert set(found.environment.packages) == {"numpy", "tokenizers", "pillow", "onnxruntime"}
    assert any(text.startswith(f"{board.host}: 1 cold starts") for text in listener.said)
    assert from_dict(Bench, to_dict(found)) == found
    assert left_on(board) == []


def test_rows_of_this_machine_and_a_login_that_talks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundles: dict[str, Path], lean: str
) -> None:
    from PIL import Image

    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / name)
    server = use(
        start(tmp_path / "sshd", ForceCommand='echo welcome; echo {}; eval "$SSH_ORIGINAL_COMMAND"'),
        monkeypatch,
    )
    try:
        data = DataConfig(path=str(tmp_path))
        found = bench_on_board([bundles["image"]], SSH(server.host), SHORT, data=data, python=lean)
        assert left_on(server) == []
    finally:
        server.stop()
    assert found.bundles[0].inputs == f"2 of the 2 rows of {tmp_path.name}"


def test_a_chosen_folder_keeps_what_is_not_ours(
    board: Server, bundles: dict[str, Path], lean: str, tmp_path: Path
) -> None:
    chosen = tmp_path / "chosen 'folder'"
    chosen.mkdir()
    (chosen / "own.txt").write_text("own")
    listener = Listener("of questions", then=lambda: seen.extend(path.name for path in chosen.iterdir()))
    seen: list[str] = []
    bench_on_board(
        [bundles["text"]], SSH(board.host), SHORT, python=lean, folder=str(chosen), progress=listener
    )
    assert len(seen) == 2
    assert [path.name for path in chosen.iterdir()] == ["own.txt"]


def test_what_the_board_refuses_is_said_of_the_board(
    board: Server, bundles: dict[str, Path], lean: str
) -> None:
    with pytest.raises(RecipeError, match=f"on {board.host}: --cpu is 4095; allowed: {CORE}"):
        bench_on_board([bundles["text"]], SSH(board.host), replace(SHORT, cpus=(4095,)), python=lean)
    assert left_on(board) == []


def test_a_bundle_that_this_machine_refuses_goes_nowhere(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="takes 3 to 16 tokens"):
        bench_on_board([write(tmp_path / "b", "text")], SSH("nobody@nowhere"), replace(SHORT, length=17))
    with pytest.raises(UnsupportedError, match="Did you mean 'onnxruntime'"):
        bench_on_board([write(tmp_path / "c", "text", runtime="onnxruntimes")], SSH("nobody@nowhere"), SHORT)


def test_a_time_limit_below_the_duration_is_refused(bundles: dict[str, Path]) -> None:
    with pytest.raises(
        RecipeError, match=r"limit is 20 s, and the questions alone take 20 s\. Type: --time-limit 100s"
    ):
        bench_on_board([bundles["text"]] * 2, SSH("a"), BenchConfig(), time_limit_s=20.0)


def refusal(board: Server, bundle: Path, **changes: str) -> str:
    with pytest.raises((BoardError, UnsupportedError)) as caught:
        bench_on_board([bundle], SSH(board.host), SHORT, **changes)
    assert list(board.temporary.iterdir()) == []
    return str(caught.value)


def test_no_python_there(board: Server, bundles: dict[str, Path]) -> None:
    told = refusal(board, bundles["text"], python="/nowhere/python3")
    assert f"{board.host} has no Python at '/nowhere/python3' (" in told
    assert "not found). Name one of release 3.11 or later: --python" in told


def test_an_old_python_there(board: Server, bundles: dict[str, Path], tmp_path: Path) -> None:
    """A Python of another release is not at hand: this one is told that it is."""
    old = tmp_path / "python3"
    lie = "import sys; sys.version_info = (3, 9, 2, 'final', 0); exec(sys.argv[2])"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{lie}" "$@"\n')
    old.chmod(0o755)
    told = refusal(board, bundles["text"], python=str(old))
    assert f"{board.host}: {old} is Python 3.9.2; allowed: 3.11 or later. Install one" in told


def test_missing_packages_there(board: Server, bundles: dict[str, Path], tmp_path: Path) -> None:
    python = lean_python(tmp_path / "venv", "numpy")
    told = refusal(board, bundles["text"], python=str(python))
    assert f"{board.host}, {python}: onnxruntime is not installed; tokenizers is not installed. " in told
    line = "-m pip install 'numpy>=2.0,<2.4' 'onnxruntime>=1.22,<2' 'tokenizers>=0.22,<1'"
    assert told.endswith(f"Type there: {python} {line}")


def test_a_runtime_of_another_version_there(board: Server, bundles: dict[str, Path], tmp_path: Path) -> None:
    """What its metadata say is what counts, as for pip."""
    python = lean_python(tmp_path / "venv", "numpy", "tokenizers")
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    (site / "onnxruntime-1.19.2.dist-info").mkdir()
    (site / "onnxruntime-1.19.2.dist-info" / "METADATA").write_text("Name: onnxruntime\nVersion: 1.19.2\n")
    told = refusal(board, bundles["text"], python=str(python))
    assert f"{python}: onnxruntime is 1.19.2, allowed: {TESTED_VERSIONS['onnxruntime']}. Type there: " in told


def test_an_unknown_host_key(own_board: Server, bundles: dict[str, Path]) -> None:
    """Whatever the user's configuration says of it."""
    own_board.known_hosts.write_text("")
    with (own_board.folder / "ssh_config").open("a") as file:
        file.write("StrictHostKeyChecking accept-new\n")
    told = refusal(own_board, bundles["text"])
    assert f"the host key of {own_board.host} is not known here" in told
    assert f"Type: ssh -p {own_board.port} " in told
    assert own_board.known_hosts.read_text() == ""  # and is not known afterwards


def test_another_host_key(own_board: Server, bundles: dict[str, Path], tmp_path: Path) -> None:
    place = f"[127.0.0.1]:{own_board.port}"
    own_board.known_hosts.write_text(f"# mine\n{place} {make_key(tmp_path / 'other')}\n")
    shown = subprocess.run(
        ["ssh-keygen", "-lf", own_board.folder / "host.pub"], capture_output=True, text=True, check=True
    )
    told = refusal(own_board, bundles["text"])
    assert f"is not the one that {own_board.known_hosts}, line 2, holds." in told
    assert f"It is now ED25519 {shown.stdout.split()[1]}. Nothing was sent." in told
    line = told.partition("installed anew, type: ")[2].partition(" && ")[0]
    assert line == f"ssh-keygen -f {own_board.known_hosts} -R '{place}'"
    subprocess.run(line, shell=True, check=True, capture_output=True)
    assert place not in own_board.known_hosts.read_text()


def test_a_wrong_key(own_board: Server, bundles: dict[str, Path]) -> None:
    (own_board.folder / "authorized_keys").write_text("")
    told = refusal(own_board, bundles["text"])
    assert "takes none of your keys (" in told
    assert "Permission denied (publickey" in told
    assert f"Type: ssh-copy-id -p {own_board.port} " in told


def test_nobody_listens(own_board: Server, bundles: dict[str, Path]) -> None:
    own_board.stop()
    told = refusal(own_board, bundles["text"])
    assert f"{own_board.host} cannot be reached (" in told
    assert "Connection refused" in told


def test_time_is_up(board: Server, bundles: dict[str, Path], lean: str) -> None:
    with pytest.raises(BoardError, match=r"the time limit of 4 s was over while .*--time-limit 8s"):
        bench_on_board([bundles["text"]], SSH(board.host), ENDLESS, python=lean, time_limit_s=4.0)
    assert left_on(board) == []


def test_ctrl_c(board: Server, bundles: dict[str, Path], lean: str) -> None:
    def press() -> None:
        raise KeyboardInterrupt

    listener = Listener("cold starts", then=press)
    with pytest.raises(KeyboardInterrupt) as caught:
        bench_on_board([bundles["text"]], SSH(board.host), ENDLESS, python=lean, progress=listener)
    assert not hasattr(caught.value, "__notes__")
    assert left_on(board) == []


def test_a_connection_that_breaks_while_it_measures(
    own_board: Server, bundles: dict[str, Path], lean: str
) -> None:
    listener = Listener("cold starts", then=own_board.cut)
    with pytest.raises(BoardError, match=f"the connection to {own_board.host} was lost") as caught:
        bench_on_board([bundles["text"]], SSH(own_board.host), ENDLESS, python=lean, progress=listener)
    assert not hasattr(caught.value, "__notes__")
    assert left_on(own_board) == []


def test_a_board_that_is_gone(own_board: Server, bundles: dict[str, Path], lean: str) -> None:
    """What remains is said; on the board the bench ends itself and takes its folder along."""
    listener = Listener("cold starts", then=own_board.stop)
    with pytest.raises(BoardError) as caught:
        bench_on_board([bundles["text"]], SSH(own_board.host), ENDLESS, python=lean, progress=listener)
    (note,) = caught.value.__notes__
    assert f"{own_board.temporary}/edgesmith-bench-" in note
    assert (
        f"may remain on {own_board.host} (it cannot be reached): the same command goes on with it; " in note
    )
    assert f"type: ssh -p {own_board.port} " in note
    assert left_on(own_board) == []


def test_a_connection_that_breaks_while_it_copies(own_board: Server, large: Path, lean: str) -> None:
    """The second connection goes on where the first stopped."""
    own_board.slow_down(3e6)
    listener = Listener(kilobytes=4500, then=own_board.cut)
    found = bench_on_board([large], SSH(own_board.host), SHORT, python=lean, progress=listener)
    assert any(text.endswith("Trying again from there.") for text in listener.said)
    assert found.bundles[0].measured["size"].value > LARGE_BYTES
    assert own_board.sent_bytes < 1.5 * LARGE_BYTES
    assert left_on(own_board) == []


def test_a_killed_command_goes_on(own_board: Server, large: Path, lean: str) -> None:
    own_board.slow_down(3e6)
    command = [sys.executable, "-m", "edgesmith", "bench", large, "--host", own_board.host, "--python", lean]
    brief = ("--duration", "50ms", "--cold-starts", "0", "--json", "--quiet")
    environment = {**os.environ, "PYTHONPATH": str(Path(room.__file__).parents[2])}
    killed = subprocess.Popen([*command, *brief], env=environment, start_new_session=True)
    while killed.poll() is None:
        parts = [path.stat().st_size for path in own_board.temporary.rglob("ballast.bin.part")]
        if any(size > LARGE_BYTES / 3 for size in parts):
            break
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    own_board.cut()
    assert any(own_board.temporary.iterdir())
    before = own_board.sent_bytes
    done = subprocess.run([*command, *brief], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["host"] == own_board.host
    assert own_board.sent_bytes - before < LARGE_BYTES
    assert left_on(own_board) == []


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A board whose disk for temporary files holds 8 MB; nobody but its server sees that disk."""
    disk = tmp_path / "sshd" / "tmp"
    disk.mkdir(parents=True)
    mount = 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"'
    before = ("unshare", "--mount", "sh", "-c", mount, str(disk))
    tried = subprocess.run([*before, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(
            f"no disk of its own can be mounted here, for which root is needed: {tried.stderr.strip()}"
        )
    server = start(tmp_path / "sshd", before=before)
    yield use(server, monkeypatch)
    server.stop()


def disk_of(board: Server) -> Path:
    """Its folder for temporary files, as the server sees it."""
    return Path(f"/proc/{board.process.pid}/root{board.temporary}")


def test_a_disk_that_is_too_small(small_disk: Server, large: Path, lean: str) -> None:
    (disk_of(small_disk) / "others").write_bytes(bytes(4_000_000))
    with pytest.raises(
        BoardError, match=r"is full \(\d\.\d MB are to come, \d\.\d MB are free\)\. Free some"
    ):
        bench_on_board([large], SSH(small_disk.host), SHORT, python=lean)
    assert [path.name for path in disk_of(small_disk).iterdir()] == ["others"]


def test_a_disk_that_fills_up_meanwhile(small_disk: Server, large: Path, lean: str) -> None:
    fill = Listener(kilobytes=1, then=lambda: (disk_of(small_disk) / "others").write_bytes(bytes(4_000_000)))
    with pytest.raises(BoardError, match=r"is full \(.*No space left on device\)\. .*--remote-folder"):
        bench_on_board([large], SSH(small_disk.host), SHORT, python=lean, progress=fill)
    assert [path.name for path in disk_of(small_disk).iterdir()] == ["others"]
