"""Carries plans out: the writes of one job, its status, and its events. Every write is safe to repeat."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeVar

from asgd_operator.engine.healing import Healing
from asgd_operator.engine.statuses import Statuses
from asgd_operator.engine.together import all_of
from asgd_operator.engine.views import owned
from asgd_operator.errors import Conflict, Invalid, LeaseLost, OperatorError
from asgd_operator.kube import Kube
from asgd_operator.metrics import OperatorMetrics
from asgd_operator.plan import drift
from asgd_operator.plan.actions import (
    Action,
    Annotate,
    Apply,
    ApplyLive,
    CreateOnce,
    Delete,
    DeletePod,
    DeleteSelf,
    Event,
    ExcusePod,
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

    def __post_init__(self) -> None:
        self._statuses = Statuses(self.kube, self.metrics, self._tell)

    def written(self, uid: str) -> tuple[int, Mapping[str, Any]] | None:
        """Resource version and status of our own last write to the job."""
        return self._statuses.written(uid)

    def is_echo(self, uid: str, version: str) -> bool:
        """Whether this version of the job is our own last write, and of nothing but figures of the training: no rule
        waits for those, and a look for each would double the looks at jobs that run.
        """
        return self._statuses.only_figures(uid, version)

    def forget(self, uid: str) -> None:
        self._statuses.forget(uid)
        self.healing.forget(uid)

    async def carry_out(self, o: Observed, actions: Sequence[Action]) -> None:
        """All writes of a plan: in its order, but children of one stage at the same time."""
        for stage, same in groupby(actions, _stage):
            if stage:
                await all_of(*(self.do(o, action) for action in same))
                continue
            for action in same:
                await self.do(o, action)

    async def do(self, o: Observed, action: Action) -> None:
        """One write of a plan."""
        log.info("%s", _describe(action), extra={"job": f"{o.namespace}/{o.name}"})
        match action:
            case Apply(child, uid):
                await self._ours(self.kube.apply(child.manifest, uid=uid), uid)
            case Heal():
                await self._heal(o, action)
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
            case ExcusePod(name, uid, message):
                await self.kube.excuse_pod(o.namespace, name, uid, message)
            case Annotate():
                await self._annotate(o, action)
            case DeleteSelf():
                await self.kube.delete("AsgdJob", o.namespace, o.name, o.uid)

    async def say(self, o: Observed, planned: Plan) -> None:
        """Status first: events tell what stands written."""
        changed = planned.status is not None and planned.status != o.status
        if changed and not await self._statuses.write(o, planned.status or {}):
            return
        await all_of(*(self._tell(o, event) for event in planned.events))
        self.metrics.observe_job(o, planned)

    async def _tell(self, o: Observed, event: Event) -> None:
        await self.tell(o.namespace, o.name, o.uid, o.generation, event)

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

    async def _heal(self, o: Observed, action: Heal) -> None:
        """Tells its event at once, and only where there was something to put back."""
        seen, manifest = action.seen, drift.with_live_fields(action.child, action.seen)
        try:
            answer = await self._ours(self.kube.apply(manifest, uid=seen.uid), seen.uid)
        except Invalid:
            if seen.kind != "ConfigMap":
                raise
            # Somebody has made it immutable; the next pass makes another one.
            await self.kube.delete(seen.kind, o.namespace, seen.name, seen.uid)
            await self._tell(o, action.event)
            return
        if answer is not None and self.healing.done(o, action, owned(answer)):
            await self._tell(o, action.event)

    async def _annotate(self, o: Observed, action: Annotate) -> None:
        """NB: it makes something happen sooner that happens anyway; a role without the right must fail no pass."""
        try:
            await self.kube.annotate_pod(
                o.namespace, action.name, action.uid, {action.annotation: action.value}
            )
        except LeaseLost:
            raise
        except OperatorError as error:
            log.info("pod %s was not annotated: %s", action.name, error)

    async def _create_once(self, manifest: Mapping[str, Any]) -> None:
        try:
            await self.kube.create(manifest)
        except Conflict:
            return


def _stage(action: Action) -> str:
    """Writes of one stage do not build on each other; empty for those that stand alone."""
    match action:
        case Apply(child) | CreateOnce(child):
            return "support" if child.stage == "support" else "workload"
    return ""


def _describe(action: Action) -> str:
    target = getattr(action, "child", action)
    words = (type(action).__name__, getattr(target, "kind", ""), getattr(target, "name", ""))
    return " ".join(word for word in words if word)
