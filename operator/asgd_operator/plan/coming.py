"""For whom a pod waits that is on its way: its controller, the scheduler, the kubelet, or its own start.

Nothing is wrong with such a pod; but a job that waits says for what, from its first second. What holds a pod up stands
in `trouble`, and goes before. A pod is named when it is `SLOW_SECONDS` old: in a start that goes well the sentence
stays the same, and costs no write for each step of each pod.
"""

from __future__ import annotations

from asgd_operator.constants import Role
from asgd_operator.plan import times
from asgd_operator.plan.model import Child, Observed, Pod
from asgd_operator.plan.trouble import CREATING

SLOW_SECONDS = 10.0
JOIN_SECONDS = 60.0
"""A pod that has run for so long and is not ready may need a person: it is named as one that does not join."""
STARTING = "Pods are being started."


def coming(o: Observed, role: Role, workload: Child | None) -> str:
    """Of the first pod that is not ready; empty where none is to come."""
    pods = o.pods_of(role)
    late = [pod for pod in pods if _awaited(pod)]
    if workload is None:
        return ""
    if late:
        return STARTING if _left(o, late[0], SLOW_SECONDS) > 0 else _of_pod(late[0])
    if not all(pod.over for pod in pods):
        return ""  # all that are there are ready; the workload's own count follows in a moment
    if pods:
        return f"{pods[0].name} has ended; the {workload.kind} controller makes another one after a while."
    began = times.seconds_until(times.read(o.status.get("startTime")), SLOW_SECONDS, o.now)
    if began is None or began > 0:
        return STARTING
    return f"The {workload.kind} controller has not made the pods of {workload.name} yet."


def unready(o: Observed, role: Role) -> str:
    """Of the first pod whose container runs for long, is not ready, and says nothing about it."""
    late = [pod for pod in o.pods_of(role) if _runs(pod) and not _left(o, pod, JOIN_SECONDS)]
    if not late:
        return ""
    why = (
        "its entrypoint may not have returned" if role == Role.WORKER else "it may still load its checkpoint"
    )
    return f"{late[0].name} runs and is not ready: {why}; see `kubectl logs {late[0].name}`."


def look_again(o: Observed) -> float | None:
    """Seconds until a pod that is on its way is named."""
    waits = [_left(o, pod, SLOW_SECONDS) for pod in o.pods if _awaited(pod)]
    waits += [_left(o, pod, JOIN_SECONDS) for pod in o.pods if _runs(pod)]
    return min((wait for wait in waits if wait > 0), default=None)


def _awaited(pod: Pod) -> bool:
    return not pod.ready and not pod.over


def _runs(pod: Pod) -> bool:
    return pod.phase == "Running" and _awaited(pod) and not (pod.waiting or pod.deletion)


def _left(o: Observed, pod: Pod, seconds: float) -> float:
    """Seconds until the pod is so many seconds old; 0 when it is."""
    return max(0.0, times.seconds_until(pod.created, seconds, o.now) or 0.0)


def _of_pod(pod: Pod) -> str:
    if pod.deletion is not None:
        return f"{pod.name} is ending; another one takes its place then."
    if pod.gated:
        return f"{pod.name} waits until its queue lets it go."
    if pod.phase == "Pending" and not pod.node:
        return f"{pod.name} waits for the scheduler."
    if pod.phase == "Pending" and (pod.waiting in CREATING or not pod.waiting):
        return f"The containers of {pod.name} are being created on {pod.node}."
    return f"{pod.name} runs and is not ready yet."
