"""What Kueue says: whether a cluster has it, and why it does not let a Job go.

Read by hand when a job waits, never watched: most clusters have no Kueue, and a watch of a kind that is not there is
dead. The version of its API is the cluster's to say, so that one operator serves several versions of Kueue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from asgd_operator import constants as c
from asgd_operator.engine.views import bounded
from asgd_operator.errors import Forbidden
from asgd_operator.kube import Kube
from asgd_operator.plan.model import Held, Observed, Problem

Workload = Mapping[str, Any]
NONE = "this cluster has no Kueue"
UNSEEN = "Kueue has made no Workload for Job {}: is its controller running, and does it manage this namespace"


async def problem(kube: Kube, o: Observed) -> Problem | None:
    """Of a job that names a queue on a cluster that has none. Raises OperatorError."""
    if not o.queued or await kube.served(c.QUEUE_GROUP):
        return None
    why = f"{NONE}, so nobody would let the workers start; install it, or name no queue."
    return Problem("QueueNotFound", f"spec.scheduling.queueName: {why}")


async def says(kube: Kube, o: Observed, uid: str, name: str) -> Held:
    """Why the Job with this UID waits; empty where that may not be read. Raises OperatorError."""
    version = await kube.served(c.QUEUE_GROUP)
    if not version:
        return Held(f"{NONE} any more")
    try:
        path = f"apis/{c.QUEUE_GROUP}/{version}/namespaces/{o.namespace}/workloads"
        found = await kube.labelled(path, "Workload", f"{c.QUEUED_UID_LABEL}={uid}")
    except Forbidden:
        return Held()
    return held(found) if found else Held(UNSEEN.format(name))


def held(workloads: Sequence[Workload]) -> Held:
    """Of all Workloads of one Job, which has another one for each number of pods that it was given."""
    over = [item for item in workloads if _is(item, "Finished")]
    left = [item for item in workloads if not _is(item, "Finished")]
    why_not = bounded(next(filter(None, map(why, left)), ""))
    waiting = [item for item in left if not _is(item, "Admitted")]
    reserved = bool(waiting) and all(_is(item, "QuotaReserved") for item in waiting)
    # NB: one that makes room for its successor is over, too, but was not evicted.
    last = max(over, key=_finished, default=None)
    nothing = bool(left) and not any(_is(item, "QuotaReserved") for item in left)
    return Held(why_not, reserved, evicted=nothing and last is not None and _is(last, "Evicted"))


def why(workload: Workload) -> str:
    """Why Kueue has not admitted this Workload; empty where it has, or it is over."""
    status = workload.get("status", {})
    if _is(workload, "Finished") or _is(workload, "Admitted"):
        return ""
    if workload.get("spec", {}).get("active") is False:
        return f"somebody, or Kueue, has set spec.active of Workload {workload['metadata']['name']} to false"
    evicted, quota = _condition(workload, "Evicted"), _condition(workload, "QuotaReserved")
    if evicted.get("status") == "True":
        return str(evicted.get("message", ""))  # who has its place, which it says until it has one again
    if quota.get("status") != "True":
        return str(quota.get("message", ""))
    return "; ".join(_checks(status))


def _is(workload: Workload, kind: str) -> bool:
    return bool(_condition(workload, kind).get("status") == "True")


def _finished(workload: Workload) -> str:
    return str(_condition(workload, "Finished").get("lastTransitionTime", ""))


def _condition(workload: Workload, kind: str) -> Mapping[str, Any]:
    conditions = workload.get("status", {}).get("conditions", ())
    return next((item for item in conditions if item["type"] == kind), {})


def _checks(status: Mapping[str, Any]) -> Iterator[str]:
    for check in status.get("admissionChecks", ()):
        if check.get("state") != "Ready":
            said = f": {check['message']}" if check.get("message") else ""
            yield f"admission check {check['name']} is {check.get('state', 'Pending')}{said}"
