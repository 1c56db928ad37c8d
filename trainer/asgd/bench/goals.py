"""The goals that this project has set itself, as ratios within one run, checked against whatever a page holds of them.

A goal compares two lines of a table round by round and takes the median. A page without those lines says nothing of it.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from asgd.bench import figures
from asgd.bench.results import Case, Line, Page, Sample, Table


@dataclass(frozen=True, slots=True)
class Goal:
    """`ours` over `theirs` in table `table` of case `case`, at least `least`. Times count the other way round."""

    case: str
    table: str
    ours: str
    theirs: str
    least: float


_TCP = "TCP, 10M parameters, {} workers"
_HOST = "same host, 10M parameters, 2 workers"
_SLOW = "1 Gbit/s, 10M parameters, 2 workers"
_MEASURED = "update-path"
GOALS = [
    *(Goal(_MEASURED, _TCP.format(w), "ours", "bare TCP sockets (limit)", 0.9) for w in (2, 4)),
    *(Goal(_MEASURED, _TCP.format(w), "ours", "torch RPC, TCP", 1.4) for w in (2, 4)),
    *(Goal(_MEASURED, _TCP.format(w), "ours", "MXNet kvstore (ps-lite)", 2.5) for w in (2, 4)),
    Goal(_MEASURED, _TCP.format(2), "ours", "Ray actor", 5.0),
    Goal(_MEASURED, _TCP.format(4), "ours", "Ray actor", 3.7),
    *(Goal(_MEASURED, _TCP.format(w), "ours", "torchft pattern (gloo pairs)", 0.85) for w in (2, 4)),
    Goal(_MEASURED, _TCP.format(2), "ours, bf16", "torch RPC, TCP", 1.6),
    Goal(_MEASURED, _TCP.format(2), "ours, encrypted", "ours", 0.6),
    Goal(_MEASURED, _HOST, "ours", "torch RPC, shared memory", 3.0),
    Goal(_MEASURED, _HOST, "ours, read in place", "torch RPC, shared memory", 7.0),
    Goal(_MEASURED, _HOST, "ours, read in place", "Hogwild (may lose updates)", 0.9),
    Goal("small-messages", "TCP, 5,000 parameters, 2 workers", "ours", "torch RPC, TCP", 3.0),
    Goal("slow-link", _SLOW, "ours, int8+EF both ways", "ours", 3.8),
    Goal("slow-link", _SLOW, "ours, top 1 %+EF, pull top 5 %", "ours", 15.0),
    Goal("stragglers", "all equal, speed", "ours", "DDP (gloo)", 1.3),
    Goal("stragglers", "one worker 5x slower, speed", "ours", "DDP (gloo)", 3.5),
    Goal("stragglers", "all equal, to 95 % accuracy", "ours", "DDP (gloo)", 1.15),
    Goal("stragglers", "one worker 5x slower, to 95 % accuracy", "ours", "DDP (gloo)", 3.0),
    Goal(
        "checkpoint",
        "a checkpoint, 50M parameters, same host, 1 worker",
        "in the 3 s from its order",
        "before",
        0.9,
    ),
    Goal("exporter", "TCP, 1M parameters, 2 workers", "on, scraped every 0.1 s", "off", 0.99),
]


def ratio(goal: Goal, page: Page) -> list[float]:
    """How many times better `goal.ours` is in each round; empty when the page does not tell."""
    for case in page.cases:
        for table in case.tables:
            if case.name == goal.case and table.title == goal.table:
                lines = {line.name: line for line in table.lines}
                if goal.ours in lines and goal.theirs in lines:
                    return figures.ratios(
                        lines[goal.ours], lines[goal.theirs], less_is_better=table.less_is_better
                    )
    return []


def check(page: Page) -> Case | None:
    """A case of its own with a line for each goal that the page tells of; None when it tells of none."""
    lines = []
    for goal in GOALS:
        if found := ratio(goal, page):
            met = "met" if statistics.median(found) >= goal.least else "not met"
            told = {"goal": f"{goal.least:g}x", "": met}
            name = f"{goal.table}: {goal.ours} / {goal.theirs}"
            lines.append(Line(name, [Sample(value) for value in found], more=told))
    if not lines:
        return None
    about = "the goals of the project that this page tells of, ratios within a round"
    return Case("goals", about, 0.0, [Table("median [min..max]", "ratio", lines)])
