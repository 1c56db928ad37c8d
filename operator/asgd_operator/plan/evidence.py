"""The evidence of a failure: how the container that failed last ended, and what it printed before that.

Pods and their logs go, by the Job controller, by a policy, or with a node. So the newest bad end stays in the status,
and nothing is cleaned up before the Job controller has counted the pod that failed. Pods that end by somebody's will
(deleted, evicted, drained) are no failures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asgd.exitcodes import DRAINED
from asgd_operator.constants import EventReason, Role
from asgd_operator.plan import times
from asgd_operator.plan.actions import Event
from asgd_operator.plan.model import End, Observed, Pod

COUNTED_SECONDS = 60.0
"""How long after the verdict a pod may wait to be counted; then all is cleaned up anyway."""
QUOTED_MOST, TOLD_MOST = 300, 700
"""Characters of the last lines that a verdict quotes, and that an event does, which holds 1,024."""
_EVENTS = {
    Role.SERVER: EventReason.SERVER_FAILED,
    Role.WORKER: EventReason.WORKER_FAILED,
    Role.EVALUATOR: EventReason.EVALUATOR_FAILED,
}


def derive(o: Observed) -> Mapping[str, Any]:
    """`status.lastFailure`: the newest of what is seen and what was known; empty when nothing has failed."""
    before: Mapping[str, Any] = o.status.get("lastFailure", {})
    found = _newest(o)
    if found is None:
        return before
    pod, end, finished = found
    known = times.read(before.get("finishedAt"))
    if known is not None and finished <= known:
        return before
    block = {
        "pod": pod.name,
        "role": pod.role,
        "node": pod.node,
        "container": end.container,
        "exitCode": end.exit_code,
        "reason": end.reason,
        "message": end.message,
        "finishedAt": times.write(finished),
    }
    return {key: value for key, value in block.items() if value != ""}


def event(o: Observed, after: Mapping[str, Any]) -> Event | None:
    """What is told of a failure that is new in the status `after`."""
    block = after.get("lastFailure", {})
    if not block or block == o.status.get("lastFailure"):
        return None
    where = f" on node {block['node']}" if "node" in block else ""
    printed = f" Its last lines:\n{block['message'][-TOLD_MOST:]}" if "message" in block else ""
    return Event(_EVENTS[block["role"]], f"{_ended(block)}{where}.{printed}", warning=True)


def sentence(o: Observed, role: Role) -> str:
    """How the last container of this role ended that failed, to be added to a verdict; empty when none is known."""
    block = derive(o)
    if block.get("role") != role:
        return ""
    words = " ".join(str(block.get("message", "")).split())[-QUOTED_MOST:]
    return f" The last one: {_ended(block)}{f': {words}' if words else ''}".rstrip(".") + "."


def uncounted(o: Observed) -> float:
    """Seconds for which cleaning up waits for the Job controller to count a worker that failed; 0: it does not."""
    job, ended = o.workers, times.read(o.status.get("completionTime"))
    if job is None or job.finished or job.deleting or ended is None:
        return 0.0
    bad = [pod for pod in o.pods_of(Role.WORKER) if _has_failed(pod)]
    # NB: a container may have ended before its pod's phase says so; such a pod counts as running, and would be deleted.
    if all(pod.over for pod in bad) and len(bad) <= job.failed:
        return 0.0
    return max(0.0, times.seconds_until(ended, COUNTED_SECONDS, o.now) or 0.0)


def _has_failed(pod: Pod) -> bool:
    return pod.exit_code not in (None, 0, DRAINED) and not pod.disrupted and pod.deletion is None


def _newest(o: Observed) -> tuple[Pod, End, Any] | None:
    closed = times.read(o.status.get("completionTime")) if o.finished else None
    found = [
        (pod.end.finished, pod.name, pod)
        for pod in o.pods
        if pod.end is not None and pod.role in _EVENTS and not pod.disrupted and pod.deletion is None
        # NB: what ends after the verdict ends because of it.
        if closed is None or pod.end.finished <= closed
    ]
    if not found:
        return None
    finished, _, pod = max(found, key=lambda item: item[:2])
    return (pod, pod.end, finished) if pod.end is not None else None


def _ended(block: Mapping[str, Any]) -> str:
    reason = f" ({block['reason']})" if block.get("reason", "Error") not in ("Error", "Completed") else ""
    container = "" if block["container"] == "asgd" else f"Container {block['container']} of "
    return f"{container}{block['pod']} ended with exit code {block['exitCode']}{reason}"
