"""Draws a dashboard of the chart as a picture, from a Prometheus: `draw_dashboards.py URL UID FILE [--set NAME=VALUE]`.

For the docs, and to look at what a change of a board does where no Grafana is at hand. It draws titles, lines, heat
maps, tables and numbers at their places, in Grafana's dark colours; it is no Grafana.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from dashboards import filled
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FOLDER = Path(__file__).resolve().parent.parent / "charts/asgd-operator/files/dashboards"
BACK, PANEL, TEXT, MUTED = "#111217", "#181b1f", "#ccccdc", "#8e8e9b"
COLOURS = {
    "green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "blue": "#5794f2", "transparent": "#2a2d33",
    "dark-red": "#c4162a", "semi-dark-red": "#e02f44", "yellow": "#fade2a", "light-blue": "#8ab8ff",
    "light-green": "#96d98d", "text": "#8e8e9b",
}  # fmt: skip
LINES = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#b877d9", "#56a64b", "#e0b400", "#3274d9")
CELL, ROW = 0.62, 0.36
"""Inches of one column and one row of Grafana's grid."""
Series = dict[str, Any]


class Prometheus:
    """Answers the queries of panels over the `seconds` before a time."""

    def __init__(self, url: str, seconds: float, until: float, variables: dict[str, str]) -> None:
        self.url, self.seconds, self.variables, self.now = url, seconds, variables, until

    def range(self, expr: str) -> list[Series]:
        step = max(1, self.seconds / 200)
        given = {"start": self.now - self.seconds, "end": self.now, "step": step}
        return self._get("query_range", expr, given)

    def instant(self, expr: str) -> list[Series]:
        return self._get("query", expr, {"time": self.now})

    def _get(self, path: str, expr: str, given: dict[str, float]) -> list[Series]:
        asked = urllib.parse.urlencode({"query": filled(expr, self.variables), **given})
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{asked}", timeout=30) as answer:
            return list(json.load(answer)["data"]["result"])


def main() -> int:
    """Writes the picture."""
    options = _options()
    given = {"__rate_interval": "30s", "namespace": ".+"} | dict(item.split("=", 1) for item in options.set)
    source = Prometheus(options.url, 60 * options.minutes, time.time() - 60 * options.ago, given)
    board = json.loads((FOLDER / f"{options.uid}.json").read_text(encoding="utf-8"))
    shown = [panel for panel in board["panels"] if _in_rows(panel, board, options.rows)]
    top = min(panel["gridPos"]["y"] for panel in shown)
    tall = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in shown) - top
    figure = Figure(figsize=(24 * CELL, tall * ROW), dpi=options.dpi, facecolor=BACK)
    for panel in shown:
        _panel(figure, panel, source, top, tall)
    figure.savefig(options.file)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("uid")
    parser.add_argument("file")
    parser.add_argument("--set", action="append", default=[], help="name=value of a variable of the board")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--ago", type=float, default=0, help="so many minutes before now it ends")
    parser.add_argument("--rows", type=int, default=99, help="so many rows from the top")
    parser.add_argument("--dpi", type=int, default=100)
    return parser.parse_args()


def _in_rows(panel: Series, board: Series, rows: int) -> bool:
    heads = [each["gridPos"]["y"] for each in board["panels"] if each["type"] == "row"]
    return sum(head <= panel["gridPos"]["y"] for head in heads) <= rows


def _panel(figure: Figure, panel: Series, source: Prometheus, top: int, tall: int) -> None:
    place, gap = panel["gridPos"], 0.08
    left, bottom = place["x"] / 24, 1 - (place["y"] - top + place["h"]) / tall
    wide, high = place["w"] / 24, place["h"] / tall
    if panel["type"] == "row":
        figure.text(left + 0.004, bottom + high / 2, f"v {panel['title']}", color=TEXT, size=11, va="center")
        return
    one_x, one_y = gap / (24 * CELL), gap / (tall * ROW)
    figure.add_axes((left + one_x / 2, bottom + one_y / 2, wide - one_x, high - one_y), facecolor=PANEL).set(
        xticks=[], yticks=[]
    )
    figure.text(left + 2 * one_x, bottom + high - 2 * one_y, panel["title"], color=TEXT, size=8.5, va="top")
    inner = (left + 0.42 / (24 * CELL), bottom + 0.5 / (tall * ROW))
    size = (wide - 0.55 / (24 * CELL), high - 0.85 / (tall * ROW))
    if panel["type"] in ("stat", "table"):
        inner, size = (left + one_x, bottom + one_y), (wide - 2 * one_x, high - 0.34 / (tall * ROW))
    axes = figure.add_axes((*inner, *size), facecolor=PANEL)
    for side in axes.spines.values():
        side.set_visible(False)
    DRAW[panel["type"]](axes, panel, source)


def _lines(panel: Series, source: Prometheus) -> Iterator[tuple[str, list[float], list[float]]]:
    """(legend, minutes before now, values) of each series."""
    for target in panel["targets"]:
        for one in source.range(target["expr"]):
            at = [(float(moment) - source.now) / 60 for moment, _ in one["values"]]
            yield _legend(target["legendFormat"], one["metric"]), at, [float(v) for _, v in one["values"]]


def _legend(pattern: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), pattern)


def _graph(axes: Axes, panel: Series, source: Prometheus) -> None:
    found, defaults = list(_lines(panel, source)), panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    if found and "stacking" in custom:
        _stacked(axes, found, custom["stacking"]["mode"] == "percent", _colours(panel, found))
    else:
        for colour, (legend, at, values) in zip(_colours(panel, found), found, strict=False):
            axes.plot(at, values, color=colour, lw=1.1, label=legend)
    if custom.get("scaleDistribution", {}).get("type") == "log":
        axes.set_yscale("log", base=2)
    elif defaults.get("min") == 0:
        axes.set_ylim(0, defaults.get("max") or max(axes.get_ylim()[1] * 1.08, 1e-9))
    low, high = axes.get_ylim()
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is not None and low < step["value"] < high:
            axes.axhline(step["value"], color=COLOURS[step["color"]], lw=0.8, ls="--")
    axes.set_xlim(-source.seconds / 60, 0)
    axes.yaxis.set_major_formatter(lambda value, _: told(value, defaults["unit"]))
    _ticks(axes)
    if found:
        axes.legend(loc="upper left", bbox_to_anchor=(-0.03, -0.1), ncols=4, fontsize=6.3, frameon=False,
                    labelcolor=TEXT, handlelength=1, columnspacing=0.9)  # fmt: skip
    else:
        axes.text(0.5, 0.5, "No data", color=MUTED, ha="center", transform=axes.transAxes)


def _colours(panel: Series, found: Sequence[tuple[str, list[float], list[float]]]) -> list[str]:
    fixed = {
        each["matcher"]["options"]: COLOURS[each["properties"][0]["value"]["fixedColor"]]
        for each in panel["fieldConfig"]["overrides"]
    }
    return [fixed.get(legend, colour) for colour, (legend, _, _) in zip(LINES * 9, found, strict=False)]


def _stacked(
    axes: Axes, found: Sequence[tuple[str, list[float], list[float]]], percent: bool, colours: list[str]
) -> None:
    moments = sorted({moment for _, at, _ in found for moment in at})
    rows = [[dict(zip(at, values, strict=True)).get(m, 0.0) for m in moments] for _, at, values in found]
    if percent:
        sums = [sum(column) or 1.0 for column in zip(*rows, strict=True)]
        rows = [[value / total for value, total in zip(row, sums, strict=True)] for row in rows]
    axes.stackplot(moments, *rows, colors=colours, labels=[legend for legend, _, _ in found], alpha=0.6)
    axes.set_ylim(0, 1 if percent else None)


def _ticks(axes: Axes) -> None:
    axes.tick_params(colors=MUTED, labelsize=6.3, length=0)
    axes.grid(color="#2a2d33", lw=0.5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} m" if value else "now")


def _heat(axes: Axes, panel: Series, source: Prometheus) -> None:
    by_limit = {float(legend.replace("+Inf", "inf")): dict(zip(at, values, strict=True))
                for legend, at, values in _lines(panel, source)}  # fmt: skip
    if not by_limit:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "No data", color=MUTED, ha="center", transform=axes.transAxes)
        return
    limits = sorted(by_limit)
    moments = sorted({moment for row in by_limit.values() for moment in row})
    whole = [[by_limit[limit].get(moment, 0.0) for moment in moments] for limit in limits]
    between = ([b - a for a, b in zip(low, high, strict=True)] for low, high in pairwise(whole))
    rows = [whole[0], *between]
    last = max((i for i, row in enumerate(rows) if any(value > 0 for value in row)), default=0) + 1
    shown = [[max(value, 0.0) ** 0.5 or math.nan for value in row] for row in rows[: last + 1]]
    axes.imshow(shown, origin="lower", aspect="auto", cmap="Oranges_r", interpolation="nearest",
                extent=(moments[0], moments[-1], -0.5, len(shown) - 0.5))  # fmt: skip
    axes.set_yticks(range(len(shown)), [f"{limit:g}" for limit in limits[: len(shown)]])
    axes.set_xlim(-source.seconds / 60, 0)
    _ticks(axes)


def _timeline(axes: Axes, panel: Series, source: Prometheus) -> None:
    found = sorted(_lines(panel, source))
    for row, (legend, at, values) in enumerate(found):
        axes.text(0.99 * -source.seconds / 60, row, legend, color=TEXT, size=5.5, va="center", zorder=9)
        axes.plot(at, [row] * len(at), color=COLOURS["transparent"], lw=7, solid_capstyle="butt")
        held = [row if value else math.nan for value in values]
        axes.plot(at, held, color=COLOURS["blue"], lw=7, solid_capstyle="butt")
    axes.set_yticks([])
    axes.set_xlim(-source.seconds / 60, 0)
    axes.set_ylim(-0.7, len(found) - 0.3)
    _ticks(axes)


def _stat(axes: Axes, panel: Series, source: Prometheus) -> None:
    axes.set(xticks=[], yticks=[], ylim=(0, 1), xlim=(0, 1))
    (target,), defaults = panel["targets"], panel["fieldConfig"]["defaults"]
    found = source.range(target["expr"])
    text, colour = "No data", MUTED
    if found:
        value = float(found[0]["values"][-1][1])
        steps = [s for s in defaults["thresholds"]["steps"] if s["value"] is None or value >= s["value"]]
        by_name = panel["options"]["textMode"] == "name"
        text = (
            _legend(target["legendFormat"], found[0]["metric"]) if by_name else told(value, defaults["unit"])
        )
        colour = COLOURS[steps[-1]["color"]]
    axes.text(0.5, 0.45, text, color=colour, size=17 if found else 10, ha="center", va="center")


def _table(axes: Axes, panel: Series, source: Prometheus) -> None:
    axes.set(xticks=[], yticks=[])
    organize = panel["transformations"][1]["options"]
    units = {o["matcher"]["options"]: o["properties"][0]["value"] for o in panel["fieldConfig"]["overrides"]}
    keys = [name for name in sorted(organize["indexByName"], key=organize["indexByName"].__getitem__)
            if not name.startswith("Value")]  # fmt: skip
    heads = [name for value, name in organize["renameByName"].items() if value]
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for index, target in enumerate(panel["targets"]):
        for one in source.instant(target["expr"]):
            row = rows.setdefault(tuple(one["metric"].get(key, "") for key in keys), {})
            if heads:
                row[heads[index]] = told(float(one["value"][1]), units.get(heads[index], "short"))
    cells = [[*place, *(row.get(head, "") for head in heads)] for place, row in sorted(rows.items())][:12]
    if not cells:
        axes.text(0.5, 0.5, "No data", color=MUTED, ha="center", transform=axes.transAxes)
        return
    made = axes.table(cells, colLabels=[*keys, *heads], loc="upper left", cellLoc="left", edges="B")
    made.auto_set_font_size(False)
    made.set_fontsize(7)
    for (line, _), cell in made.get_celld().items():
        cell.set(edgecolor="#2a2d33")
        cell.get_text().set(color=COLOURS["blue"] if line == 0 else TEXT, ha="left")


def told(value: float, unit: str) -> str:
    """A value with its unit, as Grafana shortens it."""
    if not math.isfinite(value):
        return "-"
    match unit:
        case "percentunit":
            return f"{100 * value:.3g} %"
        case "s":
            return _seconds(value)
        case "bytes" | "Bps":
            power = min(3, int(math.log(max(abs(value), 1), 1024)))
            return f"{value / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB')[power]}{'/s' if unit == 'Bps' else ''}"
    power = min(3, int(math.log10(max(abs(value), 1)) / 3))
    return f"{value / 1000**power:.3g}{('', ' K', ' Mil', ' Bil')[power]}"


def _seconds(value: float) -> str:
    for limit, name in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {name}"
    return f"{1000 * value:.3g} ms" if value else "0 s"


DRAW = {"timeseries": _graph, "stat": _stat, "heatmap": _heat, "state-timeline": _timeline, "table": _table}

if __name__ == "__main__":
    sys.exit(main())
