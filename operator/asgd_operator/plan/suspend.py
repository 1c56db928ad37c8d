"""Suspend: workers leave first, then the servers save and go; nothing is lost but time.

The Job's own `suspend` takes the workers away and keeps its counts. When none is left and shard 0 has told its last
figures, the StatefulSet goes to zero: servers write the final checkpoint on SIGTERM. With a queue the Job is deleted
instead, because Kueue owns `suspend` there and would start it again.
"""

from __future__ import annotations

from asgd_operator.plan import start
from asgd_operator.plan.actions import Action, ApplyLive, Delete, Step
from asgd_operator.plan.model import Observed
from asgd_operator.plan.scale import live_fields


def step(o: Observed) -> Step:
    """The next writes on the way to a job without pods."""
    actions: list[Action] = [*workers_off(o), *evaluator_off(o)]
    gone = o.workers_stopped and o.report_settled
    if gone and o.servers is not None and not o.servers.deleting and o.servers.replicas > 0:
        actions.append(ApplyLive(o.servers.kind, o.servers.name, o.servers.uid, {"replicas": 0}))
    if stopped(o):
        actions += start.outdated(o)
    return Step(tuple(actions))


def stopped(o: Observed) -> bool:
    """No pod of the job is left, and none will come."""
    return o.workers_stopped and o.servers_stopped and not any(not pod.over for pod in o.pods)


def workers_off(o: Observed) -> list[Action]:
    """Ends all worker pods; finished pods and their logs stay where the Job can stay."""
    job = o.workers
    if job is None or job.deleting or job.finished:
        return []
    if o.queued:
        return [Delete(job.kind, job.name, job.uid)]
    return [] if job.suspended else [ApplyLive(job.kind, job.name, job.uid, live_fields(o, suspend=True))]


def evaluator_off(o: Observed) -> list[Action]:
    """The evaluator keeps nothing of its own: it is deleted, and made anew on resume. One that ended keeps
    its log until then.
    """
    job = o.evaluator
    return [] if job is None or job.deleting or job.finished else [Delete(job.kind, job.name, job.uid)]
