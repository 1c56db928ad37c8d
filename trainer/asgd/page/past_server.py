"""Serves what runs have left: the page of one, or the list of several; one that goes on is asked for its own page."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from aiohttp import web

from asgd.page.listing import Listing
from asgd.page.past import state_of
from asgd.page.server import Shown, application, encoded


async def serve(listing: Listing, listener: socket.socket, token: str, began: Callable[[], None]) -> None:
    """Until it is cancelled; `began` is called once it serves."""

    def shown(name: str) -> Shown | None:
        folder = listing.find(name)
        if folder is None:
            return None
        return Shown(f"{folder.name} · asgd", lambda: encoded(state_of(folder)))

    index = None if listing.single else listing.page
    runner = web.AppRunner(application(index, shown, token), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    began()
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
