"""`asgd.client.Run`: the words of the run that `asgd.run` returns, over a cluster that is a dict."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import msgspec
import pytest

from asgd.client import Run
from asgd.client.aio import AsyncRun
from asgd.client.call import packed_of
from asgd.client.forwarding import Forward
from asgd.errors import RunFailed, UserError
from asgd.interactive.base import BaseRun
from asgd.interactive.run import Run as LocalRun
from asgd.spec.status import Status
from tests.unit.client.cluster import Cluster, ended, job, pod


def run_of(*documents: dict[str, Any]) -> tuple[Run, Cluster]:
    cluster = Cluster(*documents)
    return Run(cluster.access(), "digits", quiet=True), cluster


def rows(run: BaseRun) -> list[dict[str, Any]]:
    """Its history as dicts, whether pandas is there or not."""
    found = run.history
    return found if isinstance(found, list) else list(found.to_dict("records"))


def test_it_is_asked_in_the_words_of_a_local_run() -> None:
    assert issubclass(Run, BaseRun) and issubclass(LocalRun, BaseRun)
    assert not Run.__abstractmethods__ and not LocalRun.__abstractmethods__


def test_what_shard_0_tells_is_its_status_its_metrics_and_its_history() -> None:
    run, cluster = run_of(job(training={"metrics": {"accuracy": 0.5}}))
    assert run.metrics == {"accuracy": 0.5} and run.status is None and not run.done and run.phase == "Running"
    told = Status(
        job="digits",
        phase="running",
        algorithm="asgd",
        updates=7,
        metrics={"accuracy": 0.9},
        metrics_at_updates=6,
    )
    cluster.served["digits-server-0"] = msgspec.json.encode(told)
    assert run.metrics == {"accuracy": 0.9}
    progress, evaluation = rows(run)
    assert progress["updates"] == 7 and (evaluation["updates"], evaluation["accuracy"]) == (6, 0.9)


def test_a_run_that_fails_raises_with_the_exit_code_of_asgd_run() -> None:
    run, _ = run_of(ended(end="Failed", reason="Diverged"))
    with pytest.raises(RunFailed, match="digits: Diverged: The stop rule") as told:
        run.wait()
    assert told.value.exit_code == 78 and told.value.run is run
    well, _ = run_of(ended())
    assert well.wait() is well and well.done and well.stop() is well


def test_it_is_changed_by_one_request_each() -> None:
    run, cluster = run_of(job(), pod("worker"))
    cluster.said["digits-worker-0"] = [b"joined"]
    assert run.scale(6) is run and run.suspend() is run
    assert [body for method, _, body in cluster.asked if method == "PATCH"] == [
        {"spec": {"replicas": 6}},
        {"spec": {"runPolicy": {"suspend": True}}},
    ]
    with pytest.raises(UserError, match="digits is suspended and does not train"):
        run.stop()
    assert [*run.logs()] == ["joined"]
    run.delete()
    assert cluster.objects.keys() == {"/api/v1/namespaces/team/pods/digits-worker-0"}


def test_the_async_run_awaits_the_same() -> None:
    run, cluster = run_of(job(), pod("worker"))
    cluster.said["digits-worker-0"] = [b"joined", b"left"]

    async def use() -> None:
        its = AsyncRun(run)
        assert await its.scale(3) is its and await its.get("phase") == "Running"
        assert [line async for line in its.logs()] == ["joined", "left"]
        with pytest.raises(AttributeError, match=r"await run.get\('phase'\)"):
            _ = its.phase

    asyncio.run(use())


def test_a_wait_that_is_cancelled_looks_at_the_job_no_more() -> None:
    run, cluster = run_of(job())

    async def use() -> int:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(AsyncRun(run).wait(), 0.2)
        return len(cluster.asked)

    began = time.monotonic()
    asked = asyncio.run(use())
    assert time.monotonic() - began < 5, "the loop does not wait for the thread of it"
    assert asked and len(cluster.asked) <= asked + 1


def test_the_awaited_end_is_that_of_the_run() -> None:
    async def use() -> None:
        well = AsyncRun(run_of(ended())[0])
        assert await well.wait() is await well.follow() is await well.stop() is well
        with pytest.raises(RunFailed):
            await AsyncRun(run_of(ended(end="Failed", reason="Diverged"))[0]).wait()
        with pytest.raises(TimeoutError, match="digits goes on after 0 s"):
            await AsyncRun(run_of(job())[0]).wait(timeout=0)

    asyncio.run(use())


def test_the_arguments_are_those_of_asgd_run() -> None:
    given = {"entrypoint": "m:f", "batch_size": 8}
    packed = packed_of(given, "", ["checkpoint.uri=s3://b/r"], [(("spec", "workers", "replicas"), 2)])
    spec = packed.document["spec"]
    assert (spec["batchSize"], spec["workers"], spec["checkpoint"]) == (
        8,
        {"replicas": 2},
        {"uri": "s3://b/r"},
    )
    assert packed.document["metadata"]["name"] == "f" and not packed.named
    with pytest.raises(UserError, match=r"spec.batch_sise: unknown field; did you mean batchSize"):
        packed_of({"entrypoint": "m:f", "batch_sise": 8}, "", [], [])


def test_a_forwarded_port_carries_both_ways() -> None:
    cluster = Cluster()
    with Forward(cluster.access(), "p", 80) as forward:
        near = socket.create_connection((forward.host, forward.port))
        near.sendall(b"GET")
        while not cluster.far:
            pass
        far = cluster.far[0]
        assert far.recv(10) == b"GET"
        far.sendall(b"200")
        far.close()
        assert near.recv(10) == b"200" and near.recv(10) == b""
        near.close()
