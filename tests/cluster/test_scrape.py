"""Monitors become the scrape configs that the stated rule promises."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.scrape import scrape_configs
from tests.cluster.shell import ClusterError


def pod_monitor(**spec: Any) -> dict[str, Any]:
    selector = {"matchLabels": {"app.kubernetes.io/name": "asgd"}}
    endpoints = [{"port": "metrics", "path": "/metrics", "interval": "10s"}]
    metadata = {"name": "trainer", "namespace": "team-a"}
    return {
        "kind": "PodMonitor",
        "metadata": metadata,
        "spec": {"selector": selector, "podMetricsEndpoints": endpoints} | spec,
    }


def only(monitor: dict[str, Any]) -> dict[str, Any]:
    (config,) = scrape_configs([monitor], "/kubeconfig")
    return config


def rule_for(config: dict[str, Any], label: str) -> dict[str, Any]:
    name = f"__meta_kubernetes_{label}"
    (rule,) = [each for each in config["relabel_configs"] if name in each.get("source_labels", [])]
    return dict(rule)


def test_an_endpoint_is_scraped_in_the_monitor_s_namespace_at_its_port_path_and_interval() -> None:
    config = only(pod_monitor())
    (discovery,) = config["kubernetes_sd_configs"]
    assert discovery["role"] == "pod"
    assert discovery["namespaces"] == {"names": ["team-a"]}
    assert (config["metrics_path"], config["scrape_interval"]) == ("/metrics", "10s")
    assert rule_for(config, "pod_container_port_name")["regex"] == "metrics"


def test_match_labels_keep_only_pods_that_carry_the_label_with_that_value() -> None:
    rule = rule_for(only(pod_monitor()), "pod_label_app_kubernetes_io_name")
    assert rule["action"] == "keep"
    assert rule["regex"] == "(asgd);true"
    assert "__meta_kubernetes_pod_labelpresent_app_kubernetes_io_name" in rule["source_labels"]


@pytest.mark.parametrize(
    ("operator", "values", "label", "action", "regex"),
    [
        ("In", ["a", "b.c"], "pod_label_role", "keep", r"(a|b\.c);true"),
        ("NotIn", ["a"], "pod_label_role", "drop", "(a)"),
        ("Exists", [], "pod_labelpresent_role", "keep", "true"),
        ("DoesNotExist", [], "pod_labelpresent_role", "drop", "true"),
    ],
)
def test_each_selector_operator_has_its_relabel_rule(
    operator: str, values: list[str], label: str, action: str, regex: str
) -> None:
    expression = {"key": "role", "operator": operator, "values": values}
    rule = rule_for(only(pod_monitor(selector={"matchExpressions": [expression]})), label)
    assert (rule["action"], rule["regex"]) == (action, regex)


def test_any_namespace_means_no_restriction() -> None:
    (discovery,) = only(pod_monitor(namespaceSelector={"any": True}))["kubernetes_sd_configs"]
    assert "namespaces" not in discovery


def test_named_namespaces_replace_the_monitor_s_own() -> None:
    (discovery,) = only(pod_monitor(namespaceSelector={"matchNames": ["x", "y"]}))["kubernetes_sd_configs"]
    assert discovery["namespaces"] == {"names": ["x", "y"]}


def test_a_service_monitor_selects_by_the_service_s_labels_and_is_named_after_the_service() -> None:
    monitor = pod_monitor() | {"kind": "ServiceMonitor"}
    monitor["spec"]["endpoints"] = monitor["spec"].pop("podMetricsEndpoints")
    config = only(monitor)
    assert config["kubernetes_sd_configs"][0]["role"] == "endpointslice"
    assert rule_for(config, "service_label_app_kubernetes_io_name")["action"] == "keep"
    targets = [rule["target_label"] for rule in config["relabel_configs"] if "target_label" in rule]
    assert targets == ["namespace", "pod", "container", "service", "job"]


def test_pod_target_labels_become_labels_of_the_samples() -> None:
    rule = rule_for(only(pod_monitor(podTargetLabels=["asgd.dev/role"])), "pod_label_asgd_dev_role")
    assert rule["target_label"] == "asgd_dev_role"


def test_relabelings_keep_their_meaning_in_prometheus_s_spelling() -> None:
    relabeling = {"sourceLabels": ["__name__"], "regex": "go_.*", "action": "drop"}
    endpoint = {"port": "metrics", "metricRelabelings": [relabeling]}
    config = only(pod_monitor(podMetricsEndpoints=[endpoint]))
    expected = {"source_labels": ["__name__"], "regex": "go_.*", "action": "drop"}
    assert config["metric_relabel_configs"] == [expected]


def test_a_field_that_the_rule_does_not_know_is_refused_by_name() -> None:
    endpoint = {"port": "metrics", "tlsConfig": {}}
    with pytest.raises(ClusterError, match=r"PodMonitor team-a/trainer: .* tlsConfig"):
        only(pod_monitor(podMetricsEndpoints=[endpoint]))
