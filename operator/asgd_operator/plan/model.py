"""What the plan sees: a job and its surroundings at one moment, reduced to the fields that a rule reads.

The driver fills these values from its watches; tests fill them with a builder. Nothing here does I/O or knows
a client, so that every rule is a function of values. Bodies of live objects never get this far: comparing
them with what was rendered is how operators come to restart pods for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from asgd.spec.status import Status
from asgd.spec.types import JobSpec
from asgd_operator.constants import Condition, Role


@dataclass(frozen=True, slots=True)
class Wanted:
    """One rendered child: its manifest, and what the plan must know of it."""

    kind: str
    name: str
    spec_hash: str
    """Of the job's frozen fields."""
    rendered_hash: str
    """Of this manifest."""
    manifest: Mapping[str, Any]
    stage: str
    """support (before the servers) | server | worker | evaluator."""
    once: bool = False
    """Made once beside the servers and never read or changed again (keys; kinds that are not watched)."""

    @property
    def immutable(self) -> bool:
        return bool(self.manifest.get("immutable"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A child as it exists in the cluster, owned by the job's UID."""

    kind: str
    name: str
    uid: str = ""
    spec_hash: str = ""
    rendered_hash: str = ""
    """Both as they were written when the child was applied; the live object itself is never compared."""
    deleting: bool = False
    version: str = ""
    """`metadata.resourceVersion`."""
    owned: str = ""
    """What of it is ours by the API server's own book, as JSON (`fieldsV1`); empty where it keeps none."""
    editors: tuple[tuple[str, str], ...] = ()
    """(field manager, what is that one's), the newest first: those who wrote to it beside us and not to its status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSet(Child):
    """The StatefulSet of the parameter server."""

    kind: str = "StatefulSet"
    replicas: int = 0
    ready: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJob(Child):
    """The Indexed Job of the workers, or the Job of the evaluator."""

    kind: str = "Job"
    parallelism: int = 0
    completions: int = 0
    suspended: bool = False
    in_place: bool = False
    """Its queue can let more of its pods start, or fewer stay, and leave the others alone."""
    used: bool = False
    """Its template names the Workload with which its queue has let it go, and that it goes with no other."""
    active: int = 0
    ready: int = 0
    succeeded: int = 0
    failed: int = 0
    failed_indexes: int = 0
    complete: bool = False
    failure: tuple[str, str] | None = None
    """(reason, message) of the Job's Failed condition."""
    finished_at: datetime | None = None

    @property
    def finished(self) -> bool:
        return self.complete or self.failure is not None


@dataclass(frozen=True, slots=True)
class Init:
    """An init container that has failed, or cannot start."""

    name: str
    waiting: str = ""
    waits_for: str = ""
    exit_code: int | None = None
    last_words: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """A container of a pod that has ended badly."""

    container: str
    exit_code: int
    finished: datetime
    reason: str = ""
    message: str = ""
    """The last lines that it printed, or what it wrote as its termination message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod of the job in the few fields that rules read."""

    name: str
    uid: str
    role: str
    index: int
    """Of the shard or of the worker; -1 where the pod has none."""
    phase: str = "Running"
    ready: bool = False
    node: str = ""
    address: str = ""
    created: datetime | None = None
    deletion: datetime | None = None
    """When its grace ends or ended (`metadata.deletionTimestamp`); None while nobody deletes it."""
    restarts: int = 0
    exit_code: int | None = None
    """Of the container's last end, also when it has been started again since."""
    ended: str = ""
    """Why the container ended last, in the kubelet's word: Error, OOMKilled, ..."""
    last_words: str = ""
    """The end of what it printed before that."""
    waiting: str = ""
    """Why the container does not run: CrashLoopBackOff, ImagePullBackOff, ..."""
    waits_for: str = ""
    """The kubelet's sentence about that."""
    init: Init | None = None
    """The init container that keeps the pod from starting."""
    end: End | None = None
    """The newest bad end of one of its containers, init containers included."""
    unschedulable: bool = False
    unscheduled: str = ""
    """The scheduler's sentence about that."""
    gated: bool = False
    """Not to be scheduled yet: a queue has not let it go."""
    disrupted: bool = False
    """Evicted, preempted, or deleted with its node: no fault of its own."""

    @property
    def over(self) -> bool:
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Node:
    """`since`: when it last turned Ready or NotReady."""

    ready: bool
    since: datetime


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a job cannot be accepted: a reason of the closed list and a sentence that its user can act on."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Healed:
    """That a child's fields were put back: how often lately, and when last."""

    count: int
    at: datetime
    version: str
    """Of the child that was seen then: one that is still seen so has not been seen since."""
    says: str
    """What had been changed, and by whom."""
    futile: str = ""
    """What was ours after it, when the API server had nothing to change: that much is all that can be ours."""


@dataclass(frozen=True, slots=True)
class Held:
    """What Kueue says of a Job whose pods it does not let go, or not all of them."""

    why: str = ""
    reserved: bool = False
    """It has quota for all of them; an admission check is not done yet."""
    evicted: bool = False
    """The quota of those that run was taken back, and they were left running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A job and everything that its next step depends on."""

    name: str
    namespace: str
    uid: str
    generation: int
    spec: JobSpec | None
    """None when the document could not be read; `problem` then says why. Where it could be read in part: `unread`.
    NB: with `workers.autoscale` the number in force stands in the place of `workers.replicas`."""
    now: datetime
    start_workers: int = 0
    """`workers.replicas` as its user has written it."""
    status: Mapping[str, Any] = field(default_factory=dict)
    deleting: bool = False
    problem: Problem | None = None
    wanted: tuple[Wanted, ...] = ()
    servers: ServerSet | None = None
    workers: BatchJob | None = None
    evaluator: BatchJob | None = None
    """None also where the job has none: its spec has nothing for one (`asgd.spec.evaluators`)."""
    others: tuple[Child, ...] = ()
    pods: tuple[Pod, ...] = ()
    nodes: Mapping[str, Node] | None = None
    """None when nodes may not be watched."""
    report: Status | None = None
    """What shard 0 said last; None where it is silent for long."""
    awaits_report: bool = False
    """Shard 0 has been asked for the first time a moment ago."""
    report_changes: float | None = None
    """Seconds until time alone changes the two above, or the one below."""
    report_settled: bool = True
    """Shard 0 was asked since its pod or the workers changed, or has not answered in time."""
    unread: str = ""
    """What a running job is told of the part of its spec that this operator cannot read; empty when it reads all."""
    report_age: float = 0.0
    """Seconds since `report` came."""
    failing: Problem | None = None
    """What the operator fails with on this job, pass after pass."""
    namespace_ends: bool = False
    """The namespace is being deleted: nothing can be made in it any more."""
    complaints: Mapping[str, str] = field(default_factory=dict)
    """{UID of a child or pod: what others complained of about it last}, as far as `trouble.puzzling` asked for it."""
    proved: bool = False
    """The API server was asked a moment ago about all children that are to be made."""
    taken: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """{(kind, name) of a child that is to be made: why it cannot be}: an object of somebody else has the name."""
    healed: Mapping[tuple[str, str], Healed] = field(default_factory=dict)
    """By (kind, name) of the child."""
    queue_says: Mapping[str, Held] = field(default_factory=dict)
    """{UID of a Job: why its queue does not let its pods go}, as far as `queueing.puzzling` asked for it."""

    def wanted_at(self, stage: str) -> tuple[Wanted, ...]:
        return tuple(item for item in self.wanted if item.stage == stage)

    def pods_of(self, role: str) -> tuple[Pod, ...]:
        return tuple(pod for pod in self.pods if pod.role == role)

    def child(self, kind: str, name: str) -> Child | None:
        return next((child for child in self.others if (child.kind, child.name) == (kind, name)), None)

    def condition(self, kind: str) -> Mapping[str, Any]:
        """The condition as the previous status has it; empty when it has none."""
        return next((item for item in self.status.get("conditions", ()) if item.get("type") == kind), {})

    def holds(self, kind: Condition) -> bool:
        return self.condition(kind).get("status") == "True"

    @property
    def running_workers(self) -> tuple[Pod, ...]:
        return tuple(pod for pod in self.pods_of(Role.WORKER) if not pod.over)

    @property
    def finished(self) -> bool:
        """A written verdict is final: nothing that is seen later takes it back."""
        return self.holds(Condition.COMPLETE) or self.holds(Condition.FAILED)

    @property
    def queued(self) -> bool:
        """Kueue decides when the workers run, and owns `suspend` of their Job."""
        return self.spec is not None and bool(self.spec.scheduling.queue_name)

    @property
    def waits_in_queue(self) -> bool:
        """A queue has not let the workers go yet, or has taken them back."""
        job = self.workers
        held = job is None or (job.suspended and not (job.deleting or job.finished))
        return self.queued and held

    @property
    def started(self) -> bool:
        """There are servers, or workers that have been let go."""
        return self.launched or (self.servers is not None and self.servers.replicas > 0)

    @property
    def launched(self) -> bool:
        """Workers have been let go since the last start, and the servers were all ready once."""
        job = self.workers
        if job is None or job.deleting:
            return False
        if not self.queued:
            return not job.suspended
        # NB: a queue lets workers go before there are servers, and takes them back while these stay.
        once = "runningTime" in self.status or self.holds(Condition.SERVERS_READY)
        return self.servers_ready or (once and self.servers is not None and self.servers.replicas > 0)

    @property
    def servers_ready(self) -> bool:
        """As many as the StatefulSet has been told to run, which are the shards whenever it may be told."""
        servers = self.servers
        return servers is not None and not servers.deleting and 0 < servers.replicas <= servers.ready

    @property
    def enough_workers(self) -> bool:
        """NB: while the job ends, workers that have done their part are not missing."""
        if self.workers is None or self.spec is None or not self.launched:
            return False
        return self.workers.ready + self.workers.succeeded >= self.spec.workers.min_replicas

    @property
    def servers_stopped(self) -> bool:
        return (self.servers is None or self.servers.replicas == 0) and not self.pods_of(Role.SERVER)

    @property
    def workers_stopped(self) -> bool:
        job = self.workers
        return (job is None or job.suspended or job.finished) and not self.running_workers
