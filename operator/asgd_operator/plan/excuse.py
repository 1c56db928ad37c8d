"""A worker's pod that somebody deletes costs no budget, however it ends.

One that leaves in time exits with 143, which the Job's failure policy ignores. One that hangs, which may be why it is
deleted, is killed when its grace is over, and 137 would count as a failure. So it is marked as disrupted while it ends,
as an eviction would have done. A node that is lost is `nodeloss`'s.
"""

from __future__ import annotations

from asgd_operator.constants import Role
from asgd_operator.plan.actions import ExcusePod, Step
from asgd_operator.plan.model import Observed, Pod

MESSAGE = "deleted by request"


def step(o: Observed) -> Step:
    """Marks workers' pods that are ending before they should, each once."""
    job = o.workers
    if job is None or job.deleting or job.suspended or job.finished:
        return Step()
    pods = [pod for pod in o.pods_of(Role.WORKER) if _deleted(o, pod) and pod.index < job.completions]
    return Step(tuple(ExcusePod(pod.name, pod.uid, MESSAGE) for pod in pods))


def _deleted(o: Observed, pod: Pod) -> bool:
    node = (o.nodes or {}).get(pod.node)
    lost = node is not None and not node.ready
    return pod.deletion is not None and not pod.over and not pod.disrupted and not lost
