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
    "asgd": "asgd.algorithms.asgd:STRATEGY",
    "async-diloco": "asgd.algorithms.asyncdiloco:STRATEGY",
    "dc-asgd": "asgd.algorithms.dcasgd:STRATEGY",
    "diloco": "asgd.algorithms.diloco:DILOCO",
    "downpour": "asgd.algorithms.downpour:STRATEGY",
    "eamsgd": "asgd.algorithms.easgd:EAMSGD",
    "easgd": "asgd.algorithms.easgd:EASGD",
    "elastic": "asgd.algorithms.parle:ELASTIC",
    "entropy": "asgd.algorithms.parle:ENTROPY",
    "fasgd": "asgd.algorithms.fasgd:STRATEGY",
    "geometric-median": "asgd.algorithms.robust:GEOMETRIC_MEDIAN",
    "krum": "asgd.algorithms.robust:KRUM",
    "local-sgd": "asgd.algorithms.diloco:LOCAL_SGD",
    "median": "asgd.algorithms.robust:MEDIAN",
    "parle": "asgd.algorithms.parle:PARLE",
    "safeguard": "asgd.algorithms.safeguard:STRATEGY",
    "ssp": "asgd.algorithms.ssp:STRATEGY",
    "staleness-aware": "asgd.algorithms.staleness:STRATEGY",
    "streaming-diloco": "asgd.algorithms.streaming:STRATEGY",
    "sync": "asgd.algorithms.sync:STRATEGY",
    "zeno": "asgd.algorithms.zeno:STRATEGY",
}


def names() -> list[str]:
    """Our own strategies."""
    return sorted(_OURS)


def strategy(name: str) -> Strategy:
    """The strategy called `name`. Raises UserError with the known names."""
    if name in _OURS:
        module, _, attribute = _OURS[name].partition(":")
        found: Strategy = getattr(import_module(module), attribute)
        return found
    for point in entry_points(group="asgd.algorithms", name=name):
        loaded: Strategy = point.load()
        return loaded
    known = sorted({*_OURS, *(point.name for point in entry_points(group="asgd.algorithms"))})
    raise UserError(f"spec.algorithm.name: {name!r} is not a strategy; allowed: {', '.join(known)}")
