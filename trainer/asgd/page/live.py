"""Serves a running page: in the page's own thread, in an event loop that takes a look once a second."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from aiohttp import web

from asgd.page.server import Shown, application, encoded

if TYPE_CHECKING:
    from asgd.page.serving import Serving

LOOK_SECONDS = 1.0
TICK_SECONDS = 0.25
GOODBYE_SECONDS = 1.0
"""So long those who look may take the last delta."""


def run(serving: Serving, listener: socket.socket, token: str) -> None:
    """Until nothing is served any more; in the page's thread."""
    asyncio.run(serve(serving, listener, token))


async def serve(serving: Serving, listener: socket.socket, token: str) -> None:
    """Until nothing is served any more."""
    title = f"{serving.model.about.job} · asgd"
    shown = Shown(title, lambda: encoded(serving.model.snapshot()), serving.feed, lambda: serving.t)
    runner = web.AppRunner(
        application(None, lambda name: None if name else shown, token), access_log=None, shutdown_timeout=0.5
    )
    await runner.setup()
    await web.SockSite(runner, listener).start()
    loop = asyncio.get_running_loop()
    due = loop.time()
    while not serving.closed:
        if loop.time() >= due:
            due = max(due + LOOK_SECONDS, loop.time())
            if event := serving.look(looks=bool(shown.listeners)):
                shown.send(event)
        await asyncio.sleep(min(TICK_SECONDS, max(0.0, due - loop.time())))
    if event := serving.look():
        shown.send(event)
    await _goodbye(shown)
    await runner.cleanup()


async def _goodbye(shown: Shown) -> None:
    queues = list(shown.listeners)
    shown.send(b"")
    for _ in range(int(GOODBYE_SECONDS / 0.05)):
        if all(queue.empty() for queue in queues):
            break
        await asyncio.sleep(0.05)
