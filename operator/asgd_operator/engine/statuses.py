"""Writes a job's status, or as much of it as the API server takes: a verdict is never lost for the sake of a figure.

A status that is refused is tried again without the part that the API server complains of, until it is taken. The job
says so in an event and in its condition Degraded, the operator in a metric. What was refused is not tried again before
it has changed, or some minutes have passed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from asgd_operator.errors import Conflict, Forbidden, Invalid, NotFound
from asgd_operator.kube import Kube
from asgd_operator.metrics import OperatorMetrics
from asgd_operator.plan import refused
from asgd_operator.plan.actions import Event
from asgd_operator.plan.model import Observed
from asgd_operator.plan.refused import Part, Refused

log = logging.getLogger(__name__)

Status = Mapping[str, Any]
FIGURES = frozenset({"training", "checkpoint", "term"})
"""Blocks of the status that come from shard 0."""


@dataclass
class Statuses:
    """One for all jobs. `tell` posts an event about a job."""

    kube: Kube
    metrics: OperatorMetrics
    tell: Callable[[Observed, Event], Awaitable[None]]
    _written: dict[str, tuple[int, Status]] = field(default_factory=dict)
    _figures: dict[str, int] = field(default_factory=dict)
    """By UID: the version of our last write where it changed nothing but figures."""
    _refused: dict[str, Refused] = field(default_factory=dict)

    def written(self, uid: str) -> tuple[int, Status] | None:
        """Resource version and status of our own last write to the job."""
        return self._written.get(uid)

    def only_figures(self, uid: str, version: str) -> bool:
        """Whether this version of the job is our own last write, and of nothing but figures of the training."""
        return version == str(self._figures.get(uid, 0))

    def forget(self, uid: str) -> None:
        self._written.pop(uid, None)
        self._figures.pop(uid, None)
        self._refused.pop(uid, None)

    async def write(self, o: Observed, whole: Status) -> bool:
        """Whether there is a job to tell more about. Raises OperatorError where nothing of `whole` can be written."""
        known = self._refused.get(o.uid)
        found = known if known is not None and known.stands(whole, o.now) else None
        while True:  # NB: each round leaves out more
            status = whole if found is None else refused.without(o, whole, found)
            if status == o.status:
                break
            try:
                answer = await self.kube.apply_status(o.namespace, o.name, o.uid, status)
            except (NotFound, Conflict):
                return False  # deleted meanwhile, or another job of this name: its own pass will speak
            except (Invalid, Forbidden) as error:
                found = await self._less(o, whole, found, error)
                continue
            version = int(answer["metadata"]["resourceVersion"])
            self._written[o.uid] = (version, answer.get("status", {}))
            self._figures[o.uid] = version if _only_figures(o.status, status) else 0
            break
        await self._remember(o, found)
        return True

    async def _less(
        self, o: Observed, whole: Status, found: Refused | None, error: Invalid | Forbidden
    ) -> Refused:
        """What to leave out next. Raises `error` where nothing is left to leave out."""
        known = self._refused.get(o.uid)
        if found is None and known is not None and known.recent(o.now):
            self._count(known.parts[0])
            return known.again(whole, o.now)
        status = whole if found is None else refused.without(o, whole, found)
        part = refused.next_part(status, error.fields) if isinstance(error, Invalid) else None
        self._count(part or ("all",))
        if part is None:
            log.error("the status is refused: %s", error, extra={"job": f"{o.namespace}/{o.name}"})
            await self.tell(o, refused.lost(str(error)))
            raise error
        parts = (*found.parts, part) if found else (part,)
        return refused.refused(parts, whole, found.error if found else str(error), o.now)

    async def _remember(self, o: Observed, found: Refused | None) -> None:
        known = self._refused.get(o.uid)
        if found is None:
            self._refused.pop(o.uid, None)
            return
        self._refused[o.uid] = found
        if known is None or known.parts != found.parts:
            log.error("%s", found.sentence, extra={"job": f"{o.namespace}/{o.name}"})
            await self.tell(o, found.event)

    def _count(self, part: Part) -> None:
        self.metrics.status_refused.labels(part[0]).inc()


def _only_figures(before: Status, after: Status) -> bool:
    """Whether two statuses say the same but for what shard 0 tells."""
    return all(before.get(name) == after.get(name) for name in (before.keys() | after.keys()) - FIGURES)
