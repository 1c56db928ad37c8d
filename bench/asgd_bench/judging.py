"""How a goal is judged: by a median, of ratios within a round, of a figure, or of the distance between two medians."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from asgd_bench import figures, tables
from asgd_bench.results import Line, Page, Sample, Table


@dataclass(frozen=True, slots=True)
class Goal:
    """`ours` of a table against `bound`: as it is, or as a ratio to `theirs`, so that more is better there too."""

    case: str
    table: str
    ours: str
    bound: float
    theirs: str = ""
    """Empty: what counts is the figure itself, in the table's unit."""
    beside: str = ""
    """The table of `theirs`, if it is another."""
    times: float = 1.0
    """The ratio is to so many times `theirs`."""
    points: bool = False
    """Not their ratio but median of `ours` - median of `theirs`."""
    most: bool = False
    """Whether `bound` is an upper one."""


Found = Mapping[tuple[str, str], Table]
"""{(case, title): table}"""


def find(page: Page) -> Found:
    """The tables of a page."""
    return {(case.name, table.title): table for case in page.cases for table in case.tables}


def judge(goal: Goal, found: Found) -> Line | None:
    """A line with the figures of the rounds, the goal, and whether it is met; None when the page does not tell."""
    measured = _figures(goal, found)
    if not measured:
        return None
    median = statistics.median(measured)
    met = median <= goal.bound if goal.most else median >= goal.bound
    told = {
        "goal": f"{'<=' if goal.most else '>='} {tables.number(goal.bound)}",
        "": "met" if met else "not met",
    }
    return Line(_name(goal, found), [Sample(value) for value in measured], more=told)


def _figures(goal: Goal, found: Found) -> list[float]:
    table = found.get((goal.case, goal.table))
    ours = _line(table, goal.ours)
    if table is None or ours is None:
        return []
    if not goal.theirs:
        return figures.values(ours)
    theirs = _line(found.get((goal.case, goal.beside or goal.table)), goal.theirs)
    if theirs is None:
        return []
    if goal.points:
        both = figures.values(ours), figures.values(theirs)
        return [statistics.median(both[0]) - statistics.median(both[1])] if all(both) else []
    ratios = figures.ratios(ours, theirs, less_is_better=table.less_is_better)
    return [ratio / goal.times for ratio in ratios]


def _line(table: Table | None, name: str) -> Line | None:
    return next((line for line in table.lines if line.name == name), None) if table else None


def _name(goal: Goal, found: Found) -> str:
    if not goal.theirs:
        return f"{goal.table}: {goal.ours}, {found[goal.case, goal.table].unit}"
    sign = "-" if goal.points else "/" if goal.times == 1 else f"/ {goal.times:g} x"
    return f"{goal.table}: {goal.ours} {sign} {goal.theirs}" + (f" ({goal.beside})" if goal.beside else "")
