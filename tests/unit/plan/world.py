"""A cluster in small: what the StatefulSet, Job and node controllers would do to a job's children.

It carries out plans and moves one step of one controller at a time, so that a test can interleave them with edits,
faults and crashes of the operator in any order.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import timedelta

from asgd.spec.status import Status
from asgd_operator.constants import Role
from asgd_operator.plan.actions import (
    Action,
    Apply,
    ApplyLive,
    CreateOnce,
    Delete,
    DeletePod,
    DeleteSelf,
    ExcusePod,
    FailPod,
    Plan,
)
from asgd_operator.plan.model import BatchJob, Child, Node, Pod, ServerSet, Wanted
from tests.unit.plan.builders import START, Scene, make_job, pod


@dataclass
class World:
    scene: Scene = field(default_factory=lambda: make_job().seeing(nodes={"node-1": Node(True, START)}))
    gone: bool = False
    updates: int = 0
    stop_reason: str = ""
    uids: itertools.count[int] = field(default_factory=itertools.count)

    # The operator.
    def look(self) -> Plan:
        return self.scene.plan()

    def act(self, found: Plan, upto: int | None = None) -> None:
        """Carry out a plan, or only its first `upto` writes as an operator does that dies."""
        for action in found.actions[:upto]:
            self._do(action)
        if upto is None and found.status is not None:
            self.scene = self.scene.seeing(status=found.status)

    def _do(self, action: Action) -> None:
        match action:
            case Apply(child) | CreateOnce(child):
                self._apply(child)
            case ApplyLive("StatefulSet", _, _, spec):
                self._set(servers=replace(self.servers, replicas=spec["replicas"]) if self.servers else None)
            case ApplyLive("Job", _, _, spec):
                size = {"parallelism": spec["parallelism"], "completions": spec["completions"]}
                self._set(
                    workers=replace(self.workers, **size, suspended=spec["suspend"]) if self.workers else None
                )
            case Delete(kind, name, uid):
                self._delete(kind, name, uid)
            case DeletePod(name, uid, force):
                self._delete_pod(name, uid, force)
            case FailPod(name, uid, _):
                self._fail_pod(name, uid)
            case ExcusePod(name, uid, _):
                self._excuse_pod(name, uid)
            case DeleteSelf():
                self.gone = True

    def _apply(self, wanted: Wanted) -> None:
        spec = wanted.manifest.get("spec", {})
        common = {"name": wanted.name, "uid": self._uid(), "spec_hash": wanted.spec_hash}
        if wanted.stage == "server":
            self.servers is None and self._set(servers=ServerSet(**common, replicas=spec["replicas"]))
        elif wanted.stage == "worker":
            size = {"parallelism": spec["parallelism"], "completions": spec["completions"]}
            self.workers is None and self._set(workers=BatchJob(**common, **size, suspended=spec["suspend"]))
        elif wanted.stage == "evaluator":
            self.scene.seen.evaluator is None and self._set(evaluator=BatchJob(**common, active=1))
        elif not wanted.once:
            rest = tuple(c for c in self.scene.seen.others if (c.kind, c.name) != (wanted.kind, wanted.name))
            made = Child(kind=wanted.kind, **common, rendered_hash=wanted.rendered_hash)
            self._set(others=(*rest, made))

    def _delete(self, kind: str, name: str, uid: str) -> None:
        for slot in ("servers", "workers", "evaluator"):
            child = getattr(self.scene.seen, slot)
            if child is not None and (child.kind, child.name, child.uid) == (kind, name, uid):
                self._set(**{slot: replace(child, deleting=True)})
        self._set(others=tuple(c for c in self.scene.seen.others if c.uid != uid))

    def _delete_pod(self, name: str, uid: str, force: bool) -> None:
        for item in self.pods:
            if (item.name, item.uid) == (name, uid):
                # A Job's finalizer holds a pod until its phase is final.
                free = item.role == Role.SERVER or item.over
                self._remove(item) if force and free else self._replace(item, deletion=self.scene.seen.now)

    def _fail_pod(self, name: str, uid: str) -> None:
        for item in self.pods:
            if (item.name, item.uid) == (name, uid):
                self._replace(item, phase="Failed", disrupted=True)

    def _excuse_pod(self, name: str, uid: str) -> None:
        for item in self.pods:
            if (item.name, item.uid) == (name, uid):
                self._replace(item, disrupted=True)

    # The controllers; each answers whether it changed anything.
    def controllers(self) -> bool:
        return any([self.kubelet(), self.statefulset(), self.jobs(), self.collect()])

    def statefulset(self) -> bool:
        if self.servers is None:
            return False
        mine = [item for item in self.pods if item.role == Role.SERVER]
        wanted = 0 if self.servers.deleting else self.servers.replicas
        changed = self._fill(Role.SERVER, mine, wanted)
        ready = sum(item.ready and item.deletion is None for item in mine)
        if ready != self.servers.ready:
            self._set(servers=replace(self.servers, ready=ready))
            changed = True
        return changed

    def jobs(self) -> bool:
        job = self.workers
        if job is None:
            return False
        mine = [item for item in self.pods if item.role == Role.WORKER]
        off = job.deleting or job.suspended or job.finished
        changed = self._fill(Role.WORKER, mine, 0 if off else job.parallelism)
        running = [item for item in mine if not item.over and item.deletion is None]
        counts = {"active": len(running), "ready": sum(item.ready for item in running)}
        if self.stop_reason and running and not off:
            self._set(workers=replace(job, complete=True, active=0, ready=0, succeeded=job.completions))
            return True
        if counts != {"active": job.active, "ready": job.ready}:
            self._set(workers=replace(job, **counts))
            changed = True
        return changed

    def kubelet(self) -> bool:
        """Starts and ends pods on nodes that live."""
        for item in self.pods:
            lives = self.scene.seen.nodes is None or self.scene.seen.nodes[item.node].ready
            if lives and item.deletion is not None:
                self._remove(item)
                return True
            if lives and not item.ready and not item.over:
                self._replace(item, ready=True)
                return True
        return False

    def collect(self) -> bool:
        """The garbage collector: deleted workloads go with their last pod."""
        for slot, role in (("servers", Role.SERVER), ("workers", Role.WORKER), ("evaluator", Role.EVALUATOR)):
            child = getattr(self.scene.seen, slot)
            if child is not None and child.deleting and not any(item.role == role for item in self.pods):
                self._set(**{slot: None})
                return True
        return False

    def serve(self) -> None:
        """Shard 0 answers when it is ready."""
        zero = [item for item in self.pods if item.role == Role.SERVER and item.index == 0 and item.ready]
        phase = "finished" if self.stop_reason else "running"
        report = Status(
            job="x", algorithm="asgd", phase=phase, updates=self.updates, stop_reason=self.stop_reason
        )
        self._set(report=report if zero else None)

    def pass_time(self, seconds: float) -> None:
        self.scene = self.scene.after(seconds)

    # Parts.
    @property
    def servers(self) -> ServerSet | None:
        return self.scene.seen.servers

    @property
    def workers(self) -> BatchJob | None:
        return self.scene.seen.workers

    @property
    def pods(self) -> tuple[Pod, ...]:
        return self.scene.seen.pods

    def _fill(self, role: Role, mine: list[Pod], wanted: int) -> bool:
        for item in mine:
            if item.index >= wanted and item.deletion is None and not item.over:
                self._replace(item, deletion=self.scene.seen.now + timedelta(seconds=30))
                return True
        missing = sorted(set(range(wanted)) - {item.index for item in mine if not item.over})
        if not missing:
            return False
        made = pod(role, missing[0], uid=self._uid(), created=self.scene.seen.now)
        self._set(pods=(*self.pods, made))
        return True

    def _replace(self, item: Pod, **fields: object) -> None:
        self._set(pods=tuple(replace(p, **fields) if p is item else p for p in self.pods))  # type: ignore[arg-type]  # fields of Pod

    def _remove(self, item: Pod) -> None:
        self._set(pods=tuple(p for p in self.pods if p is not item))

    def _set(self, **fields: object) -> None:
        self.scene = self.scene.seeing(**fields)

    def _uid(self) -> str:
        return f"uid-{next(self.uids)}"
