"""Live fields reach shard 0 at once: a kubelet reads its volumes when a pod changes, and else about once a minute.

So the pod of shard 0 gets an annotation in the same pass in which the ConfigMap of the live fields is applied anew. It
names what was applied: to write it again changes nothing. A pod that is missed hears of it by the kubelet's own round.
"""

from __future__ import annotations

from asgd_operator.constants import TOLD_FIELDS, Role
from asgd_operator.plan.actions import Annotate, Step
from asgd_operator.plan.model import Observed
from asgd_operator.plan.start import changed


def step(o: Observed) -> Step:
    """NB: behind the step that applies the ConfigMap, or the kubelet would find the former one."""
    live = next((item for item in o.wanted if item.kind == "ConfigMap" and not item.immutable), None)
    if live is None or not changed(o, live):
        return Step()
    pods = [pod for pod in o.pods_of(Role.SERVER) if pod.index == 0 and not pod.over and pod.deletion is None]
    return Step(tuple(Annotate(pod.name, pod.uid, TOLD_FIELDS, live.rendered_hash) for pod in pods))
