"""The report in the terminal: it reads well at 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edgesmith.report import choices, facts, story
from edgesmith.report.load import Run
from edgesmith.report.vocabulary import vocabulary

MAX_WIDTH = 100
"""Columns at most: longer lines are hard to read."""

_JUSTIFY: dict[str, Literal["left", "right"]] = {"l": "left", "r": "right"}


def print_report(run: Run, console: Console) -> None:
    """Verdict, budgets, what was measured, the candidates, and the line to type next."""
    width = min(console.width, MAX_WIDTH)
    console.print(_verdict(run), width=width)
    tables = (
        facts.budgets(run),
        facts.comparison(run),
        facts.runtimes(run),
        facts.details(run.verdict),
        vocabulary(run.verdict),
        story.path(run),
        choices.candidates(run),
    )
    for table in tables:
        if table.rows:
            print_table(table, console)
    console.print(Text(f"Precision: {choices.precision_summary(run)}\n"), width=width)
    for line in _next(run):
        console.print(line, soft_wrap=True)


def print_table(table: facts.Table, console: Console) -> None:
    console.print(*_section(table), sep="\n", width=min(console.width, MAX_WIDTH))


def _verdict(run: Run) -> Panel:
    """Text objects throughout: a label such as ``[SEP]`` would be taken for markup."""
    verdict = run.verdict
    colour = "green" if verdict.passed else "red"
    lines = [
        *(Text(f"failed: {failure}", style="red") for failure in facts.failures(verdict)),
        *(Text(f"warning: {warning}", style="yellow") for warning in verdict.warnings),
    ]
    told = Group(
        Text(facts.sentence(verdict), style="bold"),
        *(Text(str(line)) for line in (*facts.claims(verdict), facts.strength(verdict))),
        *lines,
    )
    title = Text(facts.headline(verdict), style=f"bold {colour}")
    return Panel(told, title=title, border_style=colour, padding=(0, 1))


def _section(table: facts.Table) -> Iterator[Text | Table | Padding]:
    """Title, rows under thin rules, and the notes."""
    yield Text(table.title, style="bold")
    rendered = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column, align in zip(table.columns, table.align, strict=True):
        rendered.add_column(Text(column, style="dim"), justify=_JUSTIFY[align], overflow="fold")
    for row in table.rows:
        rendered.add_row(*(Text(cell) for cell in row))
    yield rendered
    yield from (Padding(Text(note, style="dim"), (0, 0, 0, 2)) for note in table.notes)
    yield Text()


def _next(run: Run) -> Iterator[Text]:
    bundle = (run.path / run.verdict.bundle).as_posix()
    yield Text(f"Try it:        {facts.use_command(bundle, run.verdict.task)}")
    yield Text(
        f"On the device: copy {bundle} and {facts.install_command(run.verdict.runtime, run.verdict.task)}"
    )
    yield Text(f"Reproduce:     {facts.reproduce_command(run.path.as_posix())}")
    yield Text(f"Report:        {facts.page(run)}")
