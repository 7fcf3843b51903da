"""A real OpenSSH server on loopback, with keys of its own, and a client whose configuration leads to it only.

The client is the system's, by a script of its name that adds ``-F``: where users have ~/.ssh/config.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
CLIENT = shutil.which("ssh")

CORE = max(os.sched_getaffinity(0))
"""The only one of the board `sshd`, so that what is measured there differs from what is measured here."""

needs_sshd = pytest.mark.skipif(
    SSHD is None or CLIENT is None,
    reason="no OpenSSH server or client here; apt-get install openssh-server openssh-client",
)

RELAY = """
import socket, sys, threading, time
host, port, rate, log = sys.argv[1:]
link = socket.create_connection((host, int(port)))
def back():
    while chunk := link.recv(65536):
        sys.stdout.buffer.raw.write(chunk)
    sys.stdout.buffer.raw.close()
threading.Thread(target=back, daemon=True).start()
while chunk := sys.stdin.buffer.raw.read(16384):
    link.sendall(chunk)
    with open(log, "a") as file:
        file.write(f"{len(chunk)}\\n")
    time.sleep(len(chunk) / float(rate))
"""
"""A slow line to a host, which notes how many bytes went there."""

PRIVILEGE_SEPARATION = Path("/run/sshd")
"""Where a server of root's locks its unprivileged part in; the system's own start makes it."""


@dataclass
class Server:
    """A server that runs until it is stopped.

    Attributes:
        folder: of its keys and of the client's configuration.
        temporary: folder for temporary files of whoever logs in.
    """

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    temporary: Path

    @property
    def host(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def slow_down(self, bytes_s: float) -> None:
        """From now on connections send so many bytes a second; `sent_bytes` counts them."""
        relay = self.folder / "relay.py"
        relay.write_text(RELAY)
        with (self.folder / "ssh_config").open("a") as file:
            file.write(f"ProxyCommand {sys.executable} -IS {relay} %h %p {bytes_s} {self.folder / 'sent'}\n")

    @property
    def sent_bytes(self) -> int:
        return sum(map(int, (self.folder / "sent").read_text().split()))

    def sessions(self) -> list[int]:
        """Processes that serve a connection."""
        return children(self.process.pid)

    def cut(self) -> None:
        """Ends every connection at once, as a broken line does."""
        for session in self.sessions():
            for process in (session, *children(session)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def stop(self) -> None:
        self.cut()
        self.process.terminate()
        self.process.wait()


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def make_key(file: Path) -> str:
    """A new pair of keys; the public one."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    kind, key, *_ = file.with_name(f"{file.name}.pub").read_text().split()
    return f"{kind} {key}"


def start(folder: Path, *, before: tuple[str, ...] = (), **settings: str) -> Server:
    """A server and the client's configuration in a folder.

    Args:
        before: words that start the server's command line.
        settings: further ones of sshd_config(5).
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    if os.getuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    (folder / "authorized_keys").write_text(make_key(folder / "user") + "\n")
    host_key = make_key(folder / "host")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "SetEnv": f"TMPDIR={temporary} OMP_NUM_THREADS=1",
        **settings,
    }
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in given.items()))
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (folder / "ssh_config").write_text(
        f"IdentityFile {folder / 'user'}\nIdentitiesOnly yes\nIdentityAgent none\n"
        f"UserKnownHostsFile {folder / 'known_hosts'}\nGlobalKnownHostsFile /dev/null\n"
    )
    log = (folder / "sshd.log").open("wb")
    command = [*before, SSHD, "-D", "-e", "-f", folder / "sshd_config"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    log.close()
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as found:
            if found.recv(4) == b"SSH-":
                return Server(folder, port, process, temporary)
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"sshd does not start: {(folder / 'sshd.log').read_text()}")


def use(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """`ssh` is the client with the server's configuration."""
    programs = server.folder / "bin"
    programs.mkdir(exist_ok=True)
    client = programs / "ssh"
    client.write_text(f'#!/bin/sh\nexec {CLIENT} -F {server.folder / "ssh_config"} "$@"\n')
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return server


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that nobody changes, with one core and, as users may have it, one connection that every client shares."""
    server = start(tmp_path_factory.mktemp("sshd"), before=("taskset", "--cpu-list", str(CORE)))
    with (server.folder / "ssh_config").open("a") as file:
        file.write(f"ControlMaster auto\nControlPath {server.folder / 'shared'}\nControlPersist 60\n")
    yield server
    server.stop()


@pytest.fixture
def board(sshd: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    return use(sshd, monkeypatch)


@pytest.fixture
def own_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """One that a test may change and break."""
    server = start(tmp_path / "sshd")
    yield use(server, monkeypatch)
    server.stop()


@pytest.fixture(scope="session")
def lean(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with what a board needs and nothing else."""
    return str(
        lean_python(tmp_path_factory.mktemp("lean"), "numpy", "tokenizers", "onnxruntime", "pillow", "PIL")
    )


def lean_python(folder: Path, *packages: str) -> Path:
    """A Python that has these packages of ours and no other."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    ours = Path(sysconfig.get_path("purelib"))
    for package in packages:
        for found in (*ours.glob(package), *ours.glob(f"{package}[.-]*")):
            (site / found.name).symlink_to(found)
    return folder / "bin" / "python"
