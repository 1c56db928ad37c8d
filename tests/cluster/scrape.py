"""Turns PodMonitors and ServiceMonitors into Prometheus scrape configs, without the Prometheus operator.

The rule, which is the operator's own cut to what charts use: one scrape config for each endpoint of a
monitor; its targets are the pods (or the services' endpoints) in the selected namespaces whose labels match
`selector` and which have a port of the endpoint's name; finished pods are left out; samples get `namespace`,
`pod`, `container`, `service` and `job` (NAMESPACE/NAME for pods, the service for services) and what
`podTargetLabels` names. A field that this rule does not know is an error, because a test must not pass
by ignoring what a user's Prometheus would obey.
"""

from __future__ import annotations

import re
from typing import Any

from tests.cluster.shell import ClusterError

Json = dict[str, Any]

_ENDPOINT_FIELDS = {
    "port": None,
    "path": "metrics_path",
    "scheme": "scheme",
    "interval": "scrape_interval",
    "scrapeTimeout": "scrape_timeout",
    "honorLabels": "honor_labels",
    "relabelings": None,
    "metricRelabelings": None,
}
_SPEC_FIELDS = {
    "selector",
    "namespaceSelector",
    "podMetricsEndpoints",
    "endpoints",
    "jobLabel",
    "podTargetLabels",
    "fallbackScrapeProtocol",
}
_KINDS = {  # kind: (role, object whose labels are selected, label of the port's name, field of the endpoints)
    "PodMonitor": ("pod", "pod", "pod_container_port_name", "podMetricsEndpoints"),
    "ServiceMonitor": ("endpointslice", "service", "endpointslice_port_name", "endpoints"),
}


def scrape_configs(monitors: list[Json], kubeconfig: str) -> list[Json]:
    """The `scrape_configs` of Prometheus for `monitors`, which finds targets through `kubeconfig`."""
    return [
        _scrape_config(monitor, index, endpoint, kubeconfig)
        for monitor in monitors
        for index, endpoint in enumerate(monitor["spec"][_KINDS[monitor["kind"]][3]])
    ]


def _scrape_config(monitor: Json, index: int, endpoint: Json, kubeconfig: str) -> Json:
    kind, metadata, spec = monitor["kind"], monitor["metadata"], monitor["spec"]
    role, selected, port_label, _ = _KINDS[kind]
    where = f"{kind} {metadata['namespace']}/{metadata['name']}"
    _refuse_unknown(where, spec, _SPEC_FIELDS)
    _refuse_unknown(where, endpoint, set(_ENDPOINT_FIELDS))
    rules = [
        _keep("pod_phase", "Pending|Running|Unknown|"),
        *_selector_rules(selected, spec["selector"]),
        _keep(port_label, re.escape(endpoint["port"])),
        *_identity_rules(kind, metadata, spec.get("jobLabel")),
        *(_copy(name, f"pod_label_{name}") for name in map(_label_name, spec.get("podTargetLabels", []))),
        *map(_snake_keys, endpoint.get("relabelings", [])),
    ]
    config: Json = {
        "job_name": f"{kind}/{metadata['namespace']}/{metadata['name']}/{index}",
        "kubernetes_sd_configs": [_discovery(role, metadata["namespace"], spec, kubeconfig)],
        "relabel_configs": rules,
        "metric_relabel_configs": [_snake_keys(rule) for rule in endpoint.get("metricRelabelings", [])],
    }
    if fallback := spec.get("fallbackScrapeProtocol"):
        config["fallback_scrape_protocol"] = fallback
    copied = {
        theirs: endpoint[ours] for ours, theirs in _ENDPOINT_FIELDS.items() if theirs and ours in endpoint
    }
    return config | copied


def _discovery(role: str, namespace: str, spec: Json, kubeconfig: str) -> Json:
    chosen = spec.get("namespaceSelector", {})
    config: Json = {"role": role, "kubeconfig_file": kubeconfig}
    if not chosen.get("any"):
        config["namespaces"] = {"names": chosen.get("matchNames") or [namespace]}
    return config


def _selector_rules(selected: str, selector: Json) -> list[Json]:
    exact = [
        {"key": key, "operator": "In", "values": [value]}
        for key, value in selector.get("matchLabels", {}).items()
    ]
    return [_expression_rule(selected, each) for each in exact + selector.get("matchExpressions", [])]


def _expression_rule(selected: str, expression: Json) -> Json:
    label = _label_name(expression["key"])
    values = "|".join(map(re.escape, expression.get("values", [])))
    match expression["operator"]:
        case "In":
            pair = [
                f"__meta_kubernetes_{selected}_label_{label}",
                f"__meta_kubernetes_{selected}_labelpresent_{label}",
            ]
            return {"source_labels": pair, "regex": f"({values});true", "action": "keep"}
        case "NotIn":
            return {**_keep(f"{selected}_label_{label}", f"({values})"), "action": "drop"}
        case "Exists":
            return _keep(f"{selected}_labelpresent_{label}", "true")
        case _:
            return {**_keep(f"{selected}_labelpresent_{label}", "true"), "action": "drop"}


def _identity_rules(kind: str, metadata: Json, job_label: str | None) -> list[Json]:
    rules = [_copy(name, f"{source}") for name, source in _IDENTITY.items()]
    if job_label:
        selected = _KINDS[kind][1]
        return [*rules, _copy("job", f"{selected}_label_{_label_name(job_label)}")]
    if kind == "ServiceMonitor":
        return [*rules, _copy("job", "service_name")]
    return [*rules, {"target_label": "job", "replacement": f"{metadata['namespace']}/{metadata['name']}"}]


_IDENTITY = {
    "namespace": "namespace",
    "pod": "pod_name",
    "container": "pod_container_name",
    "service": "service_name",
}


def _keep(label: str, regex: str) -> Json:
    return {"source_labels": [f"__meta_kubernetes_{label}"], "regex": regex, "action": "keep"}


def _copy(target: str, label: str) -> Json:
    return {"source_labels": [f"__meta_kubernetes_{label}"], "target_label": target}


def _label_name(key: str) -> str:
    """A Kubernetes label as Prometheus names it: every character that it cannot have becomes `_`."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", key)


def _snake_keys(rule: Json) -> Json:
    return {re.sub("([A-Z])", r"_\1", key).lower(): value for key, value in rule.items()}


def _refuse_unknown(where: str, given: Json, known: set[str]) -> None:
    if unknown := sorted(set(given) - known):
        raise ClusterError(
            f"{where}: the scrape rule does not know {', '.join(unknown)}; teach tests/cluster/scrape.py"
        )
