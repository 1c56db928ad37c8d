"""`workers.autoscale` against a real API server and Job controller: shard 0 advises, the worker Job follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgd.spec.status import Advice, Status
from tests.api.acting import QUICK, Job, ShardZero, operator, until
from tests.cluster.kubectl import Kubectl
from tests.cluster.shell import ClusterError

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)


def size(job: Job) -> tuple[int, int]:
    """What the worker Job is told."""
    spec = job.get("job", f"{job.name}-worker")["spec"]
    return spec["parallelism"], spec["completions"]


def scalings(job: Job) -> list[str]:
    """What events have told of the number of workers."""
    return [item["message"] for item in job.list("events") if item["reason"].startswith("WorkersScaled")]


def test_the_number_of_workers_follows_the_advice_and_live_bounds_and_survives_the_operator(
    kubectl: Kubectl, shard: ShardZero, tmp_path: Path
) -> None:
    job = Job(kubectl, "grows", shard.port)
    why = "4 workers would train on 2.0 times as many samples a second as 2"

    def advise(workers: int, measured: int, text: str) -> None:
        advice = Advice(workers, text, measured)
        shard.status = Status(job="grows", phase="running", algorithm="asgd", updates=9, advice=advice)

    with operator(kubectl, tmp_path, **QUICK):
        rule = {"min": 1, "max": 8}
        job.create(parameterServer={"shards": 1}, workers={"replicas": 2, "autoscale": rule})
        job.start_pods("server", 1)
        job.start_pods("worker", 2)
        job.phase("Running")
        advise(4, 2, why)
        until(lambda: size(job) == (4, 4), "two more workers are asked for")
        until(lambda: scalings(job) == [f"Workers: 2 -> 4: {why}."], "an event says why")
        workers = job.status["workers"]
        assert workers["desired"] == 4 and workers["autoscale"]["reason"] == why
        assert job.get("asgdjob", "grows")["spec"]["workers"]["replicas"] == 2, "the spec is its user's"
        assert kubectl("-n", "grows", "get", "asgdjob", "grows", "--no-headers").split()[4] == "4"

        for refused in (
            ("scale", "asgdjob/grows", "--replicas=6"),
            patch('{"spec":{"workers":{"replicas":6}}}'),
        ):
            with pytest.raises(
                ClusterError, match=r"the number to start with while workers\.autoscale is set"
            ):
                kubectl("-n", "grows", *refused)

        job.start_pods("worker", 4)
        job.edit(workers={"autoscale": {"max": 3}})
        until(lambda: size(job) == (3, 3), "the new bound holds at once")
        until(lambda: "Workers: 4 -> 3: workers.autoscale.max is 3." in scalings(job), "an event says so")
        advise(3, 3, "3 workers are the right number")
    before, told = job.status["workers"]["autoscale"], sorted(scalings(job))
    with operator(kubectl, tmp_path, **QUICK) as second:
        until(lambda: second.passes() >= 3, "the next operator has looked")
        job.start_pods("worker", 3)
        until(lambda: job.status["workers"]["ready"] == 3, "and goes on")
        assert (job.status["workers"]["autoscale"], sorted(scalings(job)), size(job)) == (
            before,
            told,
            (3, 3),
        )
        job.edit(workers={"autoscale": None})
        until(lambda: size(job) == (2, 2), "without autoscale replicas is the number again")
        until(lambda: "autoscale" not in job.status["workers"], "and nothing is left of it")


def patch(change: str) -> tuple[str, ...]:
    return ("patch", "asgdjob", "grows", "--type=merge", "-p", change)
