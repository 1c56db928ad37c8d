"""What Kueue says: whether a cluster has it, and why it does not let a Job go.

Read by hand when a job waits, never watched: most clusters have no Kueue, and a watch of a kind that is not there is
dead. The version of its API is the cluster's to say, so that one operator serves several versions of Kueue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from asgd_operator import constants as c
from asgd_operator.engine.views import bounded
from asgd_operator.errors import Forbidden
from asgd_operator.kube import Kube
from asgd_operator.plan.model import Observed, Problem

Workload = Mapping[str, Any]
NONE = "this cluster has no Kueue"
UNSEEN = "Kueue has made no Workload for Job {}: is its controller running, and does it manage this namespace"


async def problem(kube: Kube, o: Observed) -> Problem | None:
    """Of a job that names a queue on a cluster that has none. Raises OperatorError."""
    if not o.queued or await kube.served(c.QUEUE_GROUP):
        return None
    why = f"{NONE}, so nobody would let the workers start; install it, or name no queue."
    return Problem("QueueNotFound", f"spec.scheduling.queueName: {why}")


async def says(kube: Kube, o: Observed, uid: str, name: str) -> str:
    """Why the Job with this UID waits; empty where that may not be read. Raises OperatorError."""
    version = await kube.served(c.QUEUE_GROUP)
    if not version:
        return f"{NONE} any more"
    try:
        path = f"apis/{c.QUEUE_GROUP}/{version}/namespaces/{o.namespace}/workloads"
        found = await kube.labelled(path, "Workload", f"{c.QUEUED_UID_LABEL}={uid}")
    except Forbidden:
        return ""
    if not found:
        return UNSEEN.format(name)
    return bounded(next(filter(None, map(why, found)), ""))


def why(workload: Workload) -> str:
    """Why Kueue has not admitted this Workload; empty where it has, or it is over."""
    status = workload.get("status", {})
    conditions = {item["type"]: item for item in status.get("conditions", ())}
    if any(conditions.get(kind, {}).get("status") == "True" for kind in ("Finished", "Admitted")):
        return ""
    if workload.get("spec", {}).get("active") is False:
        return f"somebody, or Kueue, has set spec.active of Workload {workload['metadata']['name']} to false"
    evicted, quota = conditions.get("Evicted", {}), conditions.get("QuotaReserved", {})
    if evicted.get("status") == "True":
        return str(evicted.get("message", ""))  # who has its place, which it says until it has one again
    if quota.get("status") != "True":
        return str(quota.get("message", ""))
    return "; ".join(_checks(status))


def _checks(status: Mapping[str, Any]) -> Iterator[str]:
    for check in status.get("admissionChecks", ()):
        if check.get("state") != "Ready":
            said = f": {check['message']}" if check.get("message") else ""
            yield f"admission check {check['name']} is {check.get('state', 'Pending')}{said}"
