"""curves.png: one run in one picture: loss and metrics against time and samples, speed, staleness, workers.

Drawn with matplotlib's Agg canvas without pyplot, so it needs no screen and leaves no global state;
matplotlib is imported when a picture is drawn, not before. What is drawn comes shaped from `series`; each
panel is a function of its axes and one run, so a page of several runs can draw the same panels again.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from asgd.report import history as histories
from asgd.report import series, units
from asgd.report.files import write_atomic
from asgd.report.history import History
from asgd.report.lines import Progress
from asgd.report.plain import PLAIN
from asgd.report.series import Band, Curve
from asgd.spec.types import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT, DPI = 1600, 1000, 100

# Okabe and Ito's palette: told apart by the colour-blind too.
BLUE, ORANGE, GREEN, RED, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
_GREY = "#777777"
SCALARS_MOST = 6
"""Lines beside the loss in its panels."""
_FEW_POINTS = 30
_MOST_BARS = 40
_MANY_WORKERS = 24
_STYLE = PLAIN | {"grid.color": "#e4e4e4", "legend.frameon": False, "legend.fontsize": 9}


def load() -> None:
    """Loads matplotlib, which takes half a second: a process that waits anyway need not do so when it draws."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401


def draw(history_path: Path, out_png: Path, title: str) -> None:
    """Draws the run of `history_path` to `out_png`. Raises UserError without a history, OSError."""
    write_atomic(out_png, render(histories.read(history_path), title))


def render(history: History, title: str) -> bytes:
    """The picture as PNG, WIDTH x HEIGHT."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI)
        FigureCanvasAgg(figure)
        _page(figure, history, title)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=DPI)
    return picture.getvalue()


def _page(figure: Figure, history: History, title: str) -> None:
    many = len({band.worker for band in series.bands(history)}) > _MANY_WORKERS
    heights = (3, 3, 3.4 if many else 2.2)
    grid = figure.add_gridspec(
        3, 3, height_ratios=heights, left=0.055, right=0.98, top=0.87, bottom=0.06, hspace=0.48, wspace=0.2
    )
    figure.text(0.055, 0.955, _shorten(title, 100), size=16, weight="bold", va="center")
    figure.text(0.055, 0.925, _subtitle(history), size=10, color="#555555", va="center")
    cells = [figure.add_subplot(grid[row, column]) for row in range(2) for column in range(3)]
    draw_loss(cells[0], history, against_time=True)
    draw_loss(cells[1], history, against_time=False)
    draw_throughput(cells[2], history)
    draw_metrics(cells[3], history, against_time=True)
    draw_metrics(cells[4], history, against_time=False)
    draw_staleness(cells[5], history)
    draw_workers(figure.add_subplot(grid[2, :]), history)


def _subtitle(history: History) -> str:
    run = histories.last_run(history)
    progress = [line for line in history.lines if isinstance(line, Progress)]
    parts = [run.algorithm, f"until {units.stop_rule(run.stop_after)}"] if run else []
    if progress:
        last = progress[-1]
        parts += [units.plural(last.updates, "update"), units.plural(last.samples, "sample")]
    parts.append(units.seconds(series.duration(history)))
    return "  ·  ".join(part for part in parts if part not in ("", "until "))


def draw_loss(axes: Axes, history: History, *, against_time: bool) -> None:
    """Training loss, on a logarithmic axis when it falls far."""
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    curve = series.loss(history, series.by_time if against_time else series.by_samples)
    axes.set_title("Training loss against time" if against_time else "Training loss against samples")
    axes.set_ylabel("loss")
    _x_axis(axes, history, against_time)
    if not curve:
        return _empty(axes, "no loss was reported")
    _line(axes, curve, history, against_time, BLUE)
    _draw_scalars(axes, history, against_time)
    values = [value for value in curve.y if math.isfinite(value)]
    if min(values) > 0 and max(values) / min(values) > 30:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if against_time:
        _draw_marks(axes, history)
    return None


def _draw_scalars(axes: Axes, history: History, against_time: bool) -> None:
    """What the loss function returns beside the loss, as thin lines with their names."""
    found = series.scalars(history, series.by_time if against_time else series.by_samples)
    scale = _time_unit(history)[0] if against_time else 1.0
    for name, curve in list(found.items())[:SCALARS_MOST]:
        axes.plot([x / scale for x in curve.x], curve.y, linewidth=1, label=name)
    if found:
        axes.legend(loc="upper right", frameon=False, fontsize="small")


def draw_throughput(axes: Axes, history: History) -> None:
    """Samples a second of all workers together."""
    from matplotlib.ticker import EngFormatter

    curve = series.throughput(history)
    axes.set_title("Throughput against time")
    axes.set_ylabel("samples/s, all workers")
    _x_axis(axes, history, against_time=True)
    if not curve:
        return _empty(axes, "no throughput was measured")
    _line(axes, curve, history, True, GREEN)
    axes.set_ylim(bottom=0, top=None if any(value > 0 for value in curve.y) else 1)
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    _draw_marks(axes, history)
    return None


def draw_metrics(axes: Axes, history: History, *, against_time: bool) -> None:
    """Each evaluation as a point, and the line of the stop rule."""
    names = series.panel_metrics(history)
    what = names[0] if len(names) == 1 else "Metrics"
    axes.set_title(f"{what[:1].upper()}{what[1:]} against {'time' if against_time else 'samples'}")
    axes.set_ylabel("value at evaluation")
    _x_axis(axes, history, against_time)
    if not names:
        return _empty(axes, "no evaluations")
    for name, colour in zip(names, _COLOURS, strict=False):
        curve = series.metric(history, name, series.by_time if against_time else series.by_samples)
        _line(
            axes,
            curve,
            history,
            against_time,
            colour,
            label=_shorten(name, 24) if len(names) > 1 else "",
            points=True,
        )
    if rule := series.target(history):
        _draw_target(axes, rule)
    if len(names) > 1:
        axes.legend(loc="best")
    else:
        _legend_above(axes)
    return None


def _draw_target(axes: Axes, rule: Metric) -> None:
    for bound in (rule.at_least, rule.at_most):
        if bound is not None:
            axes.axhline(bound, color=RED, linewidth=1.2, linestyle="--", label=f"target {bound:g}")


def draw_staleness(axes: Axes, history: History) -> None:
    """Share of accepted pushes by their staleness; a long tail is drawn in wider bars."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    counts = series.histogram(history)
    axes.set_title("Staleness of accepted pushes")
    axes.set_ylabel("share of pushes")
    axes.set_xlabel("staleness, updates")
    total = sum(counts.values())
    if not total:
        return _empty(axes, "no pushes")
    width = -(-(max(counts) + 1) // _MOST_BARS)
    bars = [0.0] * (max(counts) // width + 1)
    for staleness, count in counts.items():
        bars[staleness // width] += count / total
    axes.bar(
        [(index + 0.5) * width - 0.5 for index in range(len(bars))], bars, width=0.85 * width, color=BLUE
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_xlim(-0.75, max(len(bars) * width - 0.25, 4.75))
    axes.grid(axis="x", visible=False)
    mean = sum(staleness * count for staleness, count in counts.items()) / total
    axes.axvline(mean, color=RED, linewidth=1.2, linestyle="--", label=f"mean {mean:.1f}")
    _legend_above(axes)
    return None


def draw_workers(axes: Axes, history: History) -> None:
    """A band for each life of each worker; lost ones end in a cross, a server that came back is a line."""
    bands = series.bands(history)
    axes.set_title("Workers: when each lived")
    axes.set_ylabel("worker")
    _x_axis(axes, history, against_time=True)
    if not bands:
        return _empty(axes, "no workers joined")
    scale, _ = _time_unit(history)
    rows = {worker: row for row, worker in enumerate(sorted({band.worker for band in bands}))}
    _draw_bands(axes, bands, rows, scale)
    step = -(-len(rows) // 12)
    axes.set_yticks(list(rows.values())[::step], [str(worker) for worker in rows][::step])
    axes.set_ylim(max(len(rows), 3) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    _draw_marks(axes, history)
    _legend_above(axes)
    return None


def _draw_bands(axes: Axes, bands: list[Band], rows: dict[int, int], scale: float) -> None:
    least = _x_end(axes) / 400
    for band in bands:
        width = max((band.end - band.start) / scale, least)
        axes.barh(
            rows[band.worker], width, left=band.start / scale, height=0.7, color=BLUE, alpha=0.75, linewidth=0
        )
    lost = [band for band in bands if band.fate in ("lost", "hung")]
    if lost:
        axes.plot(
            [band.end / scale for band in lost],
            [rows[band.worker] for band in lost],
            linestyle="",
            marker="X",
            markersize=9 if len(rows) <= 16 else 6,
            markerfacecolor=RED,
            markeredgecolor="white",
            markeredgewidth=0.8,
            clip_on=False,
            zorder=4,
            label="worker lost",
        )


def _draw_marks(axes: Axes, history: History) -> None:
    scale, _ = _time_unit(history)
    styles = {"server": (ORANGE, "--", "server came back"), "resumed": (_GREY, ":", "run resumed")}
    named: set[str] = set()
    for mark in series.marks(history):
        colour, dashes, label = styles[mark.what]
        name = "_" if mark.what in named else label
        axes.axvline(mark.t / scale, color=colour, linestyle=dashes, linewidth=1.4, label=name, zorder=3)
        named.add(mark.what)


def _legend_above(axes: Axes) -> None:
    """Beside the title, where nothing drawn can be under it."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=3, borderpad=0.2)


def _line(
    axes: Axes,
    curve: Curve,
    history: History,
    against_time: bool,
    colour: str,
    *,
    label: str = "",
    points: bool = False,
) -> None:
    scale = _time_unit(history)[0] if against_time else 1.0
    marker = "o" if len(curve.x) <= _FEW_POINTS or (points and len(curve.x) <= 4 * _FEW_POINTS) else ""
    axes.plot(
        [x / scale for x in curve.x],
        curve.y,
        color=colour,
        linewidth=1.6,
        marker=marker,
        markersize=4,
        label=label or None,
    )


def _x_axis(axes: Axes, history: History, against_time: bool) -> None:
    """The same span in all panels of a kind, so that they can be read one above the other."""
    from matplotlib.ticker import EngFormatter

    if against_time:
        scale, unit = _time_unit(history)
        axes.set_xlabel(f"time, {unit}")
        axes.set_xlim(0, max(series.duration(history) / scale, 1e-3) * 1.01)
    else:
        axes.set_xlabel("samples")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlim(0, max(_finite(series.loss(history, series.by_samples).x), default=1.0) * 1.01 or 1.0)


def _x_end(axes: Axes) -> float:
    return float(axes.get_xlim()[1])


def _time_unit(history: History) -> tuple[float, str]:
    span = series.duration(history)
    if span < 180:
        return 1.0, "seconds"
    return (60.0, "minutes") if span < 3 * 3600 else (3600.0, "hours")


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _shorten(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 3] + "..."


def _empty(axes: Axes, why: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=_GREY, size=12)
