"""Node loss: pods that cannot end because their node is gone are removed by force, so that others take their place.

Neither a StatefulSet nor a Job with a pod failure policy replaces a pod that is still Terminating. A StatefulSet is
content when the pod is gone. A Job keeps its pods by a finalizer until their phase is final, which only the lost
node's kubelet would write: so their failure is written first, as a disruption, which costs no budget. All roles
allow force: a worker that lives on speaks with an old session, a server with an old term, and both are refused. The
clock starts when the node turns NotReady, not when its pods were evicted. Without leave to watch nodes only a pod's
own time counts.
"""

from __future__ import annotations

from asgd.spec.types import JobSpec
from asgd_operator.constants import EventReason, Role
from asgd_operator.plan import times
from asgd_operator.plan.actions import Action, DeletePod, Event, FailPod, Step
from asgd_operator.plan.model import Observed, Pod


def step(o: Observed) -> Step:
    """Force-deletes what is lost, and says when the next pod will be."""
    if o.spec is None:
        return Step()
    waits = {
        pod: _seconds_left(o, pod, _timeout(o.spec, pod))
        for pod in o.pods
        if pod.deletion is not None and not pod.over
    }
    lost = [pod for pod, wait in waits.items() if wait is not None and wait <= 0]
    # NB: one that ends by itself today is looked at again: its node may be lost while it drains.
    later = [
        _timeout(o.spec, pod) if wait is None else wait for pod, wait in waits.items() if pod not in lost
    ]
    return Step(
        tuple(action for pod in lost for action in _removal(pod)),
        tuple(_event(pod) for pod in lost),
        min(later, default=None),
    )


def _timeout(spec: JobSpec, pod: Pod) -> int:
    server = pod.role == Role.SERVER
    return (
        spec.parameter_server.node_loss_timeout_seconds if server else spec.workers.node_loss_timeout_seconds
    )


def _seconds_left(o: Observed, pod: Pod, timeout: int) -> float | None:
    """None for a pod that ends by itself."""
    if not pod.node:
        return None
    if o.nodes is None or pod.node not in o.nodes:
        return times.seconds_until(pod.deletion, timeout, o.now)
    node = o.nodes[pod.node]
    return None if node.ready else times.seconds_until(node.since, timeout, o.now)


def _removal(pod: Pod) -> tuple[Action, ...]:
    by_force = DeletePod(pod.name, pod.uid, force=True)
    if pod.role == Role.SERVER:
        return (by_force,)
    return FailPod(pod.name, pod.uid, f"node {pod.node} does not answer"), by_force


def _event(pod: Pod) -> Event:
    reason = (
        EventReason.SERVER_FORCE_REPLACED if pod.role == Role.SERVER else EventReason.WORKER_FORCE_REPLACED
    )
    return Event(reason, f"Removed {pod.name} by force: its node {pod.node} does not answer.", warning=True)
