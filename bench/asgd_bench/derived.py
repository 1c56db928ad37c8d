"""What follows from a page's own figures: the cost model fitted to two sizes and held against the others."""

from __future__ import annotations

import re

from asgd_bench import figures, model
from asgd_bench.results import Case, Line, Page, Table

_TITLE = re.compile(r"^TCP, ([\d.]+)M parameters, (\d+) workers$")
FITTED = (1.0, 10.0)
"""Sizes, in millions of parameters with two workers, that the price is fitted to."""
KINDS = {"ours": ("fp32", "fp32"), "ours, bf16": ("bf16", "bf16")}


def measured(page: Page) -> dict[tuple[str, float, int], float]:
    """{(line, millions of parameters, workers): CPU-seconds of an update} of the update path over TCP."""
    found = {}
    for case in page.cases:
        for table in case.tables:
            if case.name == "update-path" and (match := _TITLE.match(table.title)):
                for line in table.lines:
                    if (cost := figures.median_of(line, "cpu_seconds")) is not None:
                        found[line.name, float(match[1]), int(match[2])] = cost
    return found


def check_model(page: Page) -> Case | None:
    """Predicted against measured CPU-seconds of an update; None when the page lacks the sizes to fit."""
    costs = measured(page)
    lines = []
    for name, (push, pull) in KINDS.items():
        fitted = [
            (_bytes(size, push, pull), costs[name, size, 2]) for size in FITTED if (name, size, 2) in costs
        ]
        if len(fitted) < len(FITTED):
            continue
        price = model.fit(fitted)
        for (line, size, workers), cost in costs.items():
            if line == name:
                told = _told(price.of(_bytes(size, push, pull)), cost, fitted=size in FITTED and workers == 2)
                lines.append(Line(f"{name}, {size:g}M parameters, {workers} workers", more=told))
        told = {"predicted ms": f"{price.each * 1e3:.2g} + {price.per_byte * 1e9:.2g} s/GB"}
        lines.append(Line(f"{name}, price", more=told))
    if not lines:
        return None
    about = "CPU time of an update (workers and servers together): the cost model, fitted to two sizes, and measured"
    return Case("cost-model", about, 0.0, [Table("a + b x bytes", "", lines)])


def _bytes(millions: float, push: str, pull: str) -> float:
    return sum(model.payload(round(millions * 1e6), push, pull))


def _told(predicted: float, cost: float, *, fitted: bool) -> dict[str, str]:
    return {
        "predicted ms": f"{predicted * 1e3:.3g}",
        "measured ms": f"{cost * 1e3:.3g}",
        "predicted / measured": "fitted" if fitted else f"{predicted / cost:.2f}",
    }
