"""Pods that are not made, and jobs that are not accepted: who refuses them, and what to change. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from asgd.client.explain.facts import BLOCKS, Facts, named
from asgd.client.explain.kinds import Found, Kind
from asgd.client.explain.words import clause


def pods(facts: Facts, message: str) -> Found:
    """Why a controller cannot make the pods of a workload."""
    text = clause(message)
    block = BLOCKS[facts.role(text)]
    for pattern, judge in _JUDGES:
        if match := re.search(pattern, text):
            return judge(facts, text, block, match)
    return Found(
        Kind.PODS_REFUSED, text, "Mend what the API server refuses, in the job or in its rules for this namespace.",
        facts.kubectl("get", "events", "--field-selector=reason=FailedCreate"), f"{block}.podTemplate",
    )  # fmt: skip


def _quota(facts: Facts, text: str, block: str, match: re.Match[str]) -> Found:
    name = match[1] or ""
    which = f"ResourceQuota {name}" if name else "ResourceQuota"
    if match[0].startswith("failed quota"):
        path = f"{block}.resources"
        fix = f"Give {path} what the {which} asks each pod to state."
    else:
        path = facts.workers_field if block == "workers" else f"{block}.shards"
        fix = (
            f"Raise the {which} of namespace {facts.namespace}, or ask for less ({path}, {block}.resources)."
        )
    return Found(
        Kind.QUOTA, text, fix, facts.kubectl("describe", "resourcequota", *filter(None, [name])), path
    )


def _limits(facts: Facts, text: str, block: str, match: re.Match[str]) -> Found:
    path = f"{block}.resources"
    return Found(
        Kind.LIMIT_RANGE, text, f"Keep {path} within the LimitRange of namespace {facts.namespace}, or widen that.",
        facts.kubectl("describe", "limitrange"), path,
    )  # fmt: skip


def _security(facts: Facts, text: str, block: str, match: re.Match[str]) -> Found:
    path = f"{block}.podTemplate"
    return Found(
        Kind.POD_SECURITY, text,
        f"Take what the standard forbids out of {path}, or use a namespace that allows it.",
        f"kubectl get namespace {facts.namespace} --show-labels", path,
    )  # fmt: skip


def _account(facts: Facts, text: str, block: str, match: re.Match[str]) -> Found:
    path = f"{block}.podTemplate.spec.serviceAccountName"
    return Found(
        Kind.NO_SERVICE_ACCOUNT, text,
        f"Create the service account {match[1]} in namespace {facts.namespace}, or mend {path}.",
        facts.kubectl("create", "serviceaccount", match[1]), path,
    )  # fmt: skip


def _priority(facts: Facts, text: str, block: str, match: re.Match[str]) -> Found:
    own = facts.at("parameterServer.priorityClassName") == match[1] and block == "parameterServer"
    path = "parameterServer.priorityClassName" if own else f"{block}.podTemplate.spec.priorityClassName"
    return Found(
        Kind.NO_PRIORITY_CLASS, text, f"Name a priority class that exists in {path}, or create {match[1]}.",
        "kubectl get priorityclasses", path,
    )  # fmt: skip


_Judge = Callable[[Facts, str, str, "re.Match[str]"], Found]
_JUDGES: tuple[tuple[str, _Judge], ...] = (
    (r"(?:exceeded quota|failed quota): ([^,:\s]+)?", _quota),
    (r"violates PodSecurity", _security),
    (r"(?:maximum|minimum) \S+ usage per|max limit to request ratio", _limits),
    (r'serviceaccount "([^"]+)" not found', _account),
    (r"no PriorityClass with name (\S+) was found", _priority),
)


def job(facts: Facts) -> Found:
    """Why the job was not accepted."""
    reason, text = facts.reason("Accepted"), clause(facts.message("Accepted"))
    path = _field(text)
    if reason == "QuotaExceeded":
        return pods(facts, text if "quota:" in text else f"{text} (exceeded quota: )")
    if reason == "StorageNotFound":
        found = re.search(r"no PersistentVolumeClaim (\S+) in", text)
        name = found[1] if found else "that it names"
        return Found(
            Kind.NO_CLAIM, text,
            f"Create the PersistentVolumeClaim {name} in namespace {facts.namespace}, or mend"
            f" {path or 'checkpoint.volume.pvc'}.",
            facts.kubectl("get", "persistentvolumeclaims"), path or "checkpoint.volume.pvc",
        )  # fmt: skip
    if reason == "SourceNotFound":
        name = facts.at("sourceFrom.configMap") or "that it names"
        return Found(
            Kind.NO_SOURCE, text,
            f"Create the ConfigMap {name} with the entrypoint's file, or mend {path or 'sourceFrom'}.",
            facts.kubectl("get", "configmaps"), path or "sourceFrom",
        )  # fmt: skip
    if reason == "QueueNotFound":
        return Found(
            Kind.QUEUE, text, "Install Kueue, or take scheduling.queueName out of the job.",
            "kubectl get crd clusterqueues.kueue.x-k8s.io", "scheduling.queueName",
        )  # fmt: skip
    if reason == "NameTaken":
        return taken(facts, text)
    kind = Kind.INVALID_SPEC
    if reason == "InvalidPodTemplate":
        kind = Kind.INVALID_POD_TEMPLATE
        within = re.search(r"\bspec\.template\.([a-z]\w*(?:\.\w+)*)", text)
        path = ".".join(filter(None, (path, "podTemplate", within[1] if within else "")))
    return Found(
        kind, text, f"Mend {named(path) if path else 'the field that is named'}.",
        facts.change(path) if path else facts.kubectl("edit", "asgdjob", facts.name), path,
    )  # fmt: skip


def taken(facts: Facts, text: str) -> Found:
    """An object of somebody else has the name of a child."""
    text = re.sub(r"; delete or rename that .*", "", text)
    found = re.search(
        r"\b(Secret|ConfigMap|Service|StatefulSet|Job|NetworkPolicy|PodDisruptionBudget)\s+(\S+?)[,;:.]?\s",
        text,
    )
    look = (
        facts.kubectl("get", found[1].lower(), found[2], "-o", "yaml")
        if found
        else facts.kubectl("get", "all")
    )
    which = f"the {found[1]} {found[2]}" if found else "the object that has its name"
    return Found(
        Kind.NAME_TAKEN, text, f"Give the job another name, or delete {which} if nobody needs it.", look
    )


def _field(text: str) -> str:
    """The field below `spec` that a sentence names; empty for none."""
    found = re.search(r"\bspec\.([A-Za-z][\w.\[\]]*[\w\]])", text)
    return found[1] if found else ""
