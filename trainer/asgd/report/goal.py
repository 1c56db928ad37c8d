"""Which evaluation of a run is the one to ask for: the first that reached a target, or the best one. Pure.

`accuracy=0.95` means at least for what is better when higher and at most for losses, errors and perplexities;
`accuracy>=0.95` and `error<=0.1` say so themselves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from msgspec import Struct

from asgd.errors import UserError
from asgd.report.points import Point

_LOWER = re.compile(r"loss|err|perplexity|mse|mae|rmse|bits|nll", re.IGNORECASE)


class Goal(Struct, frozen=True):
    """A metric, and a bound if there is one; without one the goal is the best value."""

    name: str
    bound: float | None = None
    lower: bool = False
    """Whether less is better."""

    def __str__(self) -> str:
        return f"{self.name} {'<=' if self.lower else '>='} {self.bound:g}" if self.bound is not None else ""


def best(name: str) -> Goal:
    """The best value of a metric; which way is better, its name tells."""
    return Goal(name, None, _LOWER.search(name) is not None)


def parse(text: str) -> Goal:
    """`NAME=VALUE`, `NAME>=VALUE` or `NAME<=VALUE` of `--target`. Raises UserError."""
    found = re.fullmatch(r"\s*([^<>=]+?)\s*(<=|>=|=)\s*(\S+)\s*", text)
    try:
        bound = float(found[3]) if found else math.nan
    except ValueError:
        bound = math.nan
    if found is None or not math.isfinite(bound):
        raise UserError(
            f"--target: {text!r} must be a metric and a number, as accuracy=0.95, accuracy>=0.95 or error<=0.1"
        )
    lower = best(found[1]).lower if found[2] == "=" else found[2] == "<="
    return Goal(found[1], bound, lower)


def reached(goal: Goal, points: Iterable[Point]) -> Point | None:
    """The first evaluation that meets the bound, or the first with the best value; None when there is none."""
    found: Point | None = None
    highest = -math.inf
    for point in points:
        value = point.metrics.get(goal.name)
        if value is None or not math.isfinite(value):
            continue
        height = -value if goal.lower else value
        if goal.bound is not None:
            if height >= (-goal.bound if goal.lower else goal.bound):
                return point
        elif height > highest:
            found, highest = point, height
    return found
