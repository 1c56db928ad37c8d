"""Judges each condition from what is there: the sentences that a user reads in `kubectl describe`.

Messages name what is missing and hold no figure that moves all the time, or every pass would write. The order
of the checks is the order of usefulness: a pod that cannot be scheduled says more than a count that is too
low.
"""

from __future__ import annotations

from collections.abc import Iterator

from asgd.spec.types import JobSpec
from asgd_operator.constants import Condition, Role
from asgd_operator.plan import deadlines, failing, queueing, success, suspend
from asgd_operator.plan.coming import coming, unready
from asgd_operator.plan.conditions import Judgement
from asgd_operator.plan.degraded import degraded, saving, unread
from asgd_operator.plan.model import Child, Observed
from asgd_operator.plan.trouble import crashing, trouble, unmade
from asgd_operator.plan.verdict import Verdict


def judge(o: Observed, verdict: Verdict | None) -> Iterator[Judgement]:
    """The conditions that this pass can speak about. A finished job keeps what it had when it ended."""
    if o.finished:
        yield from failing.judge(o)
        return
    if o.spec is None and o.unread:
        yield from unread(o)
        return
    yield accepted(o)
    if o.spec is None:
        yield from failing.judge(o)
        return
    yield suspended(o, o.spec)
    yield servers(o, o.spec)
    yield workers(o, o.spec)
    yield running(o, o.spec, verdict)
    yield degraded(o, o.spec)
    yield from saving(o, o.spec)
    yield from _ends(verdict)


def accepted(o: Observed) -> Judgement:
    problem = o.problem
    if problem is None:
        return Judgement(Condition.ACCEPTED, True, "Valid")
    return Judgement(Condition.ACCEPTED, False, problem.reason, problem.message)


def suspended(o: Observed, spec: JobSpec) -> Judgement:
    before = o.condition(Condition.SUSPENDED)
    if spec.run_policy.suspend:
        if suspend.stopped(o):
            return Judgement(Condition.SUSPENDED, True, "SuspendedByUser")
        return Judgement(Condition.SUSPENDED, False, "Suspending", _leaving(o, spec))
    again = before.get("status") == "True" or before.get("reason") in ("Suspending", "Resumed")
    return Judgement(Condition.SUSPENDED, False, "Resumed" if again else "NotSuspended")


def servers(o: Observed, spec: JobSpec) -> Judgement:
    kind = Condition.SERVERS_READY
    if spec.run_policy.suspend:
        return Judgement(kind, False, "Suspended")
    shards = spec.parameter_server.shards
    if o.servers_ready:
        return Judgement(kind, True, "AllReady")
    if o.waits_in_queue and not o.launched:
        return Judgement(kind, False, "Queued", "Parameter servers start when the queue lets the workers go.")
    ready = o.servers.ready if o.servers else 0
    waits = _replaced(o.servers) or unready(o, Role.SERVER) or coming(o, Role.SERVER, o.servers)
    plain = ("Restoring" if o.launched else "Starting", waits)
    reason, sentence = trouble(o, o.pods_of(Role.SERVER)) or unmade(o, o.servers) or plain
    return Judgement(
        kind, False, reason, f"{ready} of {shards} parameter servers are ready. {sentence}".strip()
    )


def workers(o: Observed, spec: JobSpec) -> Judgement:
    kind = Condition.WORKERS_READY
    if spec.run_policy.suspend:
        return Judgement(kind, False, "Suspended")
    if o.waits_in_queue:
        return Judgement(kind, False, "Queued", queueing.sentence(o))
    if o.workers is None or not (o.launched or o.queued) or o.workers.deleting:
        waits = "Workers start when all parameter servers are ready."
        sentence = _replaced(o.workers) or ("Workers are being started." if o.servers_ready else waits)
        return Judgement(kind, False, "NotStarted", sentence)
    if o.enough_workers:
        return Judgement(kind, True, "EnoughReady")
    known = trouble(o, o.pods_of(Role.WORKER)) or unmade(o, o.workers)
    silent = unready(o, Role.WORKER)
    waits = silent or coming(o, Role.WORKER, o.workers)
    reason, sentence = known or crashing(o) or ("NotJoined" if silent else "BelowMinimum", waits)
    counts = f"{o.workers.ready} workers are ready; workers.minReplicas is {spec.workers.min_replicas}."
    return Judgement(kind, False, reason, f"{counts} {sentence}".strip())


def running(o: Observed, spec: JobSpec, verdict: Verdict | None) -> Judgement:
    kind = Condition.RUNNING
    if verdict is not None:
        return Judgement(kind, False, "Finished")
    if spec.run_policy.suspend:
        return Judgement(kind, False, "Suspended")
    if success.completing(o):
        return Judgement(kind, False, "Completing", _completing(o))
    if o.waits_in_queue:
        return Judgement(kind, False, "Queued")
    if not o.launched or not o.servers_ready:
        return Judgement(kind, False, "WaitingForParameterServers")
    if not o.enough_workers:
        return Judgement(kind, False, "WaitingForWorkers")
    if deadlines.stalled(o):
        limit = spec.run_policy.progress_deadline_seconds
        return Judgement(kind, False, "Stalled", f"Shard 0 accepted no update for more than {limit} s.")
    return Judgement(kind, True, "TrainingProgressing")


def _leaving(o: Observed, spec: JobSpec) -> str:
    if not o.workers_stopped:
        return f"Workers hand in their work and leave, within {spec.workers.drain_seconds} s each."
    return "The workers have left; the parameter servers save the state and end."


def _completing(o: Observed) -> str:
    if success.target(o):
        return "The stop rule is met; workers end and the last state is saved."
    return "All workers ended well; shard 0 has not said yet that the job is over."


def _replaced(child: Child | None) -> str:
    """NB: that a child goes may take as long as somebody's finalizer on it."""
    if child is None or not child.deleting:
        return ""
    return f"{child.kind} {child.name} is being deleted; it is made anew when it is gone."


def _ends(verdict: Verdict | None) -> Iterator[Judgement]:
    none = {Condition.COMPLETE: "NotFinished", Condition.FAILED: "NotFailed"}
    for kind, reason in none.items():
        if verdict is not None and verdict.kind is kind:
            yield Judgement(kind, True, verdict.reason, verdict.message)
        else:
            yield Judgement(kind, False, reason)
