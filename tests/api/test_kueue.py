"""Jobs in the queues of a real Kueue: they wait with its reason, go, are taken back, grow and shrink.

An API server of its own: Kueue's webhooks would hold up the objects of other tests when it is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from asgd.client.cli import main
from asgd.spec.status import Status
from tests.api.acting import Job, OperatorProcess, ShardZero, until
from tests.api.kubelet import Kubelet
from tests.cluster import api_tier, binaries, fixtures
from tests.cluster.kubectl import Kubectl
from tests.cluster.kueue import install, kueue
from tests.cluster.queues import KUEUE, KUEUE_MANIFESTS

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]
VERSION = "kueue.x-k8s.io/v1beta2"
ELASTIC = "ElasticJobsViaWorkloadSlices"


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    fixtures.need_queues(KUEUE, KUEUE_MANIFESTS)
    fixtures.need(binaries.API_TIER)
    state = tmp_path_factory.mktemp("kueue-api-server") / "state"
    try:
        yield api_tier.up(state, tied=True).kubectl
    finally:
        api_tier.down(state)


@pytest.fixture(scope="module")
def port(kubectl: Kubectl) -> int:
    found = install(kubectl)
    high = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1000}
    kubectl.apply(high | {"metadata": {"name": "urgent"}})
    return found


class Controllers:
    """Kueue's controller: one at a time."""

    def __init__(self, kubectl: Kubectl, port: int, folder: Path) -> None:
        self._kubectl, self._port, self._folder = kubectl, port, folder
        self._running, self._gates = ExitStack(), ("none yet",)

    def run(self, *gates: str) -> None:
        if gates != self._gates:
            self.close()
            folder = self._folder / ("-".join(gates) or "plain")
            self._running.enter_context(kueue(self._kubectl, self._port, folder, *gates))
            self._gates = gates

    def close(self) -> None:
        self._running.close()


@pytest.fixture(scope="module")
def controllers(
    kubectl: Kubectl, port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Controllers]:
    found = Controllers(kubectl, port, tmp_path_factory.mktemp("kueue"))
    yield found
    found.close()


@pytest.fixture
def elastic(controllers: Controllers) -> None:
    """Kueue that lets jobs grow in place."""
    controllers.run(ELASTIC)


@pytest.fixture
def plain(controllers: Controllers) -> None:
    """Kueue with the gates that it has by itself."""
    controllers.run()


@pytest.fixture
def pods_run(kubectl: Kubectl) -> Iterator[None]:
    played = Kubelet(kubectl.kubeconfig)
    yield
    played.close()


@pytest.fixture
def jobs(kubectl: Kubectl) -> Iterator[Any]:
    """Makes a job of two workers with a CPU each, in its own namespace and the queue `team` of ClusterQueue `queue`."""
    with ExitStack() as shards:

        def make(name: str, queue: str, **workers: Any) -> Job:
            shard = ShardZero()
            shards.callback(shard.close)
            job = Queued(kubectl, name, metrics_port=shard.port)
            job.shard = shard
            local = {"metadata": {"name": "team"}, "spec": {"clusterQueue": queue}}
            kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            kubectl.apply({"apiVersion": VERSION, "kind": "LocalQueue", **local}, namespace=name)
            job.apply(**spec(**workers))
            return job

        yield make


class Queued(Job):
    shard: ShardZero

    @property
    def says(self) -> str:
        return str(self.status.get("message", ""))

    def worker_job(self) -> dict[str, Any]:
        return dict(self.get("job", f"{self.name}-worker") or {})

    def ready(self, count: int) -> None:
        until(lambda: self.status.get("workers", {}).get("ready") == count, f"{count} workers of {self.name}")


def spec(**workers: Any) -> dict[str, Any]:
    requests = {"requests": {"cpu": "1", "memory": "64Mi"}}
    return {
        "scheduling": {"queueName": "team"},
        "workers": {"replicas": 2, "resources": requests} | workers,
        "parameterServer": {"shards": 1},
        "evaluation": {"everySeconds": 0},
    }


def make_queue(kubectl: Kubectl, name: str, cpus: int) -> None:
    quota = [{"name": "cpu", "nominalQuota": cpus}, {"name": "memory", "nominalQuota": "10Gi"}]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "any", "resources": quota}]}
    kubectl.apply(
        {"apiVersion": VERSION, "kind": "ResourceFlavor", "metadata": {"name": "any"}},
        {
            "apiVersion": VERSION,
            "kind": "ClusterQueue",
            "metadata": {"name": name},
            "spec": {
                "namespaceSelector": {},
                "resourceGroups": [group],
                "preemption": {"withinClusterQueue": "LowerPriority"},
            },
        },
    )


def test_a_queue_on_a_cluster_without_kueue_is_told_and_the_job_starts_when_kueue_is_there(
    kubectl: Kubectl, running: OperatorProcess, request: pytest.FixtureRequest
) -> None:
    job = Queued(kubectl, "early")
    job.create(**spec())
    job.phase("Invalid")
    accepted = job.condition("Accepted")
    assert accepted["reason"] == "QueueNotFound"
    assert accepted["message"].startswith("spec.scheduling.queueName: this cluster has no Kueue")
    assert job.events() == ["InvalidSpec"]
    assert job.list("statefulsets") == job.list("jobs") == []
    request.getfixturevalue("elastic")
    job.phase("Queued")
    until(lambda: "LocalQueue team doesn't exist" in job.says, "it says what the queue lacks", 30)
    kubectl("delete", "namespace", "early", "--wait=false")


def test_a_job_waits_with_kueues_reason_and_starts_nothing_until_there_is_room(
    kubectl: Kubectl,
    running: OperatorProcess,
    elastic: None,
    pods_run: None,
    jobs: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_queue(kubectl, "narrow", 1)
    job = jobs("waits", "narrow")
    job.phase("Queued")
    until(lambda: "insufficient quota for cpu" in job.says, "Kueue's reason is told", 30)
    assert job.says.startswith("Queue team has not let the workers start yet: ")
    assert job.list("statefulsets") == job.list("pods") == []
    assert main(["explain", "waits", "-n", "waits", "--kubeconfig", str(kubectl.kubeconfig)]) in (0, 1)
    told = capsys.readouterr().out
    assert told.startswith("waits waits in a queue: ")
    assert "insufficient quota for cpu" in told
    make_queue(kubectl, "narrow", 4)
    job.phase("Running")
    assert {"Queued", "Admitted", "ServersStarted", "TrainingStarted"} <= set(job.events())


def test_two_jobs_over_one_quota_run_one_after_the_other(
    kubectl: Kubectl, running: OperatorProcess, elastic: None, pods_run: None, jobs: Any
) -> None:
    make_queue(kubectl, "turns", 2)
    first = jobs("first", "turns")
    first.phase("Running")
    second = jobs("second", "turns")
    second.phase("Queued")
    first.edit(runPolicy={"suspend": True})
    second.phase("Running")
    first.phase("Suspended")
    first.edit(runPolicy={"suspend": False})
    first.phase("Queued")
    assert first.get("statefulset", "first-server")["spec"]["replicas"] == 0
    second.shard.status = Status(job="second", phase="finished", algorithm="asgd", stop_reason="epochs")
    second.end_pods("worker", "Succeeded", 0)
    second.phase("Succeeded")
    first.phase("Running")


def test_a_job_that_is_preempted_says_so_keeps_its_servers_and_comes_back(
    kubectl: Kubectl, running: OperatorProcess, elastic: None, pods_run: None, jobs: Any
) -> None:
    make_queue(kubectl, "contested", 2)
    humble = jobs("humble", "contested")
    humble.phase("Running")
    server = humble.pods("server")[0]["metadata"]["uid"]
    urgent = jobs("urgent", "contested", podTemplate={"spec": {"priorityClassName": "urgent"}})
    humble.phase("Queued")
    until(lambda: "has taken the workers back: " in humble.says, "it says who has", 30)
    assert "Preempted" in humble.says
    urgent.phase("Running")
    assert humble.pods("worker") == []
    kubectl("-n", "urgent", "delete", "asgdjob", "urgent")
    humble.phase("Running")
    assert [pod["metadata"]["uid"] for pod in humble.pods("server")] == [server]
    assert humble.status["workers"]["failed"] == 0


def test_an_elastic_job_grows_as_far_as_its_queue_lets_it_and_shrinks(
    kubectl: Kubectl, running: OperatorProcess, elastic: None, pods_run: None, jobs: Any
) -> None:
    make_queue(kubectl, "elastic", 4)  # three workers, and the evaluator, which asks for as much as one
    job = jobs("grows", "elastic")
    job.phase("Running")
    uids = {pod["metadata"]["uid"] for pod in job.pods("worker")}
    job.edit(workers={"replicas": 3})
    job.ready(3)
    job.edit(workers={"replicas": 4})
    until(lambda: "has not let grows-worker-3" in job.condition("Degraded").get("message", ""), "it is held")
    until(lambda: "insufficient" in job.condition("Degraded")["message"], "Kueue's reason is told", 45)
    assert job.status["phase"] == "Running"
    job.edit(workers={"replicas": 1})
    until(lambda: len(job.pods("worker")) == 1, "the others have left")
    job.ready(1)
    assert {pod["metadata"]["uid"] for pod in job.pods("worker")} <= uids, "nobody was started again"


def test_without_kueues_elastic_jobs_a_job_that_grows_is_put_back_as_a_whole_and_comes_again(
    kubectl: Kubectl, running: OperatorProcess, plain: None, pods_run: None, jobs: Any
) -> None:
    make_queue(kubectl, "plain", 3)
    job = jobs("plain", "plain")
    job.phase("Running")
    before = {pod["metadata"]["uid"] for pod in job.pods("worker")}
    job.edit(workers={"replicas": 3})
    job.ready(3)
    job.phase("Running")
    assert not before & {pod["metadata"]["uid"] for pod in job.pods("worker")}, "all were started again"
    assert job.status["workers"]["failed"] == 0
