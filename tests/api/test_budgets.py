"""What the real Job controller charges a worker's budget for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.api.acting import QUICK, Job, clear, operator, until
from tests.cluster.kubectl import Kubectl

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)  # they wait for controllers, on a machine that may be busy
KILLED = {"exitCode": 137, "reason": "Error", "finishedAt": "2026-01-01T00:00:00Z"}
COUNTS = ("job-index-failure-count", "job-index-ignored-failure-count")


def test_a_worker_that_somebody_deletes_costs_no_budget_though_it_hangs_and_is_killed(
    kubectl: Kubectl, tmp_path: Path
) -> None:
    clear(kubectl)
    with operator(kubectl, tmp_path, **QUICK):
        job = Job(kubectl, "deleted")
        job.create(workers={"replicas": 1})
        job.start_pods("server", 1)
        until(lambda: job.pods("worker"), "the worker exists")
        (name,) = [pod["metadata"]["name"] for pod in job.pods("worker")]
        bind(job, name)
        job.start_pods("worker", 1)
        kubectl("-n", job.name, "delete", "pod", name, "--wait=false")
        until(lambda: "DisruptionTarget" in conditions(job, name), "the operator has marked it")

        status = {"phase": "Failed", "containerStatuses": [container()]}
        words = ("patch", "pod", name, "--subresource=status", "--type=merge")
        kubectl("-n", job.name, *words, "-p", json.dumps({"status": status}))
        until(lambda: [p for p in job.pods("worker") if p["metadata"]["name"] != name], "another one exists")
        (made,) = [pod for pod in job.pods("worker") if pod["metadata"]["name"] != name]
        marks = made["metadata"]["annotations"]
        assert [marks.get(f"batch.kubernetes.io/{count}", "0") for count in COUNTS] == ["0", "1"]


def bind(job: Job, name: str) -> None:
    """NB: the API server removes a pod at once that no node has."""
    target = {"apiVersion": "v1", "kind": "Node", "name": "played"}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    path = f"/api/v1/namespaces/{job.name}/pods/{name}/binding"
    job.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(binding))


def conditions(job: Job, name: str) -> list[str]:
    found = job.get("pod", name)["status"].get("conditions", ())
    return [item["type"] for item in found if item["status"] == "True"]


def container() -> dict[str, object]:
    return {
        "name": "asgd",
        "image": "i",
        "imageID": "i",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": KILLED},
    }
