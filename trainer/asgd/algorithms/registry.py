"""Strategies by the name that stands in `spec.algorithm.name`.

Our own are named here; anybody's package adds one by an entry point of the group `asgd.algorithms` whose value is an
`asgd.algorithms.base.Strategy`. Each is imported only when a job asks for it.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from asgd.algorithms.base import Strategy
from asgd.errors import UserError

_OURS = {
    "asgd": "asgd.algorithms.asgd",
    "dc-asgd": "asgd.algorithms.dcasgd",
    "downpour": "asgd.algorithms.downpour",
    "fasgd": "asgd.algorithms.fasgd",
    "ssp": "asgd.algorithms.ssp",
    "staleness-aware": "asgd.algorithms.staleness",
    "sync": "asgd.algorithms.sync",
}


def strategy(name: str) -> Strategy:
    """The strategy called `name`. Raises UserError with the known names."""
    if name in _OURS:
        found: Strategy = import_module(_OURS[name]).STRATEGY
        return found
    for point in entry_points(group="asgd.algorithms", name=name):
        loaded: Strategy = point.load()
        return loaded
    known = sorted({*_OURS, *(point.name for point in entry_points(group="asgd.algorithms"))})
    raise UserError(f"spec.algorithm.name: {name!r} is not a strategy; allowed: {', '.join(known)}")
