"""The chart over a matrix of values: what it makes is whole, restricted, and read by the operator as it
is."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from asgd.spec.load import job_of
from asgd_operator import settings
from tests.chart.helm import CHART, KUBE, Values, helm, one, template

ROOT = CHART.parents[1]
MONITOR = {"enabled": True, "labels": {"release": "prometheus"}, "interval": "15s"}
MATRIX: dict[str, Values] = {
    "defaults": {},
    "namespaced": {"watch": {"namespaces": ["a", "b"], "nodes": False}},
    "namespaced with nodes": {"watch": {"namespaces": ["a"]}},
    "monitors for all jobs": {"metrics": {"serviceMonitor": MONITOR, "podMonitor": MONITOR}},
    "alerts and dashboard": {
        "metrics": {"prometheusRule": {"enabled": True}, "dashboard": {"enabled": True, "labels": {"x": "y"}}}
    },
    "a monitor a job": {"jobs": {"podMonitor": {"enabled": True, "labels": {"x": "y"}}}},
    "all on": {
        "leaderElection": {"enabled": True},
        "priorityClasses": {"create": True},
        "jobs": {"podGroups": {"enabled": True}, "imagePullSecrets": ["pull"]},
        "imagePullSecrets": [{"name": "pull"}],
        "podLabels": {"team": "a", "app.kubernetes.io/name": "mine"},
        "podAnnotations": {"note": "1"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "serviceAccount": {"annotations": {"role": "x"}},
    },
    "all off": {
        "crds": {"enabled": False},
        "rbac": {"create": False, "aggregate": False},
        "serviceAccount": {"create": False, "name": "mine"},
        "networkPolicy": {"enabled": False},
    },
    "own images and names": {
        "image": {"repository": "r.example/op", "digest": "sha256:" + "0" * 64},
        "jobs": {"serverImage": "r.example/server:1", "trainerImage": "r.example/train:2"},
        "fullnameOverride": "other",
        "port": 9999,
        "logging": {"level": "debug", "format": "text"},
    },
    "prometheus in one namespace": {
        "jobs": {"prometheus": {"namespaceLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    },
}
ALL = pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())


def configuration(objects: list[dict[str, Any]]) -> str:
    """The operator's own, as the chart writes it."""
    maps = (item["data"] for item in objects if item["kind"] == "ConfigMap")
    (found,) = (data["config.yaml"] for data in maps if "config.yaml" in data)
    return str(found)


@ALL
def test_the_chart_passes_its_own_lint(values: Values) -> None:
    helm("lint", "--strict", CHART, KUBE, values=values)


@ALL
def test_no_object_is_made_twice(values: Values) -> None:
    keys = [
        (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
        for item in template(values)
    ]
    assert len(keys) == len(set(keys))


@ALL
def test_the_operator_reads_the_configuration_that_the_chart_writes(values: Values, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(configuration(template(values)))
    read = settings.load(file)
    assert read.watch.namespaces == tuple(values.get("watch", {}).get("namespaces", ()))
    assert read.port == values.get("port", 8080)
    wanted = values.get("jobs", {}).get("podMonitor", {}).get("enabled", False)
    assert read.jobs.pod_monitor is wanted


@ALL
def test_every_pod_of_the_chart_meets_the_restricted_standard(values: Values) -> None:
    objects = template(values)
    for spec in (one(objects, "Deployment")["spec"]["template"]["spec"], one(objects, "Pod")["spec"]):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@ALL
def test_selectors_find_the_operators_pod(values: Values) -> None:
    objects = template(values)
    deployment = one(objects, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    config = yaml.safe_load(configuration(objects))
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        one(objects, "Service")["spec"]["selector"],
        config["jobs"]["operator"]["podLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
    test_labels = one(objects, "Pod")["metadata"]["labels"]
    assert not selectors[0].items() <= test_labels.items(), "the test pod must not become an endpoint"


def test_series_of_jobs_keep_their_own_namespace() -> None:
    (endpoint,) = one(template({"metrics": {"serviceMonitor": MONITOR}}), "ServiceMonitor")["spec"][
        "endpoints"
    ]
    assert endpoint["honorLabels"] is True


def test_a_starved_node_has_minutes_to_start_the_operator_and_readiness_asks_what_it_watches() -> None:
    """`tests/unit/engine/test_engine_probes.py` has what /readyz and /healthz answer."""
    (container,) = one(template(), "Deployment")["spec"]["template"]["spec"]["containers"]
    startup, liveness, readiness = (
        container[f"{name}Probe"] for name in ("startup", "liveness", "readiness")
    )
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300
    paths = [probe["httpGet"]["path"] for probe in (startup, liveness, readiness)]
    assert paths == ["/healthz", "/healthz", "/readyz"], "one that waits for its CRD is not killed for it"
    assert {probe["httpGet"]["port"] for probe in (startup, liveness, readiness)} == {"http"}


def test_the_operator_is_replaced_and_never_doubled() -> None:
    spec = one(template(), "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_a_changed_configuration_restarts_the_operator() -> None:
    def checksum(values: Values) -> str:
        template_ = one(template(values), "Deployment")["spec"]["template"]
        found: str = template_["metadata"]["annotations"]["checksum/config"]
        return found

    assert checksum({}) != checksum({"logging": {"level": "debug"}})


def test_the_crd_in_the_chart_is_the_one_of_the_project_and_stays_on_uninstall() -> None:
    made = one(template(), "CustomResourceDefinition")
    assert made["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert made == yaml.safe_load((ROOT / "crds" / "asgdjobs.asgd.dev.yaml").read_text())


def test_the_crd_can_be_left_out_or_given_up_on_uninstall() -> None:
    kinds = {item["kind"] for item in template({"crds": {"enabled": False}})}
    assert "CustomResourceDefinition" not in kinds
    given_up = one(template({"crds": {"keep": False}}), "CustomResourceDefinition")
    assert "annotations" not in given_up["metadata"]


def test_monitors_and_priority_classes_are_off_by_default() -> None:
    kinds = {item["kind"] for item in template()}
    assert not kinds & {"ServiceMonitor", "PodMonitor", "PrometheusRule", "PriorityClass"}


def test_two_monitors_of_the_same_pods_are_refused() -> None:
    values = {"metrics": {"podMonitor": {"enabled": True}}, "jobs": {"podMonitor": {"enabled": True}}}
    said = helm("template", "x", CHART, KUBE, values=values, fails=True)
    assert "scrape every job twice" in said


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 2},
        {"image": {"repo": "x"}},
        {"port": 80},
        {"watch": {"namespaces": "default"}},
        {"watch": {"namespaces": [""]}},
        {"logging": {"level": "loud"}},
        {"jobs": {"podMonitor": {"enabled": "yes"}}},
        {"image": {"digest": "latest"}},
        {"metrics": {"serviceMonitor": {"interval": "often"}}},
        {"metrics": {"prometheusRule": {"enabled": 1}}},
    ],
    ids=json.dumps,
)
def test_a_wrong_or_unknown_value_is_refused(values: Values) -> None:
    said = helm("template", "x", CHART, KUBE, values=values, fails=True)
    assert "values.schema.json" in said or "don't meet the specifications of the schema" in said


def test_the_schema_knows_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    schema["properties"].pop("global")
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    _same_keys(values, schema, "")


def _same_keys(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
    properties = schema.get("properties")
    if properties is None or path == ".resources":
        return
    assert values.keys() == properties.keys(), path
    for key, value in values.items():
        if isinstance(value, dict):
            _same_keys(value, properties[key], f"{path}.{key}")


def test_every_value_says_what_it_means() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \|.*\| (.*) \|$", (CHART / "README.md").read_text(), re.M)
    assert len(rows) > 60
    assert [value for value, meaning in rows if not meaning.strip()] == []


def test_chart_and_project_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["version"] == chart["appVersion"] == project["version"]


def test_what_artifact_hub_shows_is_the_crd_of_the_project_and_a_job_that_it_takes() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    shown = {key.removeprefix("artifacthub.io/"): text for key, text in chart["annotations"].items()}
    assert (shown["license"], shown["operator"]) == ("Apache-2.0", "true")
    assert shown["operatorCapabilities"] == "Deep Insights"
    (card,) = yaml.safe_load(shown["crds"])
    crd = yaml.safe_load((ROOT / "crds" / "asgdjobs.asgd.dev.yaml").read_text())
    names, versions = crd["spec"]["names"], [version["name"] for version in crd["spec"]["versions"]]
    assert (card["kind"], card["name"], [card["version"]]) == (
        names["kind"],
        crd["metadata"]["name"],
        versions,
    )
    for example in yaml.safe_load(shown["crdsExamples"]):
        assert job_of(example).name == example["metadata"]["name"]


def test_the_operator_and_its_jobs_are_told_of_a_collector(tmp_path: Path) -> None:
    told = {"endpoint": "http://c.monitoring:4318", "exchanges": 0.1}
    objects = template({"tracing": told})
    (tmp_path / "config.yaml").write_text(configuration(objects))
    read = settings.load(tmp_path / "config.yaml").jobs.tracing
    assert (read.endpoint, read.exchanges) == ("http://c.monitoring:4318", 0.1)
    env = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://c.monitoring:4318"} in env
    assert "OTEL" not in str(one(template(), "Deployment"))
