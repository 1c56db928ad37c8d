"""No node takes a pod: which of the scheduler's complaints counts, and which field of the job it is about. Pure.

The scheduler counts nodes by complaint. The one of most nodes is explained; a control plane that refuses work, as it
does everywhere, only where nothing else is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from asgd.client.explain.facts import BLOCKS, Facts
from asgd.client.explain.kinds import Found, Kind
from asgd.client.explain.words import clause, scheduled

Document = Mapping[str, Any]
_PLAIN = {"memory": Kind.MEMORY, "cpu": Kind.CPU}
_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


def unschedulable(facts: Facts, message: str) -> Found:
    """Of a condition's, or the scheduler's own, sentence."""
    text = clause(scheduled(message))
    said = _worst(text)
    role = facts.role(text)
    for pattern, judge in _JUDGES:
        if match := re.search(pattern, said):
            return judge(facts, text, role, match)
    return Found(
        Kind.UNSCHEDULABLE, text, "Give the cluster what the scheduler misses, or ask for less in the job.",
        _pod_command(facts, text),
    )  # fmt: skip


def _worst(text: str) -> str:
    """The complaint of most nodes."""
    _, _, said = text.partition(" nodes are available: ")
    parts = [part for part in re.split(r", (?=\d+ )", said or text) if _CONTROL_PLANE not in part] or [
        said or text
    ]
    return max(parts, key=lambda part: int(found[0]) if (found := re.match(r"\d+", part)) else 0)


def _claim(facts: Facts, text: str, role: str, match: re.Match[str]) -> Found:
    name = match[1]
    path = f"{BLOCKS[role]}.podTemplate"
    for field in ("checkpoint.volume.pvc", "record.pvc"):
        if facts.at(field) == name:
            path = field
            break
    return Found(
        Kind.NO_CLAIM, text,
        f"Create the PersistentVolumeClaim {name} in namespace {facts.namespace}, or mend its name in {path}.",
        facts.kubectl("get", "persistentvolumeclaims"), path,
    )  # fmt: skip


def _unbound(facts: Facts, text: str, role: str, match: re.Match[str]) -> Found:
    names = _claims(facts, text)
    which = f"claim {names[0]}" if len(names) == 1 else "claims of the pod"
    return Found(
        Kind.CLAIM_UNBOUND, text,
        f"Give the {which} a storage class that exists and has room: the claim itself says what it waits for.",
        facts.kubectl("describe", "persistentvolumeclaim", *names),
    )  # fmt: skip


def _elsewhere(facts: Facts, text: str, role: str, match: re.Match[str]) -> Found:
    return Found(
        Kind.CLAIM_ELSEWHERE, text,
        "Let the pod run where its volume is: the volume is bound to nodes that do not take the pod.",
        facts.kubectl("describe", "persistentvolumeclaim", *_claims(facts, text)),
    )  # fmt: skip


def _selector(facts: Facts, text: str, role: str, match: re.Match[str]) -> Found:
    template = f"{BLOCKS[role]}.podTemplate.spec"
    wanted = facts.at(f"{template}.nodeSelector")
    leaf = "nodeSelector" if wanted or not facts.at(f"{template}.affinity") else "affinity"
    asked = "".join(f" ({key}={value})" for key, value in [*(wanted or {}).items()][:1])
    return Found(
        Kind.SELECTOR, text,
        f"Mend {template}.{leaf}{asked}, or label a node so.", "kubectl get nodes --show-labels", f"{template}.{leaf}",
    )  # fmt: skip


def _taint(facts: Facts, text: str, role: str, match: re.Match[str]) -> Found:
    path = f"{BLOCKS[role]}.podTemplate.spec.tolerations"
    return Found(
        Kind.TAINT, text, f"Tolerate the taint {match[1].rstrip(': ')} in {path}, or add nodes without it.",
        "kubectl get nodes -o custom-columns=NODE:.metadata.name,TAINTS:.spec.taints", path,
    )  # fmt: skip


def _cordoned(facts: Facts, text: str, role: str, match: re.Match[str]) -> Found:
    return Found(
        Kind.CORDONED,
        text,
        "Let the nodes that are cordoned take pods again, or add others.",
        "kubectl get nodes",
    )


def _short(facts: Facts, text: str, role: str, match: re.Match[str]) -> Found:
    name = match[1].rstrip(".")
    column = name.replace(".", r"\.")
    command = f"kubectl get nodes -o 'custom-columns=NODE:.metadata.name,HAS:.status.allocatable.{column}'"
    kind = _PLAIN.get(name, Kind.DEVICE)
    block = BLOCKS[role]
    if kind is Kind.DEVICE and (facts.at(f"{block}.devices.count") or 0) > 0:
        path = f"{block}.devices"
        fix = (
            f"Add nodes whose device plugin offers {name}, name another resource in {path}.resourceName, or set "
            f"{path}.count to 0."
        )
        return Found(kind, text, fix, command, path)
    path, asked = _asks(facts, block, name)
    if kind is Kind.DEVICE:
        fix = f"Add nodes that offer {name} (is its device plugin running?), or take it out of {path}{asked}."
    else:
        fix = f"Ask for less in {path}{asked}, or add a node that has so much free."
    return Found(kind, text, fix, command, path)


def _full(facts: Facts, text: str, role: str, match: re.Match[str]) -> Found:
    return Found(
        Kind.PODS_FULL, text, f"Add nodes, or lower {facts.workers_field}: each node runs as many pods as it may.",
        "kubectl get nodes -o 'custom-columns=NODE:.metadata.name,PODS:.status.allocatable.pods'", facts.workers_field,
    )  # fmt: skip


def _asks(facts: Facts, block: str, name: str) -> tuple[str, str]:
    """(the field that asks for the resource, what it asks for in brackets)"""
    for part in ("requests", "limits"):
        path = f"{block}.resources.{part}"
        amount = (facts.at(path) or {}).get(name)
        if amount is not None:
            return f"{path}[{name}]" if "." in name else f"{path}.{name}", f" ({amount} now)"
    return f"{block}.resources.requests.{name}", ""


def _claims(facts: Facts, text: str) -> list[str]:
    pod = facts.pod(text) or {}
    volumes = pod.get("spec", {}).get("volumes", ())
    return [item["persistentVolumeClaim"]["claimName"] for item in volumes if "persistentVolumeClaim" in item]


def _pod_command(facts: Facts, text: str) -> str:
    pod = facts.pod(text)
    if pod is None:
        return facts.kubectl("get", "events", "--field-selector=reason=FailedScheduling")
    return facts.kubectl("describe", "pod", pod["metadata"]["name"])


_Judge = Callable[[Facts, str, str, "re.Match[str]"], Found]
_JUDGES: tuple[tuple[str, _Judge], ...] = (
    (r'persistentvolumeclaim "([^"]+)" not found', _claim),
    (r"unbound immediate PersistentVolumeClaims", _unbound),
    (r"volume node affinity conflict", _elsewhere),
    (r"node affinity/selector|node\(s\) didn't match node selector", _selector),
    (r"untolerated taint\(?s?\)? \{([^}]*)\}", _taint),
    (r"node\(s\) were unschedulable", _cordoned),
    (r"Insufficient (\S+)", _short),
    (r"Too many pods", _full),
)
