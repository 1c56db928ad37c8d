"""Trouble as the pods and their Events tell it themselves: for workers that are missing while others train, and for
jobs that no operator looks at. Pure; sentences as the operator's are, so that one set of rules explains both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from asgd.client.explain.facts import ROLE_LABEL, Facts
from asgd.client.explain.words import line
from asgd.spec.quoted import newest

Document = Mapping[str, Any]
Trouble = tuple[str, str]
"""(reason, sentence)"""
_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_COMPLAINTS = frozenset({"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"})


def trouble(facts: Facts, role: str) -> Trouble | None:
    """Of the first pod of this role that cannot go on, or of the workload that cannot make one."""
    own = [pod for pod in facts.pods if pod["metadata"].get("labels", {}).get(ROLE_LABEL) == role]
    waiting = [pod for pod in own if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
    for pod in waiting:
        if found := next(_of_pod(facts, pod), None):
            return found
    if said := _newest(facts, f"{facts.name}-{role}", frozenset({"FailedCreate"})):
        return "PodsRefused", f"Pods of {facts.name}-{role} cannot be made: {said}"
    return next(filter(None, map(_ended, own)), None)


def _of_pod(facts: Facts, pod: Document) -> Iterator[Trouble]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for item in status.get("conditions", ()):
        if item.get("type") == "PodScheduled" and item.get("reason") == "Unschedulable":
            yield "Unschedulable", f"No node takes {name}: {line(str(item.get('message', '')))}"
    for item in status.get("initContainerStatuses", ()):
        yield from _of_container(item, f"init container {item['name']} of {name}", init=True)
    for item in status.get("containerStatuses", ()):
        yield from _of_container(item, name, init=False)
    started = any("running" in item.get("state", {}) for item in status.get("containerStatuses", ()))
    if not started and (said := _newest(facts, name, _COMPLAINTS)):
        yield "ContainerError", f"{name} cannot be started: {said}"


def _of_container(item: Document, who: str, *, init: bool) -> Iterator[Trouble]:
    wait = item.get("state", {}).get("waiting", {})
    reason, said = str(wait.get("reason", "")), line(str(wait.get("message", "")))
    if reason in _IMAGE:
        yield "ImagePullError", f"The image of {who} cannot be pulled: {said or reason}"
    if reason in _CONFIG:
        yield "ContainerError", f"The container of {who} cannot be started: {said or reason}"
    end = _end(item)
    if end and end.get("exitCode") and (init or reason == "CrashLoopBackOff"):
        yield "InitContainerFailed" if init else "CrashLoop", _told(who, end)


def _ended(pod: Document) -> Trouble | None:
    """Of a pod that is over, has failed, and is replaced."""
    if pod.get("status", {}).get("phase") != "Failed":
        return None
    marks: Sequence[Document] = pod["status"].get("conditions", ())
    if any(item.get("type") == "DisruptionTarget" and item.get("status") == "True" for item in marks):
        return None
    for item in pod["status"].get("containerStatuses", ()):
        end = _end(item)
        if item["name"] == "asgd" and end.get("exitCode"):
            return "CrashLoop", _told(pod["metadata"]["name"], end)
    return None


def _end(item: Document) -> Document:
    found: Document = (
        item.get("state", {}).get("terminated") or item.get("lastState", {}).get("terminated") or {}
    )
    return found


def _told(who: str, end: Document) -> str:
    if end.get("reason") == "OOMKilled":
        return f"{who} was killed for it used more memory than its limit (OOMKilled)"
    words = line(str(end.get("message", "")), last=True)
    return (
        f"{who[0].upper() if who.startswith('init ') else who[0]}{who[1:]} ended with exit code {end['exitCode']}"
        + (f": {words}" if words else "")
    )


def _newest(facts: Facts, name: str, reasons: frozenset[str]) -> str:
    """What the newest Event of these reasons says of the object of this name."""
    own = (event for event in facts.events if event.get("involvedObject", {}).get("name") == name)
    return line(newest(own, reasons))
