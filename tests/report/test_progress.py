"""A bar on a terminal, sparse lines elsewhere; brackets in a text are a text."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgesmith.report.progress import LINES_A_JOB, RichProgress


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=100, color_system=None, _environ={}), out


def test_without_a_terminal_a_long_job_prints_few_lines() -> None:
    target, out = console(terminal=False)
    progress = RichProgress(target)
    progress.start("epoch 1", 1000)
    for done in range(1, 1001):
        progress.advance(done, "loss 0.5")
    progress.finish()
    lines = out.getvalue().splitlines()
    assert len(lines) == LINES_A_JOB
    assert lines[0].startswith("  epoch 1  100/1000") and lines[-1].startswith("  epoch 1  1000/1000")
    assert lines[-1].endswith("loss 0.5")


@pytest.mark.parametrize("total", [0, 1, 3])
def test_a_short_job_prints_a_line_for_each_unit(total: int) -> None:
    target, out = console(terminal=False)
    progress = RichProgress(target)
    progress.start("job", total)
    for done in range(1, total + 1):
        progress.advance(done)
    assert len(out.getvalue().splitlines()) == total


def test_on_a_terminal_there_is_a_bar_with_counts_and_eta() -> None:
    target, out = console(terminal=True)
    with RichProgress(target) as progress:
        progress.start("epoch [1]", 4)
        progress.advance(3, "loss [0.5]")
    shown = out.getvalue()
    assert all(text in shown for text in ("epoch [1]", "3/4", "ETA", "loss [0.5]"))


def test_an_error_puts_the_cursor_back() -> None:
    target, out = console(terminal=True)
    with pytest.raises(KeyboardInterrupt), RichProgress(target) as progress:
        progress.start("epoch", 4)
        raise KeyboardInterrupt
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex(
        "\x1b[?25l"
    )  # shown after it was hidden


def test_texts_with_brackets_are_printed_as_they_are() -> None:
    target, out = console(terminal=False)
    progress = RichProgress(target)
    progress.step("prune", "[red]heads[/red]")
    progress.say("kept [MASK] and [/x] " + "long " * 40)
    assert out.getvalue().splitlines()[0] == "prune  [red]heads[/red]"
    assert out.getvalue().splitlines()[1] == ("  kept [MASK] and [/x] " + "long " * 40)
