"""Scale: the number of workers becomes parallelism and completions of the one Job, and nothing else changes. It is
`workers.replicas`, or what autoscaling has set in its place.

The Job controller adds the highest indices and takes them away again; it tracks ends with finalizers, so
neither a stale view here nor a deleted pod can create too many. The fields that change while a job runs are
applied by a field manager of their own, always all of them: an apply that leaves one out would give it back
and reset it.
"""

from __future__ import annotations

from typing import Any

from asgd_operator.constants import EventReason
from asgd_operator.plan import autoscale, success
from asgd_operator.plan.actions import ApplyLive, Event, Step
from asgd_operator.plan.model import BatchJob, Observed


def step(o: Observed) -> Step:
    """One apply when the Job has another size than the job asks for; none once the end has begun."""
    job = o.workers
    if o.spec is None or job is None or job.deleting or job.finished or success.completing(o):
        return Step()
    replicas = o.spec.workers.replicas
    if (job.parallelism, job.completions) == (replicas, replicas):
        return Step()
    suspend = job.suspended and not o.servers_ready
    return Step(
        (ApplyLive(job.kind, job.name, job.uid, live_fields(o, suspend=suspend)),),
        (_event(o, job, replicas),),
    )


def live_fields(o: Observed, *, suspend: bool) -> dict[str, Any]:
    """What the second field manager owns of the Job; `suspend` is Kueue's when a queue is named."""
    replicas = o.spec.workers.replicas if o.spec else 0
    size = {"parallelism": replicas, "completions": replicas}
    return size if o.queued else size | {"suspend": suspend}


def _event(o: Observed, job: BatchJob, replicas: int) -> Event:
    reason = EventReason.SCALED_UP if replicas > job.completions else EventReason.SCALED_DOWN
    why = autoscale.reason(o)
    return Event(reason, f"Workers: {job.completions} -> {replicas}{f': {why}' if why else ''}.")
