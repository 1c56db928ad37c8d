"""GPUs are asked for by workers alone, as limits that the scheduler counts. There is no device behind them here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.jobs import digits, until
from tests.e2e.release import Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)
GPU = "nvidia.com/gpu"


@pytest.fixture
def gpus(release: Release) -> Iterator[str]:
    """Name of a node that advertises two GPUs; the others have none."""
    release.cluster.set_gpus("node-2", 2)
    yield "node-2"
    release.cluster.set_gpus("node-2", 0)


def limits(pod: dict[str, Any]) -> dict[str, str]:
    """Limits of the pod's container."""
    (container,) = pod["spec"]["containers"]
    return dict(container["resources"].get("limits", {}))


def all_placed(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods, once there are some and each has a node."""
    return pods if all(pod["spec"].get("nodeName") for pod in pods) else []


def test_workers_with_devices_go_where_the_devices_are_and_nothing_else_asks_for_one(
    release: Release, gpus: str
) -> None:
    job = release.job("accelerated")
    job.apply(digits(workers={"replicas": 2, "devices": {"count": 1}}))
    placed = until(
        lambda: (w := job.pods("worker")) and all(p["spec"].get("nodeName") for p in w) and w,
        "they are placed",
    )
    assert [pod["spec"]["nodeName"] for pod in placed] == [gpus, gpus]
    assert [limits(pod)[GPU] for pod in placed] == ["1", "1"]
    assert all(GPU not in limits(pod) for role in ("server", "evaluator") for pod in job.pods(role))
    job.delete()


def test_workers_that_no_node_has_devices_for_wait_and_the_job_says_so(release: Release, gpus: str) -> None:
    job = release.job("too-many")
    job.apply(digits(workers={"replicas": 1, "devices": {"count": 3}}))
    until(lambda: job.condition("WorkersReady").get("reason") == "Unschedulable", "the job says so")
    assert len(job.ready("server")) == 2
    job.delete()


def test_a_job_asks_for_no_device_by_default(release: Release, gpus: str) -> None:
    job = release.job("modest")
    job.apply(digits(workers={"replicas": 1}))
    until(lambda: job.pods("worker"), "there is a worker")
    assert all(GPU not in limits(pod) for pod in job.pods())
    job.delete()
