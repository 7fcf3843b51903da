"""What `measure.board` asks of a way to a board: to copy, to run and to remove. `measure.ssh` is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


class Done(NamedTuple):
    """Attributes:
    code: exit code of the command there; 128 and its number after a signal.
    said: on standard error.
    """

    code: int
    said: str


class Transport(Protocol):
    """Every method raises `BoardError` where the way itself is closed, and `TimeoutError` after `limit_s` seconds."""

    @property
    def host(self) -> str:
        """The board, as the user named it."""
        ...

    def line(self, *command: str) -> str:
        """What a user types to run a command there; without one, to see whether there is a way."""
        ...

    def run(
        self,
        command: Sequence[str],
        *,
        script: str | None = None,
        listen: Callable[[str], None],
        limit_s: float,
    ) -> Done:
        """Runs a command, and hands each line of its output on at once.

        Args:
            script: standard input; None keeps it open until the command ends, so that it sees a lost connection.
        """
        ...

    def copy(self, file: Path, to: str, *, offset: int, told: Callable[[int], None], limit_s: float) -> Done:
        """Writes a file there; the first `offset` bytes are there already.

        Args:
            told: takes the bytes of the file that are on their way, again and again, and all of them at the end.
        """
        ...

    def remove(self, folder: str, *, limit_s: float) -> Done:
        """Removes a folder and all that is in it."""
        ...
