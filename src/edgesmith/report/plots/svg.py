"""A matplotlib figure as inline SVG: real text, the page's fonts and its colours in light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from edgesmith.report.plots.palette import PALETTE

WIDTH = 330
"""Units of every figure: one unit is about one pixel on a phone and 1.3 pixels on a desktop."""

LIGHT = {role: light for role, (light, _) in PALETTE.items()}
_ROLES = {light: f"var(--{role})" for role, light in LIGHT.items()}
_STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be searched and copied
    "text.parse_math": False,
    "font.size": 11,
    "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.labelsize": 10,
    "axes.edgecolor": LIGHT["line"],
    "axes.facecolor": "none",
    "axes.linewidth": 1,
    "figure.facecolor": "none",
    "grid.color": LIGHT["line"],
    "grid.linewidth": 1,
    "xtick.color": LIGHT["line"],
    "xtick.labelcolor": LIGHT["muted"],
    "xtick.labelsize": 10,
    "ytick.color": LIGHT["line"],
    "ytick.labelcolor": LIGHT["muted"],
    "ytick.labelsize": 10,
    "lines.solid_capstyle": "round",
}
_REWRITES = (
    (r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", ""),
    (r"font-family: [^;]*; ", ""),  # the page's
    (r' transform="rotate\(-0 [^"]*"', ""),
    (r"\n\s*", "\n"),
)
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@contextmanager
def style() -> Iterator[None]:
    """The look of every figure, and of nothing outside: the user's own settings stay as they are."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


def canvas(
    height: int, *, left: int = 1, right: int = 1, bottom: int = 36, top: int = 4
) -> tuple[Figure, Axes]:
    """A figure with one axes; all sizes in units, of which 72 are an inch."""
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    box = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - bottom - top) / height)
    axes = figure.add_axes(box)
    axes.spines[:].set_visible(False)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=5)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    return figure, axes


def name_axes(axes: Axes, *, x: str, y: str) -> None:
    """The name of x below, that of y above the axes from the figure's left edge on, where it lies flat."""
    box = axes.get_position()
    axes.set_xlabel(x)
    axes.set_title(y, loc="left", x=-box.x0 / box.width, size=10, color=LIGHT["muted"])


def log_ticks(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis: at each power of ten, and on a short axis at 2 and 5 between them."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1,) if high / low > 1000 else (1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def mark_limit(line: Callable[..., object], value: float) -> None:
    """A dashed line at a budget; `line` is ``axes.axvline`` or ``axes.axhline``."""
    line(value, color=LIGHT["fail"], linewidth=1, dashes=(3, 2))


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure of the page.

    Attributes:
        name: unique on the page.
        svg: an ``<svg>`` element that carries its own label.
    """

    name: str
    title: str
    caption: str
    svg: str


def finish(figure: Figure, *, name: str, title: str, caption: str, told: str) -> Plot:
    """The figure for the page.

    Args:
        told: every number of the figure in words, for those who do not see it.
    """
    return Plot(name=name, title=title, caption=caption, svg=_svg(figure, name, f"{title}: {told}."))


def _svg(figure: Figure, name: str, label: str) -> str:
    """Real text, colours by role, and ids that start with `name`, so that two figures do not share one."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    body = buffer.getvalue().partition("<svg")[2].partition(">")[2]
    for pattern, replacement in _REWRITES:
        body = re.sub(pattern, replacement, body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    body = re.sub(r"#[0-9a-f]{6}\b", lambda found: _ROLES.get(found.group(), found.group()), body)
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    return f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}">{body}'
