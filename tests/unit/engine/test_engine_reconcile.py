"""Passes over several jobs at once, from what watches saw to what an API server got: one job's trouble is its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from asgd_operator import handlers
from asgd_operator.engine import views
from asgd_operator.engine.observe import Indices, observe
from asgd_operator.engine.queue import Pace, WorkQueue
from asgd_operator.engine.reconcile import Reconciler
from asgd_operator.engine.reports import Reports
from asgd_operator.engine.writer import Writer
from asgd_operator.kube import Kube
from asgd_operator.metrics import OperatorMetrics
from tests.unit.engine.api import Api, serving
from tests.unit.plan.builders import SETTINGS

QUICK = Pace(debounce=0.01, first_backoff=0.02, longest_backoff=0.1, per_second=1000, burst=1000)


def body(name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "n", "uid": f"u-{name}", "generation": 1, "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {"entrypoint": "m:f"} | spec}


def workers(job: str, of: str = "", uid: str = "") -> dict[str, Any]:
    """The Job of a job's workers; of the AsgdJob with UID `of`."""
    owner = {"apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "name": job, "controller": True}
    metadata = {
        "name": f"{job}-worker",
        "namespace": "n",
        "uid": uid or f"u-{job}-workers",
        "labels": {"asgd.dev/job-name": job, "asgd.dev/role": "worker"},
        "ownerReferences": [owner | {"uid": of or f"u-{job}"}],
    }
    return {"metadata": metadata, "spec": {"parallelism": 4, "completions": 4}, "status": {}}


def pod(job: str, **container: Any) -> dict[str, Any]:
    labels = {"asgd.dev/job-name": job, "asgd.dev/role": "worker"}
    owner = {
        "kind": "Job",
        "name": f"{job}-worker",
        "controller": True,
        "uid": f"u-{job}-workers",
        "apiVersion": "batch/v1",
    }
    metadata = {"name": f"{job}-worker-0", "namespace": "n", "uid": f"u-{job}-pod", "labels": labels}
    status = {"phase": "Running", "containerStatuses": [container]}
    return {"metadata": metadata | {"ownerReferences": [owner]}, "status": status}


@dataclass
class Watched:
    """What kopf would hold: each object goes through the operator's own index handlers."""

    metrics: OperatorMetrics = field(default_factory=OperatorMetrics)
    kept: dict[str, dict[str, dict[Any, Any]]] = field(default_factory=dict)

    async def see(self, index: str, found: dict[str, Any]) -> None:
        place, view = {
            "jobs": (handlers.job_place, views.job),
            "pods": (views.workload_of_pod, views.pod),
            "batch": (views.owner_uid, views.batch_job),
            "services": (views.owner_uid, views.child),
            "servers": (views.owner_uid, views.server_set),
        }[index]
        metadata = found["metadata"]
        handler = handlers.index_handler(self.metrics, index, place, view)
        seen = {"namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}
        self.kept.setdefault(index, {})[metadata["uid"]] = await handler(body=found, **seen)

    def indices(self) -> Indices:
        return Indices(
            jobs=self._index("jobs"),
            servers=self._index("servers"),
            pods=self._index("pods"),
            batch=self._index("batch"),
            supports=(self._index("services"),),
        )

    def _index(self, name: str) -> dict[Any, list[Any]]:
        merged: dict[Any, list[Any]] = {}
        for found in self.kept.get(name, {}).values():
            for key, value in found.items():
                merged.setdefault(key, []).append(value)
        return merged


@dataclass
class Operator:
    api: Api
    watched: Watched
    reconciler: Reconciler
    queue: WorkQueue

    async def see(self, index: str, found: dict[str, Any]) -> None:
        await self.watched.see(index, found)
        self.reconciler.indices = self.watched.indices()
        metadata = found["metadata"]
        name = metadata.get("labels", {}).get("asgd.dev/job-name", metadata["name"])
        self.queue.add(f"n/{name}")

    async def until(self, check: Callable[[], object], what: str) -> None:
        for _ in range(3000):
            if check():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"waited in vain until {what}; {self.api.requests}")

    def errors(self, reason: str) -> float:
        labels = {"reason": reason}
        found = self.watched.metrics.registry.get_sample_value
        return found("asgd_operator_reconcile_errors_total", labels) or 0.0


@asynccontextmanager
async def operator(api: Api) -> AsyncIterator[Operator]:
    watched = Watched()
    async with serving(api) as connected, aiohttp.ClientSession() as session:
        writer = Writer(Kube(connected), watched.metrics)
        reconciler = Reconciler(writer, Indices(), SETTINGS, Reports(session), watched.metrics)
        queue = WorkQueue(
            reconciler,
            known=lambda: reconciler.indices.keys(),
            pace=QUICK,
            on_result=watched.metrics.passed,
            on_failure=reconciler.failed,
        )
        task = asyncio.create_task(queue.run())
        try:
            yield Operator(api, watched, reconciler, queue)
            assert not task.done(), "the queue lives on"
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def play(script: Callable[[Operator], Awaitable[None]], api: Api | None = None) -> None:
    async def main() -> None:
        async with operator(api or Api()) as running:
            await script(running)

    asyncio.run(main())


def test_a_poisoned_job_says_so_and_the_healthy_one_beside_it_starts() -> None:
    async def script(o: Operator) -> None:
        await o.see("jobs", body("bad"))
        await o.see("batch", workers("bad"))
        await o.see("pods", pod("bad", nameless=True))
        await o.see("jobs", body("good"))
        await o.until(lambda: o.api.writes_to("statefulsets/good-server"), "the healthy job has servers")
        await o.until(lambda: o.api.condition("bad", "Degraded").get("status") == "True", "it is told")
        found = o.api.condition("bad", "Degraded")
        assert found["reason"] == "OperatorBug"
        assert "pods n/bad-worker-0 cannot be read: KeyError: 'name' (views.py:" in found["message"]
        await o.until(lambda: o.api.events("bad") == ["OperatorBug"], "there is an event")
        await o.until(lambda: o.errors("bug") >= 3, "it is tried again, and counted")
        assert o.api.writes_to("bad-server") == [], "nothing is done from half a picture"
        assert o.api.writes_to("asgdjobs/bad") == ["/apis/asgd.dev/v1alpha1/namespaces/n/asgdjobs/bad/status"]
        await o.until(lambda: o.api.condition("good", "Degraded").get("status") == "False", "it is well")
        await o.until(lambda: o.watched.metrics.text().count(b"job_condition{") > 9, "metrics tell of both")

    play(script)


def test_a_pod_that_is_left_of_a_former_job_of_the_name_is_not_the_jobs() -> None:
    """`kubectl replace --force`, or delete and apply: the everyday way of mending a job that has failed."""

    async def script(o: Operator) -> None:
        await o.see("pods", pod("x", name="asgd", state={"terminated": {"exitCode": 1}}))
        await o.see("batch", workers("x", of="u-former"))
        await o.see("jobs", body("x"))
        await o.see("batch", workers("x", uid="u-new-workers"))
        seen = o.reconciler.indices.job("n/x")
        assert seen is not None
        assert observe(o.reconciler.indices, seen, datetime.now(UTC)).pods == ()
        await o.see("batch", workers("x"))
        assert len(observe(o.reconciler.indices, seen, datetime.now(UTC)).pods) == 1, "of its own workload"

    play(script)


def test_a_job_that_can_be_looked_at_again_says_no_more_that_it_cannot() -> None:
    async def script(o: Operator) -> None:
        await o.see("jobs", body("x"))
        await o.see("batch", workers("x"))
        await o.see("pods", pod("x", nameless=True))
        await o.until(lambda: o.api.condition("x", "Degraded").get("status") == "True", "it is told")
        await o.see("pods", pod("x", name="asgd"))
        await o.until(lambda: o.api.writes_to("statefulsets/x-server"), "it has servers")
        await o.until(
            lambda: o.api.condition("x", "Degraded")["reason"] != "OperatorBug", "it says so no more"
        )

    play(script)


def test_a_job_that_cannot_be_read_itself_gets_an_event_and_keeps_its_status() -> None:
    async def script(o: Operator) -> None:
        unreadable = body("x")
        unreadable["metadata"]["resourceVersion"] = None
        await o.see("jobs", unreadable)
        await o.see("jobs", body("good"))
        await o.until(lambda: o.api.events("x") == ["OperatorBug"], "there is an event")
        await o.until(lambda: o.api.writes_to("statefulsets/good-server"), "the healthy job has servers")
        assert o.api.status("x") == {}

    play(script)


def test_what_the_api_server_refuses_again_and_again_is_shown_on_the_job() -> None:
    async def script(o: Operator) -> None:
        await o.see("jobs", body("x"))
        await o.see("jobs", body("good"))
        await o.until(
            lambda: o.api.condition("x", "Degraded").get("reason") == "ReconcileFailed", "it is told"
        )
        assert "services/x-server is refused" in o.api.condition("x", "Degraded")["message"]
        await o.until(lambda: o.api.condition("good", "Degraded").get("reason") == "AsExpected", "it is well")
        o.api.refuse.clear()
        o.queue.add("n/x")
        await o.until(lambda: o.api.condition("x", "Degraded")["reason"] == "AsExpected", "it is well")

    play(script, Api(refuse=[("services/x-server", 503)]))


def test_a_job_that_waits_for_the_children_of_a_former_one_of_its_name_says_so() -> None:
    owner = {"kind": "AsgdJob", "apiVersion": "asgd.dev/v1alpha1", "uid": "u-former", "controller": True}
    path = "/api/v1/namespaces/n/services/x-server"
    metadata = {"name": "x-server", "ownerReferences": [owner], "resourceVersion": "1"}
    api = Api({path: {"metadata": metadata}})

    async def script(o: Operator) -> None:
        await o.see("jobs", body("x"))
        await o.until(
            lambda: o.api.condition("x", "Degraded").get("reason") == "ReconcileFailed", "it is told"
        )
        found = o.api.condition("x", "Degraded")["message"]
        assert "Service x-server of a former job of this name is still being removed" in found
        del o.api.objects[path]
        await o.until(lambda: o.api.writes_to("statefulsets/x-server"), "it starts")

    play(script, api)


def test_one_refusal_is_not_worth_a_word() -> None:
    async def script(o: Operator) -> None:
        await o.see("jobs", body("x"))
        await o.until(lambda: o.errors("transient") == 2, "it has failed twice")
        o.api.refuse.clear()
        await o.until(lambda: o.api.writes_to("statefulsets/x-server"), "it has servers")
        assert "ReconcileFailed" not in o.api.events("x")

    play(script, Api(refuse=[("configmaps", 503)]))


def test_a_cancelled_pass_writes_nothing_more() -> None:
    """Whoever lost the Lease ends the queue so."""

    write = ("PATCH", "/api/v1/namespaces/n/services/x-server")

    async def script(o: Operator) -> None:
        await o.see("jobs", body("x"))
        await o.until(lambda: write in o.api.requests, "it hangs in a write")
        passing = asyncio.create_task(o.reconciler("n/x"))
        await o.until(lambda: o.api.requests.count(write) == 2, "so does the pass that is cancelled")
        passing.cancel()
        with suppress(asyncio.CancelledError):
            await passing
        assert o.api.writes_to("/status") == []

    play(script, Api(hang=[write]))


@pytest.mark.parametrize(
    ("resource", "place", "view", "found"),
    [
        ("pods", views.workload_of_pod, views.pod, {"metadata": {"labels": 7}}),
        (
            "servers",
            views.owner_uid,
            views.server_set,
            {"metadata": {"ownerReferences": [{"controller": True}]}},
        ),
        (
            "nodes",
            handlers.node_place,
            views.node,
            {"metadata": {"name": "a"}, "status": {"conditions": [{}]}},
        ),
    ],
)
def test_an_object_that_cannot_be_read_is_counted_and_raises_nothing(
    resource: str, place: handlers.Place, view: handlers.View, found: dict[str, Any]
) -> None:
    metrics = OperatorMetrics()
    handler = handlers.index_handler(metrics, resource, place, view)
    asyncio.run(handler(body=found, namespace="n", name="a", uid="u"))
    labels = {"resource": resource}
    assert metrics.registry.get_sample_value("asgd_operator_watch_unreadable_total", labels) == 1
