"""Carries plans out: the writes of one job, its status, and its events. Every write is safe to repeat."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from asgd_operator.engine.healing import Healing
from asgd_operator.engine.views import owned
from asgd_operator.errors import Conflict, Invalid, NotFound, OperatorError
from asgd_operator.kube import Kube
from asgd_operator.metrics import OperatorMetrics
from asgd_operator.plan import drift
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
    Heal,
    Plan,
)
from asgd_operator.plan.model import Observed

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Writer:
    """One for all jobs. Its methods raise OperatorError for what the API server refuses."""

    kube: Kube
    metrics: OperatorMetrics
    healing: Healing = field(default_factory=Healing)
    _written: dict[str, tuple[int, Mapping[str, Any]]] = field(default_factory=dict)

    def written(self, uid: str) -> tuple[int, Mapping[str, Any]] | None:
        """Resource version and status of our own last write to the job."""
        return self._written.get(uid)

    def forget(self, uid: str) -> None:
        self._written.pop(uid, None)
        self.healing.forget(uid)

    async def do(self, o: Observed, action: Action) -> Event | None:
        """One write of a plan; answers with what it turned out to be worth telling."""
        log.info("%s", _describe(action), extra={"job": f"{o.namespace}/{o.name}"})
        match action:
            case Apply(child, uid):
                await self._ours(self.kube.apply(child.manifest, uid=uid), uid)
            case Heal():
                return await self._heal(o, action)
            case CreateOnce(child):
                await self._create_once(child.manifest)
            case ApplyLive(kind, name, uid, spec):
                await self._ours(self.kube.apply_live(kind, o.namespace, name, uid, spec), uid)
            case Delete(kind, name, uid):
                await self.kube.delete(kind, o.namespace, name, uid)
            case DeletePod(name, uid, force):
                await self.kube.delete("Pod", o.namespace, name, uid, force=force)
            case FailPod(name, uid, message):
                await self.kube.fail_pod(o.namespace, name, uid, message)
            case DeleteSelf():
                await self.kube.delete("AsgdJob", o.namespace, o.name, o.uid)
        return None

    async def say(self, o: Observed, planned: Plan) -> None:
        """Status first: events tell what stands written."""
        if planned.status is not None and planned.status != o.status:
            try:
                answer = await self.kube.apply_status(o.namespace, o.name, o.uid, planned.status)
            except (NotFound, Conflict):
                return  # deleted meanwhile, or another job of this name: its own pass will speak
            self._written[o.uid] = (int(answer["metadata"]["resourceVersion"]), answer.get("status", {}))
        for event in planned.events:
            await self.tell(o.namespace, o.name, o.uid, o.generation, event)
        self.metrics.observe_job(o, planned)

    async def tell(self, namespace: str, name: str, uid: str, generation: int, event: Event) -> None:
        """Posts an event; one that cannot be posted is logged, for no job waits for it."""
        metadata = {"name": name, "namespace": namespace, "uid": uid, "generation": generation}
        try:
            await self.kube.event(metadata, event)
        except OperatorError as error:
            log.warning("event %s was not posted: %s", event.reason, error)

    async def _ours(self, request: Awaitable[T], uid: str) -> T | None:
        """NB: where an object with a UID is meant, a conflict is another one under its name: ours is gone."""
        try:
            return await request
        except Conflict:
            if not uid:
                raise
            return None

    async def _heal(self, o: Observed, action: Heal) -> Event | None:
        seen, manifest = action.seen, drift.with_live_fields(action.child, action.seen)
        try:
            answer = await self._ours(self.kube.apply(manifest, uid=seen.uid), seen.uid)
        except Invalid:
            if seen.kind != "ConfigMap":
                raise
            # Somebody has made it immutable; the next pass makes another one.
            await self.kube.delete(seen.kind, o.namespace, seen.name, seen.uid)
            return action.event
        if answer is None or not self.healing.done(o, action, owned(answer)):
            return None
        return action.event

    async def _create_once(self, manifest: Mapping[str, Any]) -> None:
        try:
            await self.kube.create(manifest)
        except Conflict:
            return


def _describe(action: Action) -> str:
    target = getattr(action, "child", action)
    words = (type(action).__name__, getattr(target, "kind", ""), getattr(target, "name", ""))
    return " ".join(word for word in words if word)
