"""Leader SGD with groups by node: a worker knows its place from the downward API, so only a cluster can show it."""

from __future__ import annotations

import pytest

from tests.e2e.jobs import SAMPLES, paced
from tests.e2e.release import Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(600)
INDEX = "batch.kubernetes.io/job-completion-index"
SPREAD = {
    "maxSkew": 1,
    "topologyKey": "kubernetes.io/hostname",
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": {"asgd.dev/job-name": "leaders", "asgd.dev/role": "worker"}},
}


def test_leader_sgd_groups_workers_by_the_nodes_that_they_run_on(release: Release) -> None:
    job = release.job("leaders")
    lsgd = {"name": "lsgd", "groups": "node", "period": 2, "globalPeriod": 8}
    document = paced(20, workers=4, algorithm=lsgd)
    document["spec"]["workers"]["podTemplate"] = {"spec": {"topologySpreadConstraints": [SPREAD]}}
    job.apply(document)
    job.trains_with(4)
    placed = {
        int(pod["metadata"]["annotations"][INDEX]): pod["spec"]["nodeName"] for pod in job.pods("worker")
    }
    assert sorted(placed.values()) == ["node-1", "node-1", "node-2", "node-2"]
    assert {worker["index"]: worker["node"] for worker in job.told()["workers"]} == placed
    job.hurry()
    job.wait("Complete")
    training = job.status["training"]
    assert training["stopReason"] == "epochs"
    assert training["samples"] >= 20 * SAMPLES
    assert training["metrics"]["accuracy"] > 0.5, "the mean of the workers was evaluated"
    job.delete()
