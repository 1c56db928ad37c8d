"""Jobs in the queues of a real Kueue: they wait with its reason, go, are taken back, grow and shrink."""

from __future__ import annotations

from typing import Any

import pytest

from asgd.client.cli import main
from asgd.spec.status import Status
from tests.api.acting import OperatorProcess, until
from tests.api.kueue.queued import Queued, make_queue, spec
from tests.cluster.kubectl import Kubectl

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]


def test_a_job_waits_for_kueue_for_its_queue_and_for_room_says_so_and_starts_nothing_until_then(
    kubectl: Kubectl,
    running: OperatorProcess,
    pods_run: None,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = Queued(kubectl, "waits")
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
    make_queue(kubectl, "narrow", 1)
    job.join("narrow")
    until(lambda: "insufficient quota for cpu" in job.says, "Kueue's reason is told", 60)
    assert job.says.startswith("Queue team has not let the workers start yet: ")
    assert job.list("statefulsets") == job.list("pods") == []
    assert main(["explain", "waits", "-n", "waits", "--kubeconfig", str(kubectl.kubeconfig)]) == 0
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
    uids = job.workers()
    job.edit(workers={"replicas": 3})
    job.ready(3)
    job.edit(workers={"replicas": 4})
    until(lambda: "has not let grows-worker-3" in job.says_degraded, "it is held")
    until(lambda: "insufficient" in job.says_degraded, "Kueue's reason is told", 45)
    assert job.status["phase"] == "Running"
    job.edit(workers={"replicas": 1})
    until(lambda: len(job.pods("worker")) == 1, "the others have left")
    job.ready(1)
    assert job.workers() <= uids, "nobody was started again"
