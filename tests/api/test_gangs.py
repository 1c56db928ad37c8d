"""PodGroups against the real CRDs of coscheduling and Volcano, and coscheduling's own scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asgd.spec.status import Advice, Status
from tests.api.acting import Job, OperatorProcess, ShardZero, until
from tests.cluster.coscheduling import NAME, add_node, scheduler
from tests.cluster.fixtures import need_queues
from tests.cluster.kubectl import Kubectl
from tests.cluster.queues import COSCHEDULING, COSCHEDULING_MANIFESTS, VOLCANO_MANIFESTS

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]
ANYWHERE = {"spec": {"tolerations": [{"operator": "Exists"}]}}
PLACES = {"coscheduling": "scheduling.x-k8s.io", "volcano": "scheduling.volcano.sh"}


@pytest.fixture
def nodes(kubectl: Kubectl) -> Iterator[None]:
    yield
    kubectl("delete", "nodes", "--all")


def gang(provider: str, **scheduling: Any) -> dict[str, Any]:
    requests = {"requests": {"cpu": "1"}}
    return {
        "scheduling": {"gang": {"provider": provider}} | scheduling,
        "workers": {"replicas": 4, "minReplicas": 3, "resources": requests, "podTemplate": ANYWHERE},
        "parameterServer": {"shards": 1, "podTemplate": ANYWHERE},
        "evaluation": {"everySeconds": 0},
    }


def group(job: Job, provider: str) -> Any:
    return job.get(f"podgroups.{PLACES[provider]}", f"{job.name}-worker")


def bound(job: Job) -> int:
    return sum("nodeName" in pod["spec"] for pod in job.pods("worker"))


@pytest.mark.parametrize("provider", ["coscheduling", "volcano"])
def test_a_group_is_what_its_kind_asks_for_and_follows_the_least_number_of_workers(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero, provider: str
) -> None:
    manifests = {"coscheduling": COSCHEDULING_MANIFESTS, "volcano": VOLCANO_MANIFESTS}[provider]
    need_queues(manifests)
    job = Job(kubectl, f"gang-{provider}", metrics_port=shard.port)
    kubectl("delete", "crd", f"podgroups.{PLACES[provider]}", "--ignore-not-found")
    job.create(**gang(provider))
    job.phase("Invalid")
    says = "spec: the cluster knows no kind PodGroup; install what defines it."
    assert job.condition("Accepted")["message"] == says
    (crd,) = manifests.kept.glob("scheduling.*_podgroups.yaml")
    kubectl("apply", "--server-side", "-f", str(crd))
    job.start_pods("server", 1)
    until(lambda: len(job.pods("worker")) == 4, "the workers are made")
    assert group(job, provider)["spec"]["minMember"] == 3
    (metadata, scheduled_by) = (
        (pod["metadata"], pod["spec"]["schedulerName"]) for pod in job.pods("worker")[:1]
    ).__next__()
    if provider == "volcano":
        assert metadata["annotations"]["scheduling.k8s.io/group-name"] == f"{job.name}-worker"
        assert scheduled_by == "volcano"
    else:
        assert metadata["labels"]["scheduling.x-k8s.io/pod-group"] == f"{job.name}-worker"
        assert group(job, provider)["spec"]["scheduleTimeoutSeconds"] == 300
    job.edit(workers={"replicas": 2, "minReplicas": 1})
    until(lambda: group(job, provider)["spec"]["minMember"] == 1, "the group asks for less")


def test_workers_of_a_gang_get_nodes_when_there_is_room_for_the_least_of_them(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero, nodes: None, tmp_path: Path
) -> None:
    need_queues(COSCHEDULING, COSCHEDULING_MANIFESTS)
    kubectl("apply", "--server-side", "-f", str(COSCHEDULING_MANIFESTS.kept))
    job = Job(kubectl, "together", metrics_port=shard.port)
    with scheduler(kubectl, tmp_path / "scheduler"):
        add_node(kubectl, "one", 2)
        job.create(**gang("coscheduling", schedulerName=NAME))
        until(lambda: any("nodeName" in pod["spec"] for pod in job.pods("server")), "the server has a node")
        job.start_pods("server", 1)
        until(lambda: job.condition("WorkersReady").get("reason") == "Unschedulable", "the workers wait")
        assert bound(job) == 0, "one had room, or the evaluator, which is no member; three had not"
        add_node(kubectl, "two", 8)
        until(lambda: bound(job) >= 3, "the least number of workers have nodes together")


def test_a_gang_that_autoscaling_makes_larger_keeps_its_least_number_and_takes_others_one_by_one(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero, nodes: None, tmp_path: Path
) -> None:
    need_queues(COSCHEDULING, COSCHEDULING_MANIFESTS)
    kubectl("apply", "--server-side", "-f", str(COSCHEDULING_MANIFESTS.kept))
    job = Job(kubectl, "gang-grows", metrics_port=shard.port)
    spec = gang("coscheduling", schedulerName=NAME)
    spec["workers"] |= {"replicas": 2, "minReplicas": 2, "autoscale": {"min": 2, "max": 8}}
    with scheduler(kubectl, tmp_path / "scheduler"):
        add_node(kubectl, "one", 3)
        job.create(**spec)
        job.start_pods("server", 1)
        until(lambda: bound(job) == 2, "both workers have nodes")
        job.start_pods("worker", 2)
        job.phase("Running")
        first = {pod["metadata"]["uid"] for pod in job.pods("worker")}
        advice = Advice(4, "4 are better than 2", 2)
        shard.status = Status(job=job.name, phase="running", algorithm="asgd", updates=9, advice=advice)
        until(lambda: len(job.pods("worker")) == 4, "two more are made")
        until(
            lambda: job.condition("Degraded").get("reason") == "FewerThanDesired", "there is no room for both"
        )
        assert group(job, "coscheduling")["spec"]["minMember"] == 2
        add_node(kubectl, "two", 8)
        until(lambda: bound(job) == 4, "there is now")
    assert first < {pod["metadata"]["uid"] for pod in job.pods("worker")}
    assert job.status["phase"] == "Running" and job.status["workers"]["failed"] == 0
