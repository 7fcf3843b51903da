"""Progress on a terminal: a bar with elapsed time and ETA; plain, sparse lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINES_A_JOB = 10
"""Lines a counted job prints where there is no terminal, so that a log stays readable."""


class RichProgress:
    """A `records.Progress` that writes to a console; as a context manager it puts the terminal back in order.

    Example:
        >>> with RichProgress(Console(stderr=True)) as progress:
        ...     progress.step("distill")
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Bar | None = None
        self._title, self._total, self._lines = "", 0, 0
        self._begin = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_bar()

    def step(self, name: str, detail: str = "") -> None:
        self._stop_bar()
        text = f"[bold]{escape(name)}[/bold]" + (f"  [dim]{escape(detail)}[/dim]" if detail else "")
        self._console.print(text, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        self._console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)

    def start(self, title: str, total: int) -> None:
        self._stop_bar()
        self._title, self._total, self._lines = title, total, 0
        self._begin = time.monotonic()
        if self._console.is_terminal:
            self._bar = _bar(self._console)
            self._bar.add_task(escape(title), total=total, note="")
            self._bar.start()

    def advance(self, done: int, note: str = "") -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, note=escape(note))
            return
        line = done * LINES_A_JOB // self._total if self._total else LINES_A_JOB
        if line > self._lines:
            self._lines = line
            elapsed = time.monotonic() - self._begin
            text = f"  {self._title}  {done}/{self._total}  {elapsed:.0f} s  {note}".rstrip()
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def finish(self) -> None:
        self._stop_bar()

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar(console: Console) -> Bar:
    return Bar(
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}[/dim]"),
        console=console,
        transient=True,
    )
