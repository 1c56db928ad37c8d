"""Pods of one node push and pull through its memory, those of another node by TCP, in one job and one volume."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.jobs import SAMPLES, Job, paced, until
from tests.e2e.release import Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(600)
NAME = "neighbours"
EPOCHS = 20


@pytest.fixture
def memory(release: Release) -> Iterator[dict[str, Path]]:
    """As docs/how-to/shared-memory.md says: a tmpfs on each node, one volume for all of them; {node: its files}."""
    path = release.cluster.kubeconfig.parent / NAME
    found = release.cluster.share_memory(path)
    release.kubectl.apply(volume(path))
    yield found
    release.kubectl("delete", "pv", NAME)


@pytest.fixture
def job(release: Release, memory: dict[str, Path]) -> Iterator[Job]:
    """A server on node-1, and a worker on each node."""
    found = release.job(NAME)
    release.kubectl.apply(claim(), namespace=NAME)
    document = paced(epochs=EPOCHS, exchange={"sharedMemory": {"pvc": "node-memory"}})
    here = {"spec": {"nodeSelector": {"kubernetes.io/hostname": "node-1"}}}
    document["spec"]["parameterServer"] = {"shards": 1, "podTemplate": here}
    document["spec"]["workers"] = {"replicas": 2, "podTemplate": {"spec": apart()}}
    yield found.apply(document)
    found.delete()
    found.run("delete", "pvc", "node-memory")


def volume(path: Path) -> dict[str, Any]:
    any_node = [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": NAME},
        "spec": {
            "storageClassName": NAME,
            "capacity": {"storage": "256Mi"},
            "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": str(path)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": any_node}]}},
            "claimRef": {"name": "node-memory", "namespace": NAME},
        },
    }


def claim() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "node-memory"},
        "spec": {
            "storageClassName": NAME,
            "volumeName": NAME,
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "256Mi"}},
        },
    }


def apart() -> dict[str, Any]:
    """No two workers on one node while the other has none."""
    labels = {"asgd.dev/job-name": NAME, "asgd.dev/role": "worker"}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }
    return {"topologySpreadConstraints": [spread]}


def lanes(pod: dict[str, Any]) -> list[str]:
    """What the worker in `pod` reaches its shards over; nothing before its first exchange."""
    try:
        with urllib.request.urlopen(f"http://{pod['status']['podIP']}:9090/metrics", timeout=5) as answer:
            return re.findall(r'^asgd_worker_lane\{.*\blane="(\w+)"', answer.read().decode(), re.MULTILINE)
    except (OSError, KeyError):
        return []


def test_pods_of_one_node_share_its_memory_and_others_go_by_tcp(job: Job, memory: dict[str, Path]) -> None:
    job.trains_with(2)
    found = until(
        lambda: (
            (w := {pod["spec"]["nodeName"]: lanes(pod) for pod in job.pods("worker")})
            and all(w.values())
            and w
        ),
        "both workers have exchanged",
    )
    assert found == {"node-1": ["shm"], "node-2": ["tcp"]}
    assert [len(list(memory[node].glob("asgd-*.segment"))) for node in ("node-1", "node-2")] == [1, 1]

    job.hurry()
    job.wait("Complete")
    status = job.status
    assert status["training"]["samples"] == EPOCHS * SAMPLES
    assert status["workers"]["restarts"] == status["parameterServer"]["restarts"] == 0
    until(lambda: not any(list(files.iterdir()) for files in memory.values()), "no file is left")
