"""What a cluster does to a job, done to one that trains: each time it completes, and status says what it cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.jobs import SAMPLES, Job, paced, until
from tests.e2e.release import SYSTEM, Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(900)
EPOCHS = 40


@pytest.fixture
def job(release: Release, request: pytest.FixtureRequest) -> Iterator[Job]:
    """Two shards and two workers that train, with a checkpoint in a volume every three seconds.

    In a namespace of the test's own: the claim of a finished job holds a model that is finished.
    """
    found = release.job("faults", request.node.name.replace("_", "-"))
    document = paced(epochs=EPOCHS, checkpoint=found.claim())
    document["spec"]["parameterServer"] = {"shards": 2, "nodeLossTimeoutSeconds": 5}
    document["spec"]["workers"] = {"replicas": 2, "nodeLossTimeoutSeconds": 5}
    found.apply(document).trains_with(2)
    until(lambda: found.updates() > 20, "there are updates")
    yield found
    found.delete()


def goes_on(job: Job) -> None:
    """Two workers train, and updates grow."""
    job.trains_with(2)
    before = job.updates()
    until(lambda: job.updates() > before + 5, "updates grow")


def completes(job: Job) -> dict[str, Any]:
    """Its status when it is complete, every sample of every epoch visited."""
    job.hurry()
    job.wait("Complete")
    status = job.status
    assert status["training"]["samples"] >= EPOCHS * SAMPLES
    assert status["training"]["epochs"] >= EPOCHS
    assert status["workers"]["failed"] == 0
    return status


def uids(job: Job) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in job.pods()}


def test_a_job_outlives_its_worker_its_server_and_the_operator(release: Release, job: Job) -> None:
    before = uids(job)
    victim = job.pods("worker")[0]["metadata"]["name"]
    job.run("delete", "pod", victim, "--force", "--grace-period=0")
    until(lambda: victim not in uids(job), "the worker is gone")
    goes_on(job)
    assert {name: uid for name, uid in uids(job).items() if name in before} == {
        name: uid for name, uid in before.items() if name != victim
    }

    before = uids(job)
    for shard in (1, 0):
        name = f"faults-server-{shard}"
        job.run("delete", "pod", name, "--force", "--grace-period=0")
        until(
            lambda old=before[name], name=name: uids(job).get(name, old) != old,
            f"shard {shard} is made again",
        )
        goes_on(job)
    assert {n: u for n, u in uids(job).items() if "-server-" not in n} == {
        n: u for n, u in before.items() if "-server-" not in n
    }

    before = uids(job)
    release.kubectl("-n", SYSTEM, "delete", "pod", release.operator_pod()["metadata"]["name"], "--force")
    release.rollout()
    goes_on(job)
    assert uids(job) == before

    status = completes(job)
    assert status["parameterServer"]["restarts"] == 2
    assert status["workers"]["restarts"] >= 1
    assert status["term"] >= 2
    assert "ServerRestarted" in job.events()


def test_a_job_outlives_a_node(release: Release, job: Job) -> None:
    keeps = release.operator_pod()["spec"]["nodeName"]
    (lost,) = {"node-1", "node-2"} - {keeps}
    there = {pod["metadata"]["name"] for pod in job.pods() if pod["spec"]["nodeName"] == lost}
    assert there, "servers spread over the nodes"
    release.cluster.stop_node(lost)
    try:
        until(
            lambda: (
                all(pod["spec"].get("nodeName") == keeps for pod in job.pods())
                and len(job.ready("worker")) == 2
            ),
            "everything runs on the node that is left",
            seconds=180,
        )
        goes_on(job)
        status = completes(job)
    finally:
        release.cluster.start_node(lost)
    assert status["parameterServer"]["restarts"] >= 1
    assert "ServerForceReplaced" in job.events()
