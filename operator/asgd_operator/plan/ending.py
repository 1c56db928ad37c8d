"""Pods that do not end: their grace is over, and yet they are there.

On a lost node they are removed by force (`nodeloss`). On a node that answers nobody may do that: its kubelet still
holds the process, a volume, or somebody's finalizer. So the job says which pod it waits for, and where.
"""

from __future__ import annotations

from asgd_operator.plan import times
from asgd_operator.plan.model import Observed, Pod

OVERDUE_SECONDS = 60.0
"""After the end of a pod's grace, in which a kubelet kills it."""
NAMED = 3


def overdue(o: Observed) -> tuple[Pod, ...]:
    """Pods that should have ended a while ago."""
    return tuple(pod for pod in o.pods if (left := _seconds_left(o, pod)) is not None and left <= 0)


def look_again(o: Observed) -> float | None:
    """Seconds until the next pod is overdue."""
    waits = (_seconds_left(o, pod) for pod in o.pods)
    return min((wait for wait in waits if wait is not None and wait > 0), default=None)


def sentence(pods: tuple[Pod, ...]) -> str:
    """Which pods, where, and since when; the same on each pass."""
    said = [
        f"{pod.name} on {pod.node or 'no node'} should have ended at {times.write(pod.deletion)}"
        for pod in pods[:NAMED]
        if pod.deletion is not None
    ]
    more = f", and {len(pods) - NAMED} more" if len(pods) > NAMED else ""
    return f"{'; '.join(said)}{more}. See the pod's finalizers and events, and the kubelet of its node."


def _seconds_left(o: Observed, pod: Pod) -> float | None:
    return None if pod.over else times.seconds_until(pod.deletion, OVERDUE_SECONDS, o.now)
