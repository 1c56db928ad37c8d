"""Asking real servers for their status, beside a queue: nobody waits for a poll, and no answer does harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import msgspec
import pytest
from aiohttp import web

from asgd.spec.status import CheckpointView, StalenessView, Status, WorkerView
from asgd_operator.constants import Role
from asgd_operator.engine.polls import Polls
from asgd_operator.engine.queue import Pace, WorkQueue
from asgd_operator.engine.reports import Reports
from asgd_operator.plan.model import Observed, Pod
from tests.unit.plan.builders import make_job

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
FULL = Status(
    job="x",
    phase="running",
    algorithm="asgd",
    workers=[WorkerView(index=0, state="running", joined=1.5, samples=64)],
    updates=412,
    loss=0.5,
    metrics={"accuracy": 0.9, "broken": None},
    staleness=StalenessView(p50=3, p99=11),
    staleness_histogram={0: 3, 4: 1},
    terms=[2, 3],
    checkpoint=CheckpointView(updates=400, uri="file:///c", seconds_ago=3, bytes=17),
)


@asynccontextmanager
async def shard(answer: Answer) -> AsyncIterator[int]:
    """A server with `answer` under /status; its port."""
    app = web.Application()
    app.router.add_get("/status", answer)
    app.router.add_get("/elsewhere", well)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asking(changed: Callable[[str], None], polls: Polls | None = None) -> AsyncIterator[Reports]:
    async with aiohttp.ClientSession() as session:
        reports = Reports(session, changed, longest=1 << 20, polls=polls or Polls())
        task = asyncio.create_task(reports.run())
        try:
            yield reports
            assert not task.done(), "it lives on"
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def job(name: str, port: int) -> Observed:
    scene = make_job(name).having(metrics={"port": port})
    pod = Pod(name=f"{name}-server-0", uid="u", role=Role.SERVER, index=0, address="127.0.0.1")
    return scene.seeing(uid=f"u-{name}", pods=(pod,)).observed()


async def hang(request: web.Request) -> web.StreamResponse:
    """As a network does that drops packets."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def well(request: web.Request) -> web.StreamResponse:
    return web.Response(body=msgspec.json.encode(FULL))


def test_jobs_whose_shard_0_drops_packets_do_not_keep_a_new_job_waiting() -> None:
    looks: list[str] = []

    async def main() -> None:
        async with shard(hang) as port, asking(lambda key: queue.add(key)) as reports:
            seen_new = asyncio.Event()

            async def look(key: str) -> float | None:
                name = key.partition("/")[2]
                reports.of(job(name, port))
                looks.append(name)
                if name == "new":
                    seen_new.set()
                return None

            queue = WorkQueue(look, lambda: (), Pace(workers=4, debounce=0))
            working = asyncio.create_task(queue.run())
            for i in range(13):
                queue.add(f"default/silent-{i}")
            queue.add("default/new")
            await asyncio.wait_for(seen_new.wait(), 60)
            working.cancel()

    asyncio.run(main())
    assert len(looks) == len(set(looks)) == 14, "no answer, not even a missing one, came before the new job"


def heard(answer: Answer) -> tuple[Status | None, list[str]]:
    """What is known of a job after its first poll has ended, and which keys were told of."""
    told: list[str] = []

    async def main() -> Status | None:
        ended = asyncio.Event()
        async with shard(answer) as port, asking(lambda key: (told.append(key), ended.set())[0]) as reports:
            reports.timeout_seconds = 0.5
            o = job("x", port)
            assert reports.of(o).awaited
            await asyncio.wait_for(ended.wait(), 60)
            return reports.of(o).report

    return asyncio.run(main()), told


def test_a_status_of_the_trainers_own_type_comes_whole_and_has_the_job_looked_at() -> None:
    assert heard(well) == (FULL, ["default/x"])


async def refuse(request: web.Request) -> web.StreamResponse:
    return web.Response(status=500)


async def elsewhere(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/elsewhere")


async def nonsense(request: web.Request) -> web.StreamResponse:
    return web.Response(text='{"job": 7, "phase": []}')


async def too_long(request: web.Request) -> web.StreamResponse:
    return web.Response(body=msgspec.json.encode(FULL) + b" " * (1 << 20))


async def broken(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize("answer", [refuse, elsewhere, nonsense, too_long, broken, hang])
def test_an_answer_that_is_none_counts_as_missing(answer: Answer) -> None:
    assert heard(answer) == (None, ["default/x"])


def test_a_pod_without_an_address_is_not_asked() -> None:
    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            reports = Reports(session)
            known = reports.of(make_job().running().observed())
            assert (known.report, known.awaited, known.changes_in) == (None, False, None)

    asyncio.run(main())
