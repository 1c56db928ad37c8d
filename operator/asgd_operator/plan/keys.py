"""The Secret with the job's keys, when somebody has deleted it.

The operator may make Secrets and not read them, so it cannot bring back what was in it; pods that run hold the former
keys and would not understand those with new ones. New ones are made when nobody holds any: before the servers start,
after a suspension, and when all pods wait for them. Else the job says what to do; those that run go on.
"""

from __future__ import annotations

import re

from asgd_operator.constants import EventReason
from asgd_operator.plan.actions import CreateOnce, Event, Step
from asgd_operator.plan.model import Observed, Pod, Wanted


def step(o: Observed) -> Step:
    """New keys in place of those that were lost, where that does no harm."""
    secret = next((wanted for wanted in o.wanted if wanted.kind == "Secret"), None)
    missed = missed_name(o)
    if secret is None or missed != secret.name or not unheld(o):
        return Step()
    says = f"Secret {secret.name} was deleted before any pod had read it; it is made anew."
    return Step((CreateOnce(secret),), (Event(EventReason.DRIFT_HEALED, says, warning=True),))


def due(o: Observed, secret: Wanted) -> bool:
    """Whether the Secret is to be there before what comes next. Making it again is no harm while it is there."""
    starts = o.servers is None or (o.servers.replicas == 0 and unheld(o))
    waits = o.waits_in_queue and o.workers is not None
    return secret.kind == "Secret" and starts and not waits


def unheld(o: Observed) -> bool:
    """No pod has read the keys yet."""
    return not any(_has_begun(pod) for pod in o.pods if not pod.over)


def missed_name(o: Observed) -> str:
    """Name of the Secret with keys that pods wait for in vain; empty when none does."""
    mentioned = re.compile(rf'secret "({re.escape(o.name)}-keys(-[a-z0-9]+)?)" not found')
    found = (match for said in o.complaints.values() if (match := mentioned.search(said)))
    return next((match.group(1) for match in found), "")


def sentence(o: Observed) -> str:
    """What the user is told; empty when nothing is lost, or it is mended without him."""
    missed = missed_name(o)
    if not missed or unheld(o):
        return ""
    return (
        f"Secret {missed} with the job's keys was deleted: running pods go on, but no pod can start. "
        "Suspend the job and resume it; it gets new keys then and goes on from its checkpoint."
    )


def _has_begun(pod: Pod) -> bool:
    return pod.phase != "Pending" or pod.init is not None or pod.waiting == "PodInitializing"
