"""After the end: cleanPodPolicy, then ttlSecondsAfterFinished.

Running (the default) removes what still runs and keeps finished pods with their logs; All removes the pods of
both roles; None leaves everything. Nothing goes before the Job controller has counted the pod that failed. A job
without a TTL stays until somebody deletes it, and costs no write.
"""

from __future__ import annotations

from asgd.spec.types import JobSpec
from asgd_operator.constants import EventReason
from asgd_operator.plan import evidence, times
from asgd_operator.plan.actions import Action, Delete, DeleteSelf, Event, Step
from asgd_operator.plan.model import Observed
from asgd_operator.plan.suspend import evaluator_off, workers_off


def step(o: Observed) -> Step:
    """What is left to remove of a finished job. Only for a job whose verdict stands in its written status."""
    if o.spec is None:
        return Step()
    if waits := evidence.uncounted(o):
        return Step(look_again=waits)
    left = _seconds_left(o, o.spec)
    if left is not None and left <= 0:
        return Step(
            (DeleteSelf(),), (Event(EventReason.TTL_EXPIRED, "Deleted: ttlSecondsAfterFinished has passed."),)
        )
    return Step(tuple(_clean(o, o.spec.run_policy.clean_pod_policy)), look_again=left)


def _clean(o: Observed, policy: str) -> list[Action]:
    if policy == "None":
        return []
    actions: list[Action] = []
    if o.servers is not None and not o.servers.deleting:
        actions.append(Delete(o.servers.kind, o.servers.name, o.servers.uid))
    if policy == "Running":
        return [*actions, *workers_off(o), *evaluator_off(o)]
    finished = (job for job in (o.evaluator, o.workers) if job is not None and not job.deleting)
    return [*actions, *(Delete(job.kind, job.name, job.uid) for job in finished)]


def _seconds_left(o: Observed, spec: JobSpec) -> float | None:
    ttl = spec.run_policy.ttl_seconds_after_finished
    return (
        None if ttl is None else times.seconds_until(times.read(o.status.get("completionTime")), ttl, o.now)
    )
