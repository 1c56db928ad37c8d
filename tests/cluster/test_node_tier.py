"""The node tier is a real cluster: pods, logs, names, volumes, metrics, GPUs, and nodes that can be lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import prometheus
from tests.cluster.access import Cluster
from tests.cluster.debian import BUSYBOX
from tests.cluster.kubectl import Kubectl
from tests.cluster.shell import wait_until

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(240)

RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
SERVE = "echo served > /data/index.html; echo listening; exec httpd -f -p 8080 -h /data"
METRICS = "echo 'answer{unit=\"all\"} 42' > /data/metrics; exec httpd -f -p 8080 -h /data"


def pod(name: str, command: str, node: str | None = None, **spec: Any) -> dict[str, Any]:
    """A busybox pod that the `restricted` standard admits, with a writable /data."""
    main: dict[str, Any] = {
        "name": "main",
        "image": BUSYBOX,
        "command": ["sh", "-c", command],
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "resources": spec.pop("resources", {}),
    }
    user = {
        "runAsUser": 1000,
        "runAsNonRoot": True,
        "fsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    body = {"containers": [main], "securityContext": user, "terminationGracePeriodSeconds": 0}
    body |= {"volumes": [{"name": "data", "emptyDir": {}}], "nodeName": node} | spec
    metadata = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body}


@pytest.fixture(scope="module")
def kubectl(cluster: Cluster) -> Iterator[Kubectl]:
    """kubectl with a namespace `probe` that enforces the restricted standard."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.kubectl.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "probe", "labels": labels}}
    )
    account = ("get", "serviceaccount", "default", "-n", "probe")
    wait_until("the namespace's account", lambda: cluster.kubectl.succeeds(*account), 30)
    yield cluster.kubectl
    cluster.kubectl("delete", "namespace", "probe", "--wait=false")


def apply(kubectl: Kubectl, *objects: dict[str, Any]) -> None:
    kubectl.apply(*objects, namespace="probe")


def wait(kubectl: Kubectl, what: str, condition: str, seconds: int = 60) -> None:
    kubectl.wait(what, condition, "-n", "probe", seconds=seconds)


def logs(kubectl: Kubectl, name: str) -> str:
    return kubectl("logs", name, "-n", "probe")


def test_a_pod_reaches_a_service_on_the_other_node_by_its_name(kubectl: Kubectl) -> None:
    ports = [{"port": 80, "targetPort": "http"}]
    service = {"selector": {"app": "server"}, "ports": ports}
    ask = "until wget -qO- http://server.probe.svc.cluster.local; do sleep 1; done"
    apply(kubectl, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"}, "spec": service})
    apply(
        kubectl, pod("server", SERVE, node="node-1"), pod("asker", ask, node="node-2", restartPolicy="Never")
    )
    wait(kubectl, "pod/asker", "jsonpath={.status.phase}=Succeeded")
    assert logs(kubectl, "asker").splitlines()[-1] == "served"
    assert logs(kubectl, "server") == "listening\n"
    assert kubectl("exec", "server", "-n", "probe", "--", "id", "-u") == "1000\n"


def test_a_claim_is_bound_and_both_nodes_see_the_same_volume(kubectl: Kubectl) -> None:
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": "shared"}
    apply(kubectl, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim})
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}]
    away = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-2"]}]}]
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": away}}
    }
    apply(
        kubectl,
        pod("writer", "echo kept > /data/note", volumes=volumes, restartPolicy="Never", affinity=affinity),
    )
    wait(kubectl, "pod/writer", "jsonpath={.status.phase}=Succeeded")
    apply(kubectl, pod("reader", "cat /data/note", node="node-1", volumes=volumes, restartPolicy="Never"))
    wait(kubectl, "pod/reader", "jsonpath={.status.phase}=Succeeded")
    assert logs(kubectl, "reader") == "kept\n"


def test_gpu_requests_are_scheduled_onto_the_node_that_advertises_gpus(
    cluster: Cluster, kubectl: Kubectl
) -> None:
    cluster.set_gpus("node-2", 2)
    two = {"limits": {"nvidia.com/gpu": 2}}
    apply(kubectl, pod("gpu-1", "sleep 300", resources=two))
    wait(kubectl, "pod/gpu-1", "condition=Ready")
    assert kubectl("get", "pod", "gpu-1", "-n", "probe", "-o", "jsonpath={.spec.nodeName}") == "node-2"
    apply(kubectl, pod("gpu-2", "sleep 300", resources=two))
    wait(kubectl, "pod/gpu-2", "jsonpath={.status.conditions[0].reason}=Unschedulable")
    kubectl("delete", "pod", "gpu-1", "gpu-2", "-n", "probe", "--force")


def test_an_autoscaler_sees_the_cpu_use_of_pods_and_scales_them(kubectl: Kubectl) -> None:
    resources = {"requests": {"cpu": "50m"}, "limits": {"cpu": "100m"}}
    busy = pod("busy", "while :; do :; done", resources=resources)
    template = {"metadata": busy["metadata"], "spec": busy["spec"]}
    deployment = {"replicas": 1, "selector": {"matchLabels": {"app": "busy"}}, "template": template}
    metadata = {"name": "busy"}
    apply(kubectl, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployment})
    kubectl("autoscale", "deployment/busy", "--cpu-percent=50", "--min=1", "--max=2", "-n", "probe")
    wait(kubectl, "deployment/busy", "jsonpath={.spec.replicas}=2", seconds=120)
    kubectl("delete", "deployment/busy", "hpa/busy", "-n", "probe")


def test_a_real_prometheus_scrapes_what_a_pod_monitor_selects(kubectl: Kubectl, tmp_path: Path) -> None:
    prometheus.install_kinds(kubectl)
    endpoints = [{"port": "http", "path": "/metrics", "interval": "1s", "scrapeTimeout": "1s"}]
    spec: dict[str, Any] = {
        "selector": {"matchLabels": {"app": "measured"}},
        "podMetricsEndpoints": endpoints,
    }
    spec["fallbackScrapeProtocol"] = "PrometheusText0.0.4"  # busybox names no content type
    kind = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor", "metadata": {"name": "probe"}}
    apply(kubectl, {**kind, "spec": spec}, pod("measured", METRICS), pod("unmeasured", METRICS))
    wait(kubectl, "pod/measured", "condition=Ready")
    server = prometheus.start(kubectl, tmp_path / "prometheus")
    try:
        wait_until("a sample", lambda: bool(server.query("answer")), 60)
        (sample,) = server.query("answer")
    finally:
        server.stop()
    assert sample["value"][1] == "42"
    found = {name: sample["metric"][name] for name in ("namespace", "pod", "container", "job", "unit")}
    expected = {
        "namespace": "probe",
        "pod": "measured",
        "container": "main",
        "job": "probe/probe",
        "unit": "all",
    }
    assert found == expected


def test_a_node_without_power_turns_not_ready_and_comes_back(cluster: Cluster, kubectl: Kubectl) -> None:
    apply(kubectl, pod("resident", "sleep 300", node="node-2"))
    wait(kubectl, "pod/resident", "condition=Ready")
    cluster.stop_node("node-2")
    try:
        kubectl.wait("node/node-2", "condition=Ready=Unknown", seconds=60)
        assert _sleepers() == 0, "nothing of the node may live on"
    finally:
        cluster.start_node("node-2")
    restarts = "jsonpath={.status.containerStatuses[0].restartCount}=1"
    wait(kubectl, "pod/resident", restarts)
    wait(kubectl, "pod/resident", "condition=Ready")


def test_a_partitioned_node_turns_not_ready_while_its_pods_run_on(cluster: Cluster, kubectl: Kubectl) -> None:
    apply(kubectl, pod("islander", "sleep 300", node="node-2"))
    wait(kubectl, "pod/islander", "condition=Ready")
    before = _sleepers()
    cluster.stop_node("node-2", partition=True)
    try:
        kubectl.wait("node/node-2", "condition=Ready=Unknown", seconds=60)
        assert _sleepers() == before
    finally:
        cluster.start_node("node-2")
    wait(kubectl, "pod/islander", "condition=Ready")
    counts = "jsonpath={.status.containerStatuses[0].restartCount}"
    assert kubectl("get", "pod", "islander", "-n", "probe", "-o", counts) == "0"


def _sleepers() -> int:
    """How many of the pods' `sleep 300` live on this machine, whatever the API server believes."""
    found = subprocess.run(["pgrep", "-fxc", "sleep 300"], capture_output=True, text=True)
    return int(found.stdout)
