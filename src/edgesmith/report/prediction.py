"""A folder with a prediction: one page of HTML, Markdown with its plots beside it, and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgesmith.records import write_json, write_text
from edgesmith.records.analysis import Analysis, Recommendation
from edgesmith.report.analysis import analysis_tables, headline
from edgesmith.report.facts import Table
from edgesmith.report.markdown import escape, render_table
from edgesmith.report.plots.palette import PALETTE
from edgesmith.report.plots.pareto import pareto
from edgesmith.report.plots.roofline import activations, roofline
from edgesmith.report.plots.svg import Plot, style
from edgesmith.report.recommendation import recommendation_table, verdict

PREDICTED = "Predicted: no figure of time, energy or memory here was measured on a model."


def write_analysis(analysis: Analysis, folder: Path) -> None:
    """Writes ``analysis.html``, ``.md`` and ``.json``, and the plots as ``.svg``."""
    with style():
        plots = [plot for plot in (roofline(analysis), activations(analysis)) if plot]
    _write(folder, "analysis", headline(analysis), analysis_tables(analysis), plots)
    write_json(folder / "analysis.json", analysis)


def write_recommendation(found: Recommendation, folder: Path) -> None:
    """Writes ``recommendation.html``, ``.md`` and ``.json``, and the plot as ``.svg``."""
    with style():
        plots = [plot for plot in (pareto(found),) if plot]
    _write(folder, "recommendation", verdict(found), (recommendation_table(found),), plots)
    write_json(folder / "recommendation.json", found)


def _write(folder: Path, name: str, title: str, tables: Sequence[Table], plots: Sequence[Plot]) -> None:
    for plot in plots:
        write_text(folder / f"{plot.name}.svg", standalone(plot))
    write_text(folder / f"{name}.md", _markdown(title, tables, plots))
    write_text(folder / f"{name}.html", _html(title, tables, plots))


def standalone(plot: Plot) -> str:
    """The figure as a file of its own, which carries the colours that a page would give it."""
    colours = "".join(f"--{role}:{light};" for role, (light, _) in PALETTE.items())
    head, _, body = plot.svg.partition(">")
    sized = f'{head} xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"{sized}><style>svg{{{colours}font-family:sans-serif;background:var(--surface)}}</style>{body}\n"


def _markdown(title: str, tables: Sequence[Table], plots: Sequence[Plot]) -> str:
    figures = [f"![{escape(plot.title)}]({plot.name}.svg)\n\n{escape(plot.caption)}" for plot in plots]
    parts = (f"# {escape(title)}", PREDICTED, *figures, *(render_table(table, level=2) for table in tables))
    return "\n\n".join(part for part in parts if part) + "\n"


def _html(title: str, tables: Sequence[Table], plots: Sequence[Plot]) -> str:
    templates = Environment(
        loader=PackageLoader("edgesmith.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = templates.get_template("tables.html")
    return page.render(title=title, tables=tables, plots={plot.name: plot for plot in plots}, palette=PALETTE)
