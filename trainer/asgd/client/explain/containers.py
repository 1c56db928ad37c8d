"""Containers that do not start: image, init container, Secret, ConfigMap, command, node. Pure."""

from __future__ import annotations

import re

from asgd.client.explain.facts import BLOCKS, Facts, named
from asgd.client.explain.kinds import Found, Kind
from asgd.client.explain.words import clause

_ACCESS = re.compile(r"unauthorized|denied|authentication required|no basic auth|\b40[13]\b", re.IGNORECASE)
_AWAY = re.compile(
    r"dial tcp|connection refused|no such host|i/o timeout|deadline exceeded|x509|tls:|server gave HTTP",
    re.IGNORECASE,
)


def image(facts: Facts, message: str) -> Found:
    """An image that cannot be pulled."""
    text = clause(message)
    path, name = _image_field(facts, text)
    shown = f"the image {name}" if name else "the image"
    if _ACCESS.search(text):
        pulls = f"{BLOCKS[facts.role(text)]}.podTemplate.spec.imagePullSecrets"
        return Found(
            Kind.IMAGE_ACCESS, text,
            f"Let the nodes pull {shown}: name a Secret for its registry in {pulls}, or jobs.imagePullSecrets in the"
            " chart.",
            facts.kubectl("get", "secrets", "--field-selector=type=kubernetes.io/dockerconfigjson"), pulls,
        )  # fmt: skip
    where = named(path) if path else "jobs.trainerImage of the operator's chart"
    command = facts.change(path) if path else "helm list --all-namespaces"
    if _AWAY.search(text):
        fix = f"Mend {where}, or let the nodes reach the registry of {shown}."
        return Found(Kind.REGISTRY_AWAY, text, fix, command, path)
    return Found(
        Kind.NO_IMAGE, text, f"Mend {where}, or push {shown} to where the nodes look.", command, path
    )


def _image_field(facts: Facts, text: str) -> tuple[str, str]:
    """(the field that names the image of which a sentence speaks, or an empty word for the chart's; the image)"""
    block = BLOCKS[facts.role(text)]
    template = facts.at(f"{block}.podTemplate.spec") or {}
    init = re.search(r"init container (\S+) of ", text, re.IGNORECASE)
    for part in ("initContainers", "containers"):
        for item in template.get(part, ()):
            if "image" in item and item.get("name") == (init[1] if init else "asgd"):
                return f"{block}.podTemplate.spec.{part}[{item['name']}].image", item["image"]
    name = str(facts.at("image") or "")
    return ("image", name) if name and block != "parameterServer" else ("", "")


def init(facts: Facts, message: str) -> Found:
    """An init container that fails."""
    text = clause(message)
    block = BLOCKS[facts.role(text)]
    found = re.search(r"init container (\S+) of (\S+)", text, re.IGNORECASE)
    name, pod = (found[1], found[2]) if found else ("", "")
    path = f"{block}.podTemplate.spec.initContainers" + (f"[{name}]" if name else "")
    if missing := _no_command(text):
        fix = f"Mend the command of {path}: {missing} is not in its image."
        return Found(Kind.NO_COMMAND, text, fix, facts.change(path), path)
    command = facts.log(pod, container=name) if pod else facts.kubectl("get", "pods")
    return Found(
        Kind.INIT_FAILED, text, f"Mend what the init container {name} says, in {path}.", command, path
    )


def blocked(facts: Facts, message: str) -> Found:
    """A container that the kubelet cannot start, and a volume that it cannot mount."""
    text = clause(message)
    template = f"{BLOCKS[facts.role(text)]}.podTemplate"
    if found := re.search(r"""\b(configmap|secret)s? "([^"]+)" not found""", text, re.IGNORECASE):
        return _missing(facts, text, found[1].lower(), found[2], template)
    if found := re.search(r"couldn't find key (\S+) in (ConfigMap|Secret) (?:[\w.-]+/)?([\w.-]+)", text):
        return _keyless(facts, text, found, template)
    if missing := _no_command(text):
        fix = f"Mend the command in {template}: {missing} is not in the image."
        return Found(Kind.NO_COMMAND, text, fix, facts.change(template), template)
    if "error mounting" in text and "/checkpoint" in text:
        fix = f"Choose a path in checkpoint.uri ({facts.at('checkpoint.uri')}) where a volume can be mounted."
        return Found(Kind.CONTAINER, text, fix, facts.change("checkpoint.uri"), "checkpoint.uri")
    pod = facts.pod(text)
    look = facts.kubectl(
        "describe", "pod", *([pod["metadata"]["name"]] if pod else ["-l", f"asgd.dev/job-name={facts.name}"])
    )
    return Found(
        Kind.CONTAINER, text, f"Mend what the kubelet minds, in {template} or on its node.", look, template
    )


def _missing(facts: Facts, text: str, what: str, name: str, template: str) -> Found:
    kind, word = (Kind.NO_SECRET, "Secret") if what == "secret" else (Kind.NO_CONFIG_MAP, "ConfigMap")
    if name.startswith(f"{facts.name}-keys"):
        fix = "Suspend the job and resume it: it gets new keys and goes on from its checkpoint."
        return Found(Kind.KEYS_LOST, text, fix, f"{facts.own('suspend')} && {facts.own('resume')}")
    fix = f"Create the {word} {name} in namespace {facts.namespace}, or mend its name in {template}."
    return Found(kind, text, fix, facts.kubectl("get", f"{what}s"), template)


def _keyless(facts: Facts, text: str, found: re.Match[str], template: str) -> Found:
    key, word, name = found.groups()
    kind = Kind.NO_SECRET if word == "Secret" else Kind.NO_CONFIG_MAP
    fix = f"Add the key {key} to the {word} {name}, or mend the key in {template}."
    return Found(kind, text, fix, facts.kubectl("describe", word.lower(), name), template)


def _no_command(text: str) -> str:
    found = re.search(r'exec: "([^"]+)": .*(?:no such file|not found|permission denied)', text)
    return found[1] if found else ""


def node_lost(facts: Facts, message: str) -> Found:
    """A pod whose node does not answer."""
    text = clause(message)
    found = re.search(r" is on (\S+?),", text)
    name = found[1] if found else ""
    return Found(
        Kind.NODE_LOST, text,
        f"Look after the node {name}: its pods are replaced when nodeLossTimeoutSeconds are over.",
        " ".join(("kubectl describe node", name)).rstrip() if name else "kubectl get nodes",
    )  # fmt: skip
