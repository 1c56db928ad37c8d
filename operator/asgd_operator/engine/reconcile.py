"""One pass over one job: observe, plan, carry out, say. Level-based: it never asks which event brought it
here.

Every write is safe to repeat, and a pass that finds all as it should be makes none. When a write fails the
status is written all the same, and the queue tries again later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from asgd.errors import UserError
from asgd.spec import Job, job_from_json
from asgd_operator import curve
from asgd_operator.constants import MANAGED_BY, EventReason
from asgd_operator.engine import accept
from asgd_operator.engine.observe import Indices, observe, with_newer_status
from asgd_operator.engine.reports import Reports
from asgd_operator.engine.views import JobSeen
from asgd_operator.engine.wanted import wanted
from asgd_operator.errors import Conflict, Forbidden, Invalid, NotFound, OperatorError
from asgd_operator.kube import Kube
from asgd_operator.metrics import OperatorMetrics
from asgd_operator.plan import plan
from asgd_operator.plan.actions import (
    Action,
    Apply,
    ApplyLive,
    CreateOnce,
    Delete,
    DeletePod,
    DeleteSelf,
    Event,
    FailPod,
    Plan,
)
from asgd_operator.plan.model import Observed, Problem
from asgd_operator.render import Owner, Settings, children

log = logging.getLogger(__name__)


@dataclass
class Reconciler:
    """`__call__` is the queue's work on a key `namespace/name`."""

    kube: Kube
    indices: Indices
    settings: Settings
    reports: Reports
    metrics: OperatorMetrics
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _written: dict[str, tuple[int, Mapping[str, Any]]] = field(default_factory=dict)
    """By UID: the resource version and the status of our own last write."""
    _uids: dict[str, str] = field(default_factory=dict)

    async def __call__(self, key: str) -> float | None:
        """Seconds until the next look, or None. Raises OperatorError to be tried again."""
        seen = self.indices.job(key)
        if seen is None or self._uids.get(key, seen.uid) != seen.uid:
            self._forget(key)
        if seen is None or seen.spec.get("managedBy", MANAGED_BY) != MANAGED_BY:
            return None
        self._uids[key] = seen.uid
        found = await self._observe(with_newer_status(seen, self._written.get(seen.uid)))
        planned = plan(found)
        try:
            for action in planned.actions:
                await self._do(found, action)
        except (Invalid, Forbidden) as error:
            # No retry mends these by itself, so the user is told; a broken connection is nobody's business.
            told = Event(EventReason.APPLY_FAILED, str(error), warning=True)
            planned = replace(planned, events=(*planned.events, told))
            raise
        finally:
            await self._say(found, planned)
        return planned.requeue_after

    async def _observe(self, seen: JobSeen) -> Observed:
        found = observe(self.indices, seen, self.now())
        job, problem = _read(seen)
        if job is None or found.deleting:
            return replace(found, spec=job.spec if job else None, problem=problem)
        found = replace(found, spec=job.spec)
        if found.finished:
            return found
        found, problem = self._rendered(found, job)
        if problem is None and not accept.accepted(found):
            problem = await accept.problem(self.kube, found)
        # NB: also on the way to a suspension, for what shard 0 says last is where the job goes on.
        asked = found.servers is not None and found.servers.replicas > 0
        return replace(found, problem=problem, report=await self.reports.of(found) if asked else None)

    def _rendered(self, found: Observed, job: Job) -> tuple[Observed, Problem | None]:
        keys = curve.generate() if found.servers is None else None
        owner = Owner(found.uid, found.name, found.namespace)
        try:
            return replace(found, wanted=wanted(children(job, owner, self.settings, keys))), None
        except UserError as error:
            return found, Problem("InvalidSpec", str(error))

    async def _do(self, o: Observed, action: Action) -> None:
        log.info("%s", _describe(action), extra={"job": f"{o.namespace}/{o.name}"})
        match action:
            case Apply(child):
                await self.kube.apply(child.manifest)
            case CreateOnce(child):
                await self._create_once(child.manifest)
            case ApplyLive(kind, name, spec):
                await self.kube.apply_live(kind, o.namespace, name, spec)
            case Delete(kind, name, uid):
                await self.kube.delete(kind, o.namespace, name, uid)
            case DeletePod(name, uid, force):
                await self.kube.delete("Pod", o.namespace, name, uid, force=force)
            case FailPod(name, uid, message):
                await self.kube.fail_pod(o.namespace, name, uid, message)
            case DeleteSelf():
                await self.kube.delete("AsgdJob", o.namespace, o.name, o.uid)

    async def _create_once(self, manifest: Mapping[str, Any]) -> None:
        try:
            await self.kube.create(manifest)
        except Conflict:
            return

    async def _say(self, o: Observed, planned: Plan) -> None:
        """Status first: events tell what stands written."""
        if planned.status is None:
            return
        if planned.status != o.status:
            try:
                answer = await self.kube.apply_status(o.namespace, o.name, o.uid, planned.status)
            except (NotFound, Conflict):
                return  # deleted meanwhile, or another job of this name: its own pass will speak
            self._written[o.uid] = (int(answer["metadata"]["resourceVersion"]), answer.get("status", {}))
        for event in planned.events:
            try:
                metadata = {
                    "name": o.name,
                    "namespace": o.namespace,
                    "uid": o.uid,
                    "generation": o.generation,
                }
                await self.kube.event(metadata, event)
            except OperatorError as error:
                log.warning("event %s was not posted: %s", event.reason, error)
        self.metrics.observe_job(o, planned)

    def _forget(self, key: str) -> None:
        uid = self._uids.pop(key, "")
        self._written.pop(uid, None)
        self.reports.forget(uid)
        self.metrics.forget_job(*key.split("/", 1))


def _read(seen: JobSeen) -> tuple[Job | None, Problem | None]:
    try:
        return job_from_json(msgspec.json.encode(seen.document)), None
    except UserError as error:
        return None, Problem("InvalidSpec", str(error))


def _describe(action: Action) -> str:
    target = getattr(action, "child", action)
    words = (type(action).__name__, getattr(target, "kind", ""), getattr(target, "name", ""))
    return " ".join(word for word in words if word)
