"""Strategies by the name that stands in `spec.algorithm.name`.

Our own are named here; anybody's package adds one by an entry point of the group `asgd.algorithms` whose value is an
`asgd.algorithms.base.Strategy`, and jobs name it `PACKAGE/NAME`. Each is imported only when a job asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from asgd.algorithms.base import ServerStrategy, Strategy, WorkerStrategy
from asgd.algorithms.models import ServerOfModels, WorkerOfModels
from asgd.errors import UserError
from asgd.spec.models import JobOfModels, named_together
from asgd.spec.types import JobSpec

GROUP = "asgd.algorithms"
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
    "lsgd": "asgd.algorithms.lsgd:STRATEGY",
    "median": "asgd.algorithms.robust:MEDIAN",
    "neuroevolution": "asgd.algorithms.neuroevolution:STRATEGY",
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
    """The strategy called `name`. Raises UserError with the known names, or when a package's is none."""
    if name in _OURS:
        module, _, attribute = _OURS[name].partition(":")
        found: Strategy = getattr(import_module(module), attribute)
        return found
    points = {_full(point): point for point in entry_points(group=GROUP)}
    point = points.get(_plain(name))
    if point is None:
        known = ", ".join([*names(), *sorted(points)])
        raise UserError(f"spec.algorithm.name: {name!r} is not installed here; allowed: {known}")
    try:
        loaded = point.load()
    except Exception as error:
        # Whatever another package raises while it is imported is its own to mend; the sentence says where.
        raise UserError(f"spec.algorithm.name: {name}: loading {point.value} failed: {error!r}") from error
    if not isinstance(loaded, Strategy):
        kind = type(loaded).__name__
        raise UserError(
            f"spec.algorithm.name: {name}: {point.value} is {kind}, not asgd.algorithms.base.Strategy"
        )
    return loaded


@dataclass(frozen=True, slots=True)
class Halves:
    """A job's strategy with its spec: makes the half that a process runs."""

    strategy: Strategy
    spec: JobSpec

    def server(self) -> ServerStrategy:
        """The half of one shard. Raises UserError where the job has several models, and it trains one."""
        if isinstance(self.spec, JobOfModels):
            refuse_models(self.spec, self.spec.names)
            return ServerOfModels(self.spec, self.strategy)
        return self.strategy.server(self.spec)

    def worker(self) -> WorkerStrategy:
        """The half of one worker. Raises as `server` does."""
        if isinstance(self.spec, JobOfModels):
            refuse_models(self.spec, self.spec.names)
            return WorkerOfModels(self.spec, self.strategy)
        return self.strategy.worker(self.spec)

    @property
    def pulls_wait(self) -> bool:
        """Whether servers may hold pulls back, so that workers pull by a message of their own."""
        return self.server().pulls_wait


def halves(spec: JobSpec) -> Halves:
    """The two halves of the strategy that the job names. Raises UserError as `strategy` does."""
    name = str(spec.algorithm["name"])
    found = strategy(name)
    if spec.optimizer.groups and name not in _OURS and not found.groups:
        raise UserError(
            f"spec.optimizer.groups: {name} does not say that it goes by them (Strategy.groups); allowed: none"
        )
    return Halves(found, spec)


def refuse_models(spec: JobSpec, names: Sequence[str]) -> None:
    """Raises UserError where the job's strategy can't train several models, called `names`, by steps of their own."""
    name = str(spec.algorithm["name"])
    found = strategy(name)
    if found.server(spec).whole:
        field = "optimizer" if spec.outer_optimizer is None else "outerOptimizer"
        rule = (spec.outer_optimizer or spec.optimizer).name
        raise UserError(
            f"spec.{field}.name: {rule} steps on the servers by the whole model, and the script connects"
            f" {named_together(names)}, each with steps of its own; allowed: another rule, or algorithm.mode: delta"
            " without an outerOptimizer of that name"
        )
    if not found.models or found.server(spec).rounds:
        allowed = ", ".join(known for known in sorted(_OURS) if strategy(known).models)
        raise UserError(
            f"spec.algorithm.name: {name} trains one model a job, and the script connects {named_together(names)}, each"
            f" with steps of its own; allowed: {allowed} (none of them synchronous)"
        )


def _full(point: EntryPoint) -> str:
    """`PACKAGE/NAME`: two packages may call theirs alike."""
    return _plain(f"{point.dist.name if point.dist else ''}/{point.name}")


def _plain(name: str) -> str:
    """With the package's part as the package index compares names: lower case, one dash for -, _ and dots."""
    package, slash, own = name.partition("/")
    return re.sub(r"[-_.]+", "-", package).lower() + slash + own
