"""A job in a queue: its workers' Job is made first and suspended, and the servers when the queue lets the workers go.

Kueue counts a Job as a whole, and knows nothing of jobs that belong together. So only one of them may be what the rest
waits for: were the servers to queue too, many jobs could hold a quota with servers whose workers find no room in it.
Workers that a queue takes back leave as from a suspension; the servers stay, for they hold the weights and none of what
the queue counts. The evaluator goes, and is made anew.

Two faults of Kueue 0.17 are made good here, by deleting the workers' Job; a new one queues. From a job that waits for
more quota it takes back what that has, and leaves its workers running. And a job that has grown and was then taken back
it never starts again: it finds the name of a former Workload in the Job's template.
"""

from __future__ import annotations

from asgd_operator.constants import Condition, Role
from asgd_operator.plan import suspend, times
from asgd_operator.plan.actions import Step
from asgd_operator.plan.model import BatchJob, Observed

ASK_SECONDS = 10.0
"""Kueue is asked why only when a job has waited for so long."""
AGAIN_SECONDS = 30.0
"""That a job is let go is told by its Job; so often only the words of why it is not are renewed."""


def step(o: Observed) -> Step:
    """The evaluator of a job whose workers were taken back has nothing to evaluate."""
    anew = needs_another_job(o)
    back = anew or (o.waits_in_queue and o.workers is not None)
    actions = [*(suspend.workers_off(o) if anew else ()), *(suspend.evaluator_off(o) if back else ())]
    return Step(tuple(actions), look_again=None if anew else look_again(o))


def needs_another_job(o: Observed) -> bool:
    """Its queue will not do with the workers' Job what is due."""
    job = o.workers
    if not o.queued or job is None or job.deleting or job.finished:
        return False
    if job.suspended:
        return job.used and o.workers_stopped
    found = o.queue_says.get(job.uid)
    return found is not None and found.evicted


def puzzling(o: Observed) -> list[tuple[str, str]]:
    """(UID, name) of each Job that its queue holds for long."""
    if not _held(o) or _left(o) > 0:
        return []
    return [(job.uid, job.name) for job in _held(o)]


def look_again(o: Observed) -> float | None:
    """Seconds until the queue may have another reason."""
    return (_left(o) or AGAIN_SECONDS) if _held(o) else None


def sentence(o: Observed) -> str:
    """Of a job whose workers wait."""
    back = o.servers is not None and o.servers.replicas > 0
    return _sentence(
        o, "has taken the workers back" if back else "has not let the workers start yet", o.workers
    )


def some_wait(o: Observed) -> str:
    """Of a job some of whose workers wait, as after it was given more of them; empty where none does."""
    gated = [pod for pod in o.pods_of(Role.WORKER) if pod.gated and not pod.over]
    if not o.queued or not gated:
        return ""
    more = f" and {len(gated) - 1} more" if len(gated) > 1 else ""
    return _sentence(o, f"has not let {gated[0].name}{more} start yet", o.workers)


def evaluator_waits(o: Observed) -> str:
    """Of an evaluator that waits for long; else empty."""
    job = o.evaluator
    if not o.queued or job is None or not job.suspended or not _said(o, job):
        return ""
    return _sentence(o, "has not let the evaluator start yet", job)


def _sentence(o: Observed, what: str, job: BatchJob | None) -> str:
    queue = o.spec.scheduling.queue_name if o.spec else ""
    said = _said(o, job)
    return f"Queue {queue} {what}{': ' if said else ''}{said.rstrip('.')}."


def _said(o: Observed, job: BatchJob | None) -> str:
    found = o.queue_says.get(job.uid) if job is not None else None
    return found.why if found is not None else ""


def _held(o: Observed) -> list[BatchJob]:
    if not o.queued or o.finished or o.deleting or o.problem is not None:
        return []
    if o.spec is None or o.spec.run_policy.suspend:
        return []
    held = []
    if o.workers is not None and (o.waits_in_queue or some_wait(o)):
        held.append(o.workers)
    if o.evaluator is not None and o.evaluator.suspended and not o.evaluator.deleting:
        held.append(o.evaluator)
    return held


def _left(o: Observed) -> float:
    """NB: in its first seconds every job waits; Kueue is not asked about that."""
    if not o.waits_in_queue:
        return 0.0
    found = o.condition(Condition.WORKERS_READY)
    since = times.read(found.get("lastTransitionTime")) if found.get("reason") == "Queued" else None
    left = times.seconds_until(since, ASK_SECONDS, o.now)
    return ASK_SECONDS if left is None else max(0.0, left)
