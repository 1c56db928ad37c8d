"""What a job costs the API server, and what jobs that run cost a new one: passes from watches to requests."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from aiohttp import web

from asgd_operator.engine.writer import Writer
from asgd_operator.kube import Kube
from asgd_operator.metrics import OperatorMetrics
from asgd_operator.plan.actions import Plan
from tests.unit.engine.api import Api, serving
from tests.unit.engine.test_engine_reconcile import Operator, body, operator, play
from tests.unit.plan.builders import make_job

SILENT = 13
"""Jobs whose shard 0 never answers: more than the queue has workers."""


def owned(job: str, kind: str, role: str, **status: Any) -> dict[str, Any]:
    """A workload of a job's as the API server keeps it."""
    owner = {"apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "name": job, "controller": True}
    metadata = {
        "name": f"{job}-{role}",
        "namespace": "n",
        "uid": f"u-{job}-{role}",
        "labels": {"asgd.dev/job-name": job, "asgd.dev/role": role},
        "ownerReferences": [owner | {"uid": f"u-{job}"}],
    }
    return {"kind": kind, "metadata": metadata, "spec": {"replicas": 1, "parallelism": 4}, "status": status}


def shard_zero(job: str) -> dict[str, Any]:
    """The pod of its server, which runs at 127.0.0.1."""
    owner = {"kind": "StatefulSet", "name": f"{job}-server", "controller": True, "apiVersion": "apps/v1"}
    metadata = {
        "name": f"{job}-server-0",
        "namespace": "n",
        "uid": f"u-{job}-server-0",
        "labels": {
            "asgd.dev/job-name": job,
            "asgd.dev/role": "server",
            "apps.kubernetes.io/pod-index": "0",
        },
        "ownerReferences": [owner | {"uid": f"u-{job}-server"}],
    }
    ready = {"type": "Ready", "status": "True"}
    return {
        "metadata": metadata,
        "status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": [ready]},
    }


async def see_running(o: Operator, name: str, port: int) -> None:
    """A job that trains, whose shard 0 serves at `port`."""
    await o.watched.see("servers", owned(name, "StatefulSet", "server", readyReplicas=1))
    await o.watched.see("batch", owned(name, "Job", "worker", active=4, ready=4))
    await o.watched.see("pods", shard_zero(name))
    await o.see("jobs", body(name, metrics={"port": port}))


def test_a_new_job_starts_while_all_jobs_that_run_are_asked_in_vain() -> None:
    """A poll in the workers of the queue would hold all of them, for an hour here."""
    asked = 0

    async def never(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/status", never)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with operator(Api()) as o:
            reports = o.reconciler.reports
            reports.timeout_seconds = 3600
            polling = asyncio.create_task(reports.run())
            for i in range(SILENT):
                await see_running(o, f"silent-{i}", runner.addresses[0][1])
            await o.until(lambda: asked == SILENT, "all of them are being asked")
            await o.see("jobs", body("new"))
            await o.until(lambda: o.api.writes_to("statefulsets/new-server"), "the new one has servers")
            assert not polling.done()
            polling.cancel()
            with suppress(asyncio.CancelledError):
                await polling
        await runner.cleanup()

    asyncio.run(main())


def test_a_new_job_asks_for_each_child_once_makes_it_and_writes_its_status_once() -> None:
    async def script(o: Operator) -> None:
        await o.see("jobs", body("x"))
        await o.until(lambda: len(o.api.events("x")) == 2, "it is told of")
        await o.until(lambda: not o.queue.depth, "the look is over")
        methods = [method for method, _ in o.api.requests]
        assert {method: methods.count(method) for method in methods} == {
            "DRYRUN": 8,
            "PATCH": 7,  # five supports, the StatefulSet, the status
            "POST": 3,  # the Secret and two events
        }
        assert len(set(o.api.requests)) == len(o.api.requests) - 1, "none twice, but for the two events"

    play(script)


def test_requests_that_do_not_build_on_each_other_are_on_their_way_together() -> None:
    for hanging, together in ((("DRYRUN", "services/x-server"), 8), (("PATCH", "services/x-server"), 6)):

        async def script(o: Operator, hanging: tuple[str, str] = hanging, together: int = together) -> None:
            await o.see("jobs", body("x"))
            before = 0 if hanging[0] == "DRYRUN" else 8
            await o.until(lambda: len(o.api.requests) == before + together, "all of them have come")
            assert not o.api.writes_to("statefulsets"), "the servers wait for what they read"

        play(script, Api(hang=[hanging]))


def test_a_status_of_which_only_figures_are_new_is_no_reason_for_another_look() -> None:
    async def main() -> None:
        async with serving(Api()) as connected:
            writer = Writer(Kube(connected), OperatorMetrics())
            o = make_job().running().observed()
            figures = {**o.status, "training": {"updates": 7}}
            await writer.say(o, Plan(status=figures))
            version, _ = writer.written(o.uid) or (0, {})
            assert writer.is_echo(o.uid, str(version))
            assert not writer.is_echo(o.uid, str(version + 1)), "somebody else has changed it since"
            await writer.say(o, Plan(status={**figures, "phase": "Failed"}))
            version, _ = writer.written(o.uid) or (0, {})
            assert not writer.is_echo(o.uid, str(version)), "a verdict is followed by the cleaning up"

    asyncio.run(main())
