"""Panels that show several runs at once: metric and loss against time, samples and bytes, and staleness.

Each is a function of its axes, the runs and a `Theme`; `page` puts them into HTML one by one, `picture` all into one
PNG. matplotlib is imported by whoever makes the axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from asgd.report import series
from asgd.report.compared import Compared
from asgd.report.goal import Goal
from asgd.report.lines import Progress
from asgd.report.points import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = ("", "7 3", "2 2.5", "8 2.5 2 2.5")
"""Of the lines of runs beyond the number of colours, as SVG writes them."""
_FEW_POINTS = 40
_TAIL = 0.995
_Cost = Callable[[Point], float]


class Theme(Struct, frozen=True):
    """Colours by their use; `runs` are told apart by the colour-blind too."""

    ink: str
    muted: str
    grid: str
    target: str
    runs: tuple[str, ...]


LIGHT = Theme(
    ink="#1c1e21",
    muted="#5c6370",
    grid="#e4e6ea",
    target="#b3261e",
    runs=("#0072b2", "#d55e00", "#009e73", "#b5579a", "#c98a00", "#3da5dd", "#6a51a3", "#6b6f76"),
)
DARK = Theme(
    ink="#e6e8eb",
    muted="#9aa1ac",
    grid="#33373e",
    target="#ff8a80",
    runs=("#4da3e0", "#f28a4b", "#2fc99a", "#e39cc4", "#f0b63f", "#8ccbf2", "#b09be0", "#b4b8be"),
)


def style(theme: Theme, index: int) -> tuple[str, str]:
    """(colour, dashes as SVG writes them) of run `index`: all colours solid first, then dashed, then dotted."""
    colours = len(theme.runs)
    return theme.runs[index % colours], DASHES[index // colours % len(DASHES)]


def metric_against_time(axes: Axes, runs: Sequence[Compared], goal: Goal | None, theme: Theme) -> None:
    """The goal's metric at each evaluation."""
    scale, unit = _time_unit(runs)
    _metric(axes, runs, goal, theme, lambda point: point.t / scale)
    axes.set_xlabel(f"time, {unit}")


def metric_against_samples(axes: Axes, runs: Sequence[Compared], goal: Goal | None, theme: Theme) -> None:
    """As `metric_against_time`; samples of all workers together."""
    _metric(axes, runs, goal, theme, lambda point: float(point.samples))
    _engineering(axes, "samples, all workers", "")


def metric_against_bytes(axes: Axes, runs: Sequence[Compared], goal: Goal | None, theme: Theme) -> None:
    """As `metric_against_time`; payload bytes to and from all servers, on a logarithmic axis if they differ much."""
    # NB: a point at no bytes has no place on a logarithmic axis, and the line from it would come from nowhere.
    _metric(axes, runs, goal, theme, lambda point: point.bytes or math.nan)
    ends = [run.points[-1].bytes for run in runs if run.points and run.points[-1].bytes > 0]
    if len(ends) > 1 and max(ends) / min(ends) > 8:
        axes.set_xscale("log")
        first = [point.bytes for run in runs for point in run.points if point.bytes > 0]
        axes.set_xlim(min(first), max(ends) * 1.15)
    _engineering(axes, "bytes pushed and pulled, all workers", "B")


def loss_against_time(axes: Axes, runs: Sequence[Compared], goal: Goal | None, theme: Theme) -> None:
    """Training loss as workers report it."""
    scale, unit = _time_unit(runs)
    _loss(axes, runs, theme, lambda line: line.t / scale)
    axes.set_xlabel(f"time, {unit}")


def loss_against_samples(axes: Axes, runs: Sequence[Compared], goal: Goal | None, theme: Theme) -> None:
    """Training loss against samples of all workers together."""
    _loss(axes, runs, theme, lambda line: float(line.samples))
    _engineering(axes, "samples, all workers", "")


def staleness(axes: Axes, runs: Sequence[Compared], goal: Goal | None, theme: Theme) -> None:
    """Share of accepted pushes with at most so much staleness; the last half percent may lie beyond the panel."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    longest, drawn = 1, False
    for index, run in enumerate(runs):
        counts = series.histogram(run.history)
        total = sum(counts.values())
        if not total:
            continue
        values = list(range(max(counts) + 1))
        shares = [part / total for part in accumulate(counts.get(value, 0) for value in values)]
        longest = max(longest, next(value for value, share in enumerate(shares) if share >= _TAIL))
        colour, dashes = style(theme, index)
        axes.plot(
            [-1, *values, 10**6], [0.0, *shares, 1.0], drawstyle="steps-post", color=colour, linewidth=1.6,
            linestyle=linestyle(dashes), zorder=3 + 1 / (index + 1),
        )  # fmt: skip
        drawn = True
    axes.set_xlabel("staleness, updates")
    axes.set_ylabel("pushes with at most this")
    if not drawn:
        return _empty(axes, theme, "no staleness was recorded yet")
    axes.set_xlim(-0.3, longest * 1.04 + 0.7)
    axes.set_ylim(0, 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    return None


Panel = Callable[["Axes", Sequence[Compared], Goal | None, Theme], None]


def panels(goal: Goal | None) -> list[tuple[str, Panel]]:
    """(title, panel) of all there are, in reading order, three to a row."""
    name = goal.name if goal else "metric"
    what = f"{name[:1].upper()}{name[1:]}" if len(name) <= 30 else f"{name[:27]}..."
    return [
        (f"{what} against time", metric_against_time),
        (f"{what} against samples", metric_against_samples),
        (f"{what} against bytes", metric_against_bytes),
        ("Training loss against time", loss_against_time),
        ("Training loss against samples", loss_against_samples),
        ("Staleness of accepted pushes", staleness),
    ]


def _metric(axes: Axes, runs: Sequence[Compared], goal: Goal | None, theme: Theme, x: _Cost) -> None:
    axes.set_ylabel(goal.name if goal and len(goal.name) <= 30 else "metric")
    drawn = False
    for index, run in enumerate(runs):
        xs: list[float] = []
        ys: list[float] = []
        for point in run.points:
            value = point.metrics.get(goal.name) if goal else None
            if point.first and xs:
                xs.append(math.nan)
                ys.append(math.nan)
            xs.append(x(point))
            ys.append(math.nan if value is None else value)
        drawn |= _line(axes, theme, index, xs, ys)
    if not drawn:
        return _empty(axes, theme, "no evaluations")
    axes.set_xlim(left=0)
    if goal and goal.bound is not None:
        axes.axhline(goal.bound, color=theme.target, linewidth=1.1, linestyle=(0, (4, 3)), zorder=2)
    return None


def _loss(axes: Axes, runs: Sequence[Compared], theme: Theme, x: Callable[[Progress], float]) -> None:
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axes.set_ylabel("loss")
    values: list[float] = []
    for index, run in enumerate(runs):
        curve = series.loss(run.history, x)
        _line(axes, theme, index, curve.x, curve.y)
        values += [value for value in curve.y if math.isfinite(value)]
    if not values:
        return _empty(axes, theme, "no loss was reported")
    axes.set_xlim(left=0)
    if min(values) > 0 and max(values) / min(values) > 30:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    return None


def _line(axes: Axes, theme: Theme, index: int, xs: list[float], ys: list[float]) -> bool:
    """False when there was nothing to draw."""
    count = sum(math.isfinite(y) for y in ys)
    colour, dashes = style(theme, index)
    axes.plot(
        xs, ys, color=colour, linewidth=1.6, linestyle=linestyle(dashes), markersize=3.2,
        marker="o" if count == 1 or (count <= _FEW_POINTS and len(ys) <= _FEW_POINTS) else "",
        # The first runs lie on top: they are what the reader named first.
        zorder=3 + 1 / (index + 1),
    )  # fmt: skip
    return count > 0


def linestyle(dashes: str) -> Literal["-"] | tuple[float, Sequence[float]]:
    """SVG's dashes as matplotlib takes them."""
    return (0.0, [float(part) / 1.6 for part in dashes.split()]) if dashes else "-"


def _engineering(axes: Axes, label: str, unit: str) -> None:
    from matplotlib.ticker import EngFormatter, NullFormatter

    axes.set_xlabel(label)
    axes.xaxis.set_major_formatter(EngFormatter(unit=unit, sep=" " if unit else ""))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _time_unit(runs: Sequence[Compared]) -> tuple[float, str]:
    span = max((series.duration(run.history) for run in runs), default=0.0)
    if span < 180:
        return 1.0, "seconds"
    return (60.0, "minutes") if span < 3 * 3600 else (3600.0, "hours")


def _empty(axes: Axes, theme: Theme, why: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=theme.muted, size=12)
