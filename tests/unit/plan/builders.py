"""Builders for plans under test: a job in words, with children made by the real renderer.

    make_job("x").workers(4).running().with_report(updates=10).plan()

Every method answers with a changed copy, so a test reads as the sentence that it proves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from asgd.spec import Job, job_from_json
from asgd.spec.status import Status
from asgd_operator.constants import Condition, Role
from asgd_operator.engine.wanted import wanted
from asgd_operator.plan import autoscale, plan
from asgd_operator.plan.actions import Action, Plan
from asgd_operator.plan.model import BatchJob, Child, Node, Observed, Pod, Problem, ServerSet, Wanted
from asgd_operator.render import Keys, Owner, Settings, children

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
SETTINGS = Settings(server_image="operator:1", trainer_image="trainer:1")
NOT_BOOKED = {"apiVersion", "kind", "namespace", "uid", "resourceVersion", "managedFields"}
KEYS = Keys("a" * 40, "b" * 40, "c" * 40, "d" * 40, "e" * 24)


def merged(into: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(into)
    for key, value in more.items():
        both[key] = merged(both.get(key, {}), value) if isinstance(value, Mapping) else value
    return both


@dataclass(frozen=True)
class Scene:
    """A job and its surroundings. `observed()` is what the plan is asked with."""

    name: str
    spec: Mapping[str, Any]
    seen: Observed
    shown: Mapping[str, Any] = field(default_factory=dict)

    # The job.
    def having(self, **spec: Any) -> Scene:
        return replace(self, spec=merged(self.spec, spec))

    def workers(self, replicas: int, minimum: int = 1) -> Scene:
        return self.having(workers={"replicas": replicas, "minReplicas": minimum})

    def shards(self, count: int) -> Scene:
        return self.having(parameterServer={"shards": count})

    def suspended(self, value: bool = True) -> Scene:
        return self.having(runPolicy={"suspend": value})

    def edited(self) -> Scene:
        return self.seeing(generation=self.seen.generation + 1)

    # Its surroundings.
    def seeing(self, **fields: Any) -> Scene:
        return replace(self, seen=replace(self.seen, **fields))

    def after(self, seconds: float) -> Scene:
        return self.seeing(now=self.seen.now + timedelta(seconds=seconds))

    def with_status(self, **status: Any) -> Scene:
        return self.seeing(status=merged(self.seen.status, status))

    def with_condition(self, kind: Condition, status: str, reason: str = "NotObserved") -> Scene:
        rest = [item for item in self.seen.status.get("conditions", ()) if item["type"] != kind]
        item = {"type": kind.value, "status": status, "reason": reason, "message": ""}
        item["lastTransitionTime"] = self.seen.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        return self.with_status(conditions=[*rest, item])

    def with_problem(self, reason: str, message: str) -> Scene:
        return self.seeing(problem=Problem(reason, message))

    def with_supports(self) -> Scene:
        made = tuple(
            Child(
                kind=w.kind,
                name=w.name,
                uid=f"u-{w.kind}",
                spec_hash=w.spec_hash,
                rendered_hash=w.rendered_hash,
            )
            for w in self.wanted()
            if w.stage == "support" and not w.once
        )
        return self.seeing(others=made)

    def with_servers(self, ready: int | None = None, **fields: Any) -> Scene:
        """The StatefulSet, and a pod for each shard of which `ready` are ready (all unless told)."""
        shards = self.job.parameter_server.shards
        ready = shards if ready is None else ready
        mine = self._one("server")
        values: dict[str, Any] = {"replicas": shards, "ready": ready, "uid": "u-servers"} | fields
        servers = ServerSet(name=mine.name, spec_hash=mine.spec_hash, rendered_hash=mine.rendered_hash)
        pods = tuple(pod(Role.SERVER, index, ready=index < ready) for index in range(values["replicas"]))
        others = tuple(item for item in self.seen.pods if item.role != Role.SERVER)
        return self.seeing(servers=replace(servers, **values), pods=(*others, *pods))

    def with_workers(self, ready: int | None = None, **fields: Any) -> Scene:
        """The worker Job with `ready` running pods (all unless told)."""
        replicas = self.job.workers.replicas
        ready = replicas if ready is None else ready
        mine = self._one("worker")
        values: dict[str, Any] = {"ready": ready, "active": ready, "uid": "u-workers"} | fields
        job = BatchJob(name=mine.name, spec_hash=mine.spec_hash, parallelism=replicas, completions=replicas)
        pods = tuple(pod(Role.WORKER, index, ready=True) for index in range(ready))
        others = tuple(item for item in self.seen.pods if item.role != Role.WORKER)
        return self.seeing(workers=replace(job, **values), pods=(*others, *pods))

    def with_evaluator(self, **fields: Any) -> Scene:
        mine = self._one("evaluator")
        return self.seeing(
            evaluator=BatchJob(name=mine.name, uid="u-eval", spec_hash=mine.spec_hash, **fields)
        )

    def changed_by(self, editor: str, kind: str, *path: str) -> Scene:
        """Somebody has taken a field of a child over; of each child the rest is the operator's."""
        found = {}
        for mine in self.wanted():
            book = booked(mine.manifest)
            theirs: tuple[tuple[str, str], ...] = ()
            if mine.kind == kind:
                node = book
                for key in path[:-1]:
                    node = node[f"f:{key}"]
                taken: dict[str, Any] = {f"f:{path[-1]}": node.pop(f"f:{path[-1]}")}
                for key in reversed(path[:-1]):
                    taken = {f"f:{key}": taken}
                theirs = ((editor, json.dumps(taken)),)
            found[mine.kind, mine.name] = {"owned": json.dumps(book), "editors": theirs, "version": "7"}
        others = tuple(replace(child, **found[child.kind, child.name]) for child in self.seen.others)
        slots = {slot: getattr(self.seen, slot) for slot in ("servers", "workers", "evaluator")}
        whole = {
            slot: replace(child, **found[child.kind, child.name]) for slot, child in slots.items() if child
        }
        return self.seeing(others=others, **whole)

    def with_pods(self, *pods: Pod) -> Scene:
        return self.seeing(pods=(*self.seen.pods, *pods))

    def changing_pod(self, name: str, **fields: Any) -> Scene:
        pods = tuple(replace(item, **fields) if item.name == name else item for item in self.seen.pods)
        return self.seeing(pods=pods)

    def with_node(self, name: str, ready: bool, seconds_ago: float) -> Scene:
        node = Node(ready, self.seen.now - timedelta(seconds=seconds_ago))
        return self.seeing(nodes={**(self.seen.nodes or {}), name: node})

    def with_report(self, **fields: Any) -> Scene:
        """What shard 0 has told last; with a stop reason all is saved and evaluated, unless `phase` says otherwise."""
        phase = "finished" if fields.get("stop_reason") else "running"
        return self.seeing(
            report=Status(**({"job": self.name, "algorithm": "asgd", "phase": phase} | fields))
        )

    def running(self) -> Scene:
        """Everything is there, and the status of a first pass over it is written."""
        scene = self.with_supports().with_servers().with_workers()
        return (scene.with_evaluator(active=1) if scene.needs_evaluator else scene).written()

    def stopped(self) -> Scene:
        """Suspended, with workloads that have no pods, and that written."""
        scene = (
            self.suspended()
            .with_supports()
            .with_servers(replicas=0, ready=0)
            .with_workers(ready=0, suspended=True)
        )
        return scene.written()

    def written(self) -> Scene:
        """The status as the plan wants it stands in the API."""
        status = self.plan().status
        return self if status is None else self.seeing(status=status)

    # Questions.
    @property
    def job(self) -> Any:
        """Its spec as the operator goes by it."""
        return autoscale.applied(self._read(), self.seen.status).spec

    def wanted(self) -> tuple[Wanted, ...]:
        owner = Owner("u-job", self.name, "default")
        return wanted(children(autoscale.applied(self._read(), self.seen.status), owner, SETTINGS, KEYS))

    def observed(self) -> Observed:
        given = self._read().spec.workers.replicas
        return replace(self.seen, spec=self.job, wanted=self.wanted(), start_workers=given)

    @property
    def needs_evaluator(self) -> bool:
        return any(item.stage == "evaluator" for item in self.wanted())

    def plan(self) -> Plan:
        return plan(self.observed())

    def actions(self) -> tuple[Action, ...]:
        return self.plan().actions

    def _one(self, stage: str) -> Wanted:
        return next(item for item in self.wanted() if item.stage == stage)

    def _read(self) -> Job:
        return job_from_json(self._document())

    def _document(self) -> bytes:
        metadata = {"name": self.name, "namespace": "default", "uid": "u-job"}
        return json.dumps({"kind": "AsgdJob", "metadata": metadata, "spec": self.spec}).encode()


def make_job(name: str = "x") -> Scene:
    seen = Observed(name=name, namespace="default", uid="u-job", generation=1, spec=None, now=START)
    return Scene(name, {"entrypoint": "m:f"}, seen).workers(4).shards(2)


def pod(role: Role, index: int, **fields: Any) -> Pod:
    name = f"x-{role.value}-{index}"
    values: dict[str, Any] = {"uid": f"u-{name}", "node": "node-1", "created": START} | fields
    return Pod(name=name, role=role, index=index, **values)


def booked(value: Any) -> dict[str, Any]:
    """`fieldsV1` of what was applied, with every list owned as a whole."""
    if not isinstance(value, dict):
        return {}
    return {f"f:{key}": booked(item) for key, item in value.items() if key not in NOT_BOOKED}


def condition(found: Plan, kind: Condition) -> dict[str, Any]:
    """The condition as the plan wants it written."""
    assert found.status is not None
    return next(dict(item) for item in found.status["conditions"] if item["type"] == kind)


def told(found: Plan) -> list[str]:
    return [event.reason.value for event in found.events]


def names(actions: tuple[Action, ...]) -> list[str]:
    """Actions in words: `Apply StatefulSet`, `ApplyLive Job`, `DeletePod x-server-0`."""
    words = []
    for action in actions:
        target = getattr(action, "child", action)
        words.append(
            f"{type(action).__name__} {getattr(target, 'kind', getattr(target, 'name', ''))}".strip()
        )
    return words
