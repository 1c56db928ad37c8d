"""The picture of a page: one bar for each system, how many times faster ours is, on a logarithmic axis, as SVG."""

from __future__ import annotations

import io

from asgd_bench import figures
from asgd_bench.results import Page


def bars(page: Page) -> list[tuple[str, str, float]]:
    """(table, system, median advantage of the table's reference) of everything on the page that has a ratio."""
    found = []
    for case in page.cases:
        for table in case.tables:
            for line in table.lines:
                if ratio := figures.advantage(table, line):
                    found.append((table.title, line.name, ratio.median))
    return found


def svg(page: Page) -> str:
    """The picture; empty when nothing on the page has a ratio, or matplotlib is not installed."""
    rows = bars(page)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return ""
    if not rows:
        return ""
    figure = Figure(figsize=(9, 1 + 0.22 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows), 0, -1)
    colors = ["tab:green" if ratio >= 1 else "tab:gray" for _, _, ratio in rows]
    axes.barh(list(places), [ratio - 1 for _, _, ratio in rows], left=1, color=colors, height=0.7)
    for place, (_, _, ratio) in zip(places, rows, strict=True):
        axes.annotate(f" {ratio:.2f}x", (max(ratio, 1), place), va="center", fontsize=7)
    axes.set_yticks(list(places), [f"{title}: {name}" for title, name, _ in rows], fontsize=7)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times as good as")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
