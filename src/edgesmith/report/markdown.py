"""The report as one page of Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from edgesmith.report import choices, facts
from edgesmith.report.anatomy import anatomy
from edgesmith.report.load import RECIPE_NAME, Run
from edgesmith.report.story import path, story
from edgesmith.report.units import counted
from edgesmith.report.vocabulary import vocabulary


def render_markdown(run: Run) -> str:
    """Verdict first; then what was measured, what was done and why, and how to use and reproduce it."""
    verdict = run.verdict
    parts = (
        f"# {facts.headline(verdict)}",
        f"**{escape(facts.sentence(verdict))}**",
        _bullets((*map(str, facts.claims(verdict)), facts.strength(verdict))),
        _section("Not met", _bullets(facts.failures(verdict))),
        _section("Warnings", _bullets(verdict.warnings)),
        render_table(facts.budgets(run), level=2),
        render_table(facts.comparison(run), level=2),
        render_table(facts.runtimes(run), level=2),
        render_table(facts.details(verdict), level=3),
        render_table(vocabulary(verdict), level=3),
        _section("What was done and why", "\n\n".join(_steps(run))),
        render_table(path(run), level=2),
        render_table(anatomy(run), level=2),
        render_table(choices.candidates(run), level=2),
        render_table(choices.precision(run), level=2),
        choices.precision_summary(run),
        _section("Use it", _use(run)),
        _section("Environment", _bullets(environment(run))),
        _section("Reproduce it", _reproduce(run)),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line: a token such as ``<s>`` or a ``|`` changes nothing."""
    for character in ("\\", "|", "<", "*", "`"):
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def environment(run: Run) -> tuple[str, ...]:
    """The machine and the software, a line each."""
    found = run.environment
    packages = ", ".join(f"{name} {version}" for name, version in found.packages.items())
    return (
        f"processor: {found.processor}, {counted(found.cores, 'core')}",
        f"instructions: {', '.join(found.features) or 'not known'}",
        f"system: {found.system}",
        f"Python {found.python}; {packages or 'no packages recorded'}",
    )


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escape(line)}" for line in lines)


def render_table(table: facts.Table, *, level: int) -> str:
    """A heading, rows and notes; nothing where there are no rows."""
    if not table.rows:
        return ""
    rule = ["---:" if align == "r" else "---" for align in table.align]
    rows = [[escape(cell) for cell in row] for row in (table.columns, *table.rows)]
    lines = [f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])]
    heading = f"{'#' * level} {table.title}\n\n"
    return heading + "\n".join(lines) + (f"\n\n{_bullets(table.notes)}" if table.notes else "")


def _steps(run: Run) -> Iterator[str]:
    for chapter in story(run):
        yield (
            f"**{escape(chapter.title)}** ({chapter.wall_s:.0f} s, `{chapter.folder}`). {escape(chapter.purpose)}\n\n"
            + _bullets(chapter.reasons)
        )


def _use(run: Run) -> str:
    bundle = run.verdict.bundle
    task, copy = run.verdict.task, facts.copy_command(bundle)
    use = facts.use_command(PurePosixPath(bundle).name, task)
    return (
        f"Copy the folder `{bundle}` to the device; there, in the same place:\n\n"
        f"```\n{copy}\n{facts.install_command(run.verdict.runtime, task)}\n{use}\n```"
    )


def _reproduce(run: Run) -> str:
    return (
        f"In this folder, with the package versions above and the same data (seed {run.verdict.seed}); "
        f"latency depends on the machine:\n\n```\nedgesmith run {RECIPE_NAME}\n```"
    )
