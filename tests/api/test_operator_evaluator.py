"""A script's job against a real API server and Job controller: it has an evaluator for its loggers, or none."""

from __future__ import annotations

import pytest

from asgd.spec.status import Status
from tests.api.acting import Job, OperatorProcess, ShardZero, until
from tests.cluster.kubectl import Kubectl

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)


def workloads(job: Job) -> set[str]:
    return {item["metadata"]["name"] for item in job.list("jobs")}


def start(job: Job) -> None:
    job.start_pods("server", 1)
    job.start_pods("worker", 2)
    job.phase("Running")


def test_a_script_has_an_evaluator_while_it_has_loggers_and_completes_without_one(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero
) -> None:
    job = Job(kubectl, "script", shard.port)
    job.create(entrypoint="train.py", workers={"replicas": 2}, logging=[{"tensorboard": {}}])
    start(job)
    until(lambda: workloads(job) == {"script-worker", "script-evaluator"}, "its loggers have a place")
    job.start_pods("evaluator", 1)

    job.edit(runPolicy={"suspend": True}, logging=[])
    kubectl.wait("asgdjob/script", "condition=Suspended", "-n", "script")
    job.edit(runPolicy={"suspend": False})
    start(job)
    passes = running.passes()
    until(lambda: running.passes() >= passes + 3, "it was looked at again")
    assert workloads(job) == {"script-worker"}

    shard.status = Status(job="script", phase="finished", algorithm="asgd", updates=40, stop_reason="epochs")
    job.phase("Completing")
    job.end_pods("worker", "Succeeded", 0)
    kubectl.wait("asgdjob/script", "condition=Complete", "-n", "script")
    assert job.condition("Complete")["reason"] == "TargetReached"
    assert workloads(job) == {"script-worker"}
    assert not {"EvaluatorFailed", "WorkerFailed"} & set(job.events())
