"""report.png: all panels of several runs and the short table, in one picture for light backgrounds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asgd.report.compared import Compared
from asgd.report.goal import Goal
from asgd.report.panels import LIGHT, Theme, linestyle, panels, style
from asgd.report.plain import PLAIN
from asgd.report.table import columns, groups

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _ROW, _LINE, _DPI = 16.0, 3.5, 0.24, 100
_LONGEST = 44
_MONO_INCHES = 0.0836
"""Of one character of the monospaced table at 10 points."""


def rc(theme: Theme) -> dict[Any, Any]:
    """matplotlib's settings for a theme."""
    return PLAIN | {
        "axes.facecolor": "none",
        "axes.edgecolor": theme.muted,
        "axes.labelcolor": theme.muted,
        "axes.titlecolor": theme.ink,
        "grid.color": theme.grid,
        "text.color": theme.ink,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
    }


def render(runs: Sequence[Compared], goal: Goal | None, title: str, note: str) -> bytes:
    """The picture as PNG, 1600 wide and as high as its table needs."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(rc(LIGHT)):
        table = (len(runs) + 3) * _LINE + 0.35
        height = 0.9 + 2 * _ROW + table
        figure = Figure(figsize=(_WIDTH, height), dpi=_DPI)
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(
            2, 3, left=0.05, right=0.985, top=1 - 1.2 / height, bottom=(table + 0.75) / height, hspace=0.42,
            wspace=0.2,
        )  # fmt: skip
        figure.text(0.05, 1 - 0.4 / height, title, size=16, weight="bold", va="center")
        figure.text(0.05, 1 - 0.72 / height, note, size=10, color=LIGHT.muted, va="center")
        for index, (name, draw) in enumerate(panels(goal)):
            axes = figure.add_subplot(grid[index // 3, index % 3])
            axes.set_title(name)
            draw(axes, runs, goal, LIGHT)
        _table(figure, runs, goal, height, table)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=_DPI, metadata={"Software": None})
    return picture.getvalue()


def _table(figure: Figure, runs: Sequence[Compared], goal: Goal | None, height: float, table: float) -> None:
    """Monospaced lines, each led by a stroke in its run's colour."""
    from matplotlib.lines import Line2D

    texts = _texts(runs, goal)
    longest = max(map(len, texts))
    size = min(10.0, 10.0 * (_WIDTH * 0.935 - 0.5) / (longest * _MONO_INCHES))
    left = 0.05
    for line, text in enumerate(texts):
        y = (table - (line + 0.5) * _LINE) / height
        figure.text(
            left + 0.5 / _WIDTH, y, text, size=size, family="DejaVu Sans Mono", va="center",
            color=LIGHT.muted if line < 2 else LIGHT.ink,
        )  # fmt: skip
        if line >= 2:
            colour, dashes = style(LIGHT, line - 2)
            stroke = Line2D(
                [left, left + 0.35 / _WIDTH], [y, y], color=colour, linewidth=2.2, linestyle=linestyle(dashes)
            )
            figure.add_artist(stroke)


def _texts(runs: Sequence[Compared], goal: Goal | None) -> list[str]:
    """Lines of one width: groups, titles, a line a run."""
    shown = [column for column in columns(runs, goal) if column.brief]
    cells = [["run", *(_shorten(run.label) for run in runs)]]
    cells += [[column.title, *(column.cell(run) for run in runs)] for column in shown]
    widths = [max(map(len, column)) for column in cells]
    spans = [widths[0]]
    at = 1
    for name, count in groups(shown):
        # A group's last column makes room where its name is longer than its columns are wide.
        spans.append(sum(widths[at : at + count]) + 2 * (count - 1))
        widths[at + count - 1] += max(0, len(name) - spans[-1])
        spans[-1] = max(spans[-1], len(name))
        at += count
    names = ["", *(name for name, _ in groups(shown))]
    top = "  ".join(name.center(span, "-" if name else " ") for name, span in zip(names, spans, strict=True))
    right = [False, *(column.numeric for column in shown)]
    return [top.rstrip()] + [
        "  ".join(
            text.rjust(width) if numeric else text.ljust(width)
            for text, width, numeric in zip(row, widths, right, strict=True)
        )
        for row in zip(*cells, strict=True)
    ]


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 3] + "..."
