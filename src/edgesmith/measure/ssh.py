"""A board that is reached with OpenSSH's own client: keys, jump hosts, aliases and known hosts are those of the user.

Files go through ``cat`` on the other side and not through SFTP: it is there on the smallest board, it can go on in the
middle of a file, and it says what is wrong with a disk, which SFTP's one code of failure does not.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgesmith.errors import BoardError, RecipeError, UnsupportedError
from edgesmith.measure.transport import Done

CONNECT_S = 10
"""Seconds until a host that does not answer is given up."""

OPTIONS = {
    "BatchMode": "yes",  # never asks
    "PreferredAuthentications": "publickey",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": str(CONNECT_S),
    "ServerAliveInterval": "10",  # three that are not answered end a connection that is dead
    "ServerAliveCountMax": "3",
    "ForwardAgent": "no",
    "ClearAllForwardings": "yes",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "LogLevel": "INFO",  # the sentences that `_trouble` knows
}
"""They win over those of the user's configuration."""

FAILED = 255
"""Exit code of ``ssh`` for its own errors."""

TICK_S = 0.1

_HOST = re.compile(
    r"(?P<user>[^@\s:/-][^@\s:/]*@)?(?P<name>\[[0-9a-fA-F:.]+(?:%\w+)?\]|[^@\s:/\[\]-][^@\s:/\[\]]*)(?::(?P<port>\d+))?"
)


@dataclass(frozen=True)
class SSH:
    """A `Transport` to a host.

    Attributes:
        host: as it was typed: ``user@host``, ``user@host:2222``, ``ssh://user@host:2222``, or an alias of
            ``~/.ssh/config``; an IPv6 address stands in brackets.

    Raises:
        RecipeError: it has another form.
    """

    host: str

    def __post_init__(self) -> None:
        _ = self.target

    @property
    def target(self) -> tuple[str, ...]:
        """What stands for the host on ssh's command line."""
        found = _HOST.fullmatch(self.host.removeprefix("ssh://").rstrip("/"))
        port = found["port"] if found else None
        if not found or (port and not 0 < int(port) < 65536):
            raise RecipeError(
                f"--host is {self.host!r}; expected user@host, user@host:port with a port from 1 to 65535, or a host of "
                "~/.ssh/config. Example: --host pi@raspberrypi.local:2222"
            )
        name = f"{found['user'] or ''}{found['name'].strip('[]')}"
        return (*(("-p", port) if port else ()), name)

    def line(self, *command: str) -> str:
        """What a user types to run a command there, or to log in."""
        there = (shlex.quote(shlex.join(command)),) if command else ()
        return " ".join(("ssh", *map(shlex.quote, self.target), *there))

    def run(
        self,
        command: Sequence[str],
        *,
        script: str | None = None,
        listen: Callable[[str], None],
        limit_s: float,
    ) -> Done:
        """Runs a command; its standard input is the script, or stays open until it ends.

        Args:
            listen: takes each line of its standard output.

        Raises:
            BoardError: no connection, or it was lost.
            TimeoutError: after `limit_s` seconds; the connection is closed.
            UnsupportedError: no client is installed here.
        """
        # `exit` keeps a shell there, which tells of a signal as 128 and its number; ssh would say 255, as of a lost line.
        wrapped = shlex.join(["sh", "-c", '"$@"; exit $?', "sh", *command])
        with tempfile.TemporaryFile() as file:
            if script is not None:
                file.write(script.encode("utf-8"))
                file.seek(0)
            return self._ssh(wrapped, subprocess.PIPE if script is None else file, listen, limit_s)

    def copy(self, file: Path, to: str, *, offset: int, told: Callable[[int], None], limit_s: float) -> Done:
        """Writes a file there, from `offset` on: what is before is there already.

        Args:
            told: takes the bytes of the file that are on their way, again and again, and all of them at the end.

        Raises: as `run`.
        """
        command = ["env", "LC_ALL=C", "sh", "-c", f'cat {">>" if offset else ">"} "$0"', to]
        with file.open("rb", buffering=0) as stream:  # the client reads from the same place in the file
            stream.seek(offset)
            return self._ssh(
                shlex.join(command), stream, lambda _: None, limit_s, tick=lambda: told(stream.tell())
            )

    def remove(self, folder: str, *, limit_s: float) -> Done:
        """Removes a folder, if it is there, and all that is in it. Raises as `run`."""
        return self.run(["rm", "-rf", folder], script="", listen=lambda _: None, limit_s=limit_s)

    def _ssh(
        self,
        command: str,
        stdin: IO[bytes] | int,
        listen: Callable[[str], None],
        limit_s: float,
        tick: Callable[[], None] = lambda: None,
    ) -> Done:
        options = (word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}"))
        line = ["ssh", *options, *self.target[:-1], "--", self.target[-1], command]
        # Errors go to no pipe, since a connection that clients share would keep it open.
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    line,
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,  # no terminal to ask on, and Ctrl-C is ours
                    env={**os.environ, "SSH_ASKPASS_REQUIRE": "never"},
                )
            except FileNotFoundError:
                raise UnsupportedError(
                    "ssh is not installed here, OpenSSH's client. Type: sudo apt-get install openssh-client"
                ) from None
            try:
                code = _follow(process, listen, time.monotonic() + limit_s, tick)
            finally:
                _end(process)
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace").strip()
        if code == FAILED:
            raise self._trouble(said)
        return Done(code, said)

    def _trouble(self, said: str) -> BoardError:
        """What ssh could not do, from its own words."""
        last = said.splitlines()[-1].strip() if said else "the connection ended"
        login, name = self.line(), self.target[-1].rpartition("@")[2]
        if changed := re.search(r"Host key for (\S+) has changed", said):
            key = re.search(r"fingerprint for the (\S+) key sent by the remote host is\s+(\S+?)\.?\s", said)
            place = re.search(r"Offending \S+ key in (\S+):(\d+)", said)
            sent = f" It is now {key[1]} {key[2]}." if key else ""
            where = f"{place[1]}, line {place[2]}" if place else "the file of known hosts"
            file = f"-f {shlex.quote(place[1])} " if place else ""
            return BoardError(
                f"the host key of {self.host} is not the one that {where}, holds.{sent} Nothing was sent. Another machine "
                f"may have taken its place. If the board was installed anew, type: ssh-keygen {file}-R "
                f"{shlex.quote(changed[1])} && {login}"
            )
        if "host key is known for" in said or "Host key verification failed" in said:
            return BoardError(
                f"the host key of {self.host} is not known here, and an unknown host is not trusted. Type: {login} , compare "
                "the fingerprint with what the board says (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), and answer yes."
            )
        if "Permission denied (" in said or "Too many authentication failures" in said:
            copy = " ".join(("ssh-copy-id", *map(shlex.quote, self.target)))
            return BoardError(
                f"{self.host} takes none of your keys ({last}); allowed: a key that it knows, and that asks for no "
                f"passphrase, such as one of ssh-agent. Type: {copy}"
            )
        if "Could not resolve hostname" in said:
            return BoardError(
                f"{self.host}: no host has the name {name!r} ({last}). Try: {login}", is_lost=True
            )
        if re.search(r"connect to (host|address)", said):
            return BoardError(
                f"{self.host} cannot be reached ({last}). Allowed: a board that is switched on, in reach, and runs an SSH "
                f"server on that port. Try: {login}",
                is_lost=True,
            )
        return BoardError(
            f"the connection to {self.host} was lost ({last}). To see why, type: {login}", is_lost=True
        )


def _follow(
    process: subprocess.Popen[bytes], listen: Callable[[str], None], end: float, tick: Callable[[], None]
) -> int:
    """Reads lines until the process ends; its exit code."""
    assert process.stdout is not None
    rest, is_over = b"", False
    while not is_over:
        if time.monotonic() > end:
            raise TimeoutError
        if select.select([process.stdout], [], [], TICK_S)[0]:
            chunk = os.read(process.stdout.fileno(), 65536)
            is_over = not chunk
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                listen(line.decode("utf-8", "replace"))
        tick()  # at the end too, however short the command
    try:
        return process.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """No process, pipe or jump host is left behind."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
