"""Counts restarts of parameter servers over passes, with what was last seen of each shard kept in status.

A StatefulSet keeps no count: a container's restarts vanish with its pod. So the status remembers each shard's
pod and how often it had restarted; the difference to what is seen now is what happened since. A pass that is
repeated, or a status that was not written, gives the same sum again. Evictions, preemptions and pods that somebody
deletes count as restarts, never against the budget; and the budget is whole again when no
failure was seen for `HEALED_SECONDS`, as the kubelet's back-off is: a job that runs for weeks does not end by ten
crashes in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asgd_operator.constants import Role
from asgd_operator.plan import times
from asgd_operator.plan.model import Observed, Pod

HEALED_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Counted:
    """`restarts`: all of them, `failures`: those that use up the budget, `members`: what to remember, by
    shard.
    """

    restarts: int
    failures: int
    members: tuple[Mapping[str, Any], ...]
    failed_at: str = ""
    """When the newest of `failures` was seen."""


def count(o: Observed) -> Counted:
    """The counts as they stand now."""
    before: Mapping[str, Any] = o.status.get("parameterServer", {})
    known = {int(item["index"]): item for item in before.get("members", ())}
    restarts, failed_at = int(before.get("restarts", 0)), str(before.get("failureTime", ""))
    known_failures = failures = 0 if _healed(o, failed_at) else int(before.get("failures", 0))
    if o.servers is None or o.servers.replicas == 0:
        # Stopped on purpose: the pods that a resume makes are no replacements.
        return Counted(restarts, failures, (), failed_at if failures else "")
    for pod in o.pods_of(Role.SERVER):
        happened, charged = _since(known.get(pod.index), pod)
        restarts, failures = restarts + happened, failures + charged
        known[pod.index] = _remember(pod)
    members = tuple(known[index] for index in sorted(known) if index < o.servers.replicas)
    if failures > known_failures:
        failed_at = times.write(o.now)
    return Counted(restarts, failures, members, failed_at if failures else "")


def _healed(o: Observed, failed_at: str) -> bool:
    left = times.seconds_until(times.read(failed_at or None), HEALED_SECONDS, o.now)
    return o.servers_ready and left is not None and left <= 0


def _since(member: Mapping[str, Any] | None, pod: Pod) -> tuple[int, int]:
    if member is None:
        return pod.restarts, pod.restarts
    if member.get("uid") == pod.uid:
        more = max(0, pod.restarts - int(member.get("restarts", 0)))
        return more, more
    replaced = 0 if member.get("disrupted") else 1
    return 1 + pod.restarts, replaced + pod.restarts


def _remember(pod: Pod) -> Mapping[str, Any]:
    member: dict[str, Any] = {"index": pod.index, "uid": pod.uid, "restarts": pod.restarts}
    # NB: a pod that is deleted ends by somebody's will, whoever's it is.
    blameless = pod.disrupted or (pod.deletion is not None and not pod.over)
    return member | {"disrupted": True} if blameless else member
