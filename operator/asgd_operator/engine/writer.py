"""Carries plans out: the writes of one job, its status, and its events. Every write is safe to repeat."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from asgd_operator.engine.together import all_of
from asgd_operator.errors import Conflict, NotFound, OperatorError
from asgd_operator.kube import Kube
from asgd_operator.metrics import OperatorMetrics
from asgd_operator.plan.actions import (
    Action,
    Apply,
    ApplyLive,
    CreateOnce,
    Delete,
    DeletePod,
    DeleteSelf,
    Event,
    ExcusePod,
    FailPod,
    Plan,
)
from asgd_operator.plan.model import Observed

log = logging.getLogger(__name__)

FIGURES = frozenset({"training", "checkpoint", "term"})
"""Blocks of the status that come from shard 0."""


@dataclass
class Writer:
    """One for all jobs. Its methods raise OperatorError for what the API server refuses."""

    kube: Kube
    metrics: OperatorMetrics
    _written: dict[str, tuple[int, Mapping[str, Any]]] = field(default_factory=dict)
    _figures: dict[str, int] = field(default_factory=dict)
    """By UID: the version of our last write where it changed nothing but figures."""

    def written(self, uid: str) -> tuple[int, Mapping[str, Any]] | None:
        """Resource version and status of our own last write to the job."""
        return self._written.get(uid)

    def is_echo(self, uid: str, version: str) -> bool:
        """Whether this version of the job is our own last write, and of nothing but figures of the training: no rule
        waits for those, and a look for each would double the looks at jobs that run.
        """
        return version == str(self._figures.get(uid, 0))

    def forget(self, uid: str) -> None:
        self._written.pop(uid, None)
        self._figures.pop(uid, None)

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
            case ExcusePod(name, uid, message):
                await self.kube.excuse_pod(o.namespace, name, uid, message)
            case DeleteSelf():
                await self.kube.delete("AsgdJob", o.namespace, o.name, o.uid)

    async def say(self, o: Observed, planned: Plan) -> None:
        """Status first: events tell what stands written."""
        if planned.status is not None and planned.status != o.status:
            try:
                answer = await self.kube.apply_status(o.namespace, o.name, o.uid, planned.status)
            except (NotFound, Conflict):
                return  # deleted meanwhile, or another job of this name: its own pass will speak
            version = int(answer["metadata"]["resourceVersion"])
            self._written[o.uid] = (version, answer.get("status", {}))
            self._figures[o.uid] = version if _only_figures(o.status, planned.status) else 0
        await all_of(*(self.tell(o.namespace, o.name, o.uid, o.generation, e) for e in planned.events))
        self.metrics.observe_job(o, planned)

    async def tell(self, namespace: str, name: str, uid: str, generation: int, event: Event) -> None:
        """Posts an event; one that cannot be posted is logged, for no job waits for it."""
        metadata = {"name": name, "namespace": namespace, "uid": uid, "generation": generation}
        try:
            await self.kube.event(metadata, event)
        except OperatorError as error:
            log.warning("event %s was not posted: %s", event.reason, error)

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


def _only_figures(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether two statuses say the same but for what shard 0 tells."""
    return all(before.get(name) == after.get(name) for name in (before.keys() | after.keys()) - FIGURES)


def _describe(action: Action) -> str:
    target = getattr(action, "child", action)
    words = (type(action).__name__, getattr(target, "kind", ""), getattr(target, "name", ""))
    return " ".join(word for word in words if word)
