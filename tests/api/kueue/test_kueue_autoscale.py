"""`workers.autoscale` in the queues of a real Kueue: shard 0 advises more workers than the quota has."""

from __future__ import annotations

from typing import Any

import pytest

from asgd.client.cli import main
from tests.api.acting import OperatorProcess, until
from tests.api.kueue.queued import make_queue, rule, size
from tests.cluster.kubectl import Kubectl

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]


def explained(kubectl: Kubectl, name: str, capsys: pytest.CaptureFixture[str]) -> str:
    main(["explain", name, "-n", name, "--kubeconfig", str(kubectl.kubeconfig)])
    return capsys.readouterr().out


def test_what_the_queue_has_no_room_for_is_given_back_and_no_running_worker_is_lost(
    kubectl: Kubectl,
    running: OperatorProcess,
    elastic: None,
    pods_run: None,
    jobs: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_queue(kubectl, "measured", 4)  # three workers, and the evaluator
    job = jobs("measured", "measured", autoscale=rule(10))
    job.ready(2)
    before = job.workers()
    job.advise(4, 2)
    until(lambda: size(job) == 4, "the queue is asked for two more")
    until(lambda: " and 1 more start yet: " in job.says_degraded, "it is told with the reason")
    until(lambda: job.number.get("refused", {}).get("workers") == 4, "it is given up")
    until(lambda: size(job) == 2, "the number is what the queue had granted")
    assert job.status["phase"] == "Running" and before <= job.workers()
    job.ready(3)
    assert before < job.workers(), "one more is asked for after the window, and all that trained train on"
    job.advise(6, 3)
    passes = running.passes()
    until(lambda: running.passes() > passes + 3, "nothing else is asked for")
    assert (size(job), job.number["granted"]) == (3, 3)
    why = "4 are better than 2; queue team has no room for 4 workers"
    assert job.number["reason"] == why
    assert f"3 of 3 workers ({why})" in explained(kubectl, "measured", capsys)

    server = job.pods("server")[0]["metadata"]["uid"]
    urgent = jobs("urgent-too", "measured", podTemplate={"spec": {"priorityClassName": "urgent"}})
    job.phase("Queued")
    until(lambda: size(job) == 2, "it queues with the number to start with")
    assert job.number["reason"].startswith("the workers have to pass queue team again")
    urgent.phase("Running")
    kubectl("-n", "urgent-too", "delete", "asgdjob", "urgent-too")
    job.phase("Running")
    job.ready(2)
    assert [pod["metadata"]["uid"] for pod in job.pods("server")] == [server]
    assert job.status["workers"]["failed"] == 0


def test_a_job_that_is_preempted_while_it_asks_for_more_leaves_its_place_and_comes_back(
    kubectl: Kubectl, running: OperatorProcess, elastic: None, pods_run: None, jobs: Any
) -> None:
    """Kueue 0.17 takes its quota back and leaves its workers running."""
    make_queue(kubectl, "asking", 4)
    job = jobs("asking", "asking", autoscale=rule())
    job.ready(2)
    before = job.workers()
    job.advise(4, 2)
    until(lambda: len(job.pods("worker")) == 4, "the queue is asked for two more")
    urgent = jobs("first-class", "asking", replicas=3, podTemplate={"spec": {"priorityClassName": "urgent"}})
    urgent.phase("Running")
    job.phase("Queued")
    until(lambda: job.pods("worker") == [], "its workers have left")
    assert "has taken the workers back" in job.says
    assert size(job) == 2
    kubectl("-n", "first-class", "delete", "asgdjob", "first-class")
    job.ready(2)
    assert not before & job.workers()
    assert job.status["workers"]["failed"] == 0
