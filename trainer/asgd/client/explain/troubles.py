"""Why pods do not run, by the reason that ParameterServersReady, WorkersReady or a pod itself gives. Pure."""

from __future__ import annotations

from collections.abc import Callable

from asgd.client.explain import containers, ends, refusals
from asgd.client.explain.facts import Facts
from asgd.client.explain.kinds import Found
from asgd.client.explain.scheduling import unschedulable

Judge = Callable[[Facts, str], Found]
BY_REASON: dict[str, Judge] = {
    "NodeLost": containers.node_lost,
    "CrashLoop": ends.ended,
    "ContainerError": containers.blocked,
    "InitContainerFailed": containers.init,
    "PodsRefused": refusals.pods,
    "ImagePullError": containers.image,
    "Unschedulable": unschedulable,
    "NotJoined": ends.not_joined,
}


def explained(facts: Facts, reason: str, message: str) -> Found | None:
    """None for a reason that is no trouble of pods."""
    judge = BY_REASON.get(reason)
    return judge(facts, message) if judge and message else None


def quoted(facts: Facts, message: str) -> Found | None:
    """Of a sentence that has lost its reason on the way, as in the message of a deadline."""
    marks = (
        ("No node takes", "Unschedulable"),
        ("cannot be made", "PodsRefused"),
        ("nit container", "InitContainerFailed"),
        ("cannot be pulled", "ImagePullError"),
        ("cannot be started", "ContainerError"),
        ("OOMKilled", "CrashLoop"),
        ("exit code", "CrashLoop"),
        ("does not answer", "NodeLost"),
        ("runs and is not ready:", "NotJoined"),
    )
    reason = next((reason for mark, reason in marks if mark in message), "")
    if reason == "InitContainerFailed" and "cannot be pulled" in message:
        reason = "ImagePullError"
    return explained(facts, reason, message)
