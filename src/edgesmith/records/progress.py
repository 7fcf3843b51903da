"""How a room tells what it is doing, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A listener. A step may hold any number of counted jobs, one after the other: start, advance ..., finish."""

    def step(self, name: str, detail: str = "") -> None:
        """A step of the pipeline begins."""

    def start(self, title: str, total: int) -> None:
        """A job of `total` units begins."""

    def advance(self, done: int, note: str = "") -> None:
        """`done` units of the job are finished, counted from its start; `note` is a short fact such as a loss."""

    def finish(self) -> None:
        """The job ends, whether or not all its units were needed."""

    def say(self, text: str) -> None:
        """One line to read: a choice and its reason, a number found."""


class SilentProgress:
    """Listens to nothing."""

    def step(self, name: str, detail: str = "") -> None:
        pass

    def start(self, title: str, total: int) -> None:
        pass

    def advance(self, done: int, note: str = "") -> None:
        pass

    def finish(self) -> None:
        pass

    def say(self, text: str) -> None:
        pass
