"""The same for asyncio: each call runs in a thread, so that the event loop goes on. A wait that is cancelled ends.

run = await aio.submit(task, workers=4)
await run.wait()
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Self

from asgd.client.call import submit as submit_now
from asgd.client.run import Run


async def submit(task_or_job: Any, **options: Any) -> AsyncRun:
    """As `asgd.client.submit`."""
    return AsyncRun(await asyncio.to_thread(partial(submit_now, task_or_job, **options)))


class _NobodyWaits(Exception):
    """Ends the thread of a wait that was cancelled; nobody sees it."""


class AsyncRun:
    """A `Run` whose methods are awaited: wait, follow, stop, scale, suspend, resume, delete, download, model,
    state_dict; `get(name)` awaits one of its properties, as `await run.get("metrics")`.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.name = run.name

    async def wait(self, timeout: float | None = None) -> Self:
        """As `Run.wait`; when it is cancelled, as by `asyncio.wait_for`, the job is looked at no more."""
        over = threading.Event()

        def pause(seconds: float) -> None:
            if over.wait(seconds):
                raise _NobodyWaits

        try:
            await asyncio.to_thread(self.run.attend, timeout, pause)
        finally:
            over.set()
        return self

    async def follow(self, timeout: float | None = None) -> Self:
        """As `wait`."""
        return await self.wait(timeout)

    async def stop(self, *, wait: bool = True) -> Self:
        """As `Run.stop`."""
        await asyncio.to_thread(partial(self.run.stop, wait=False))
        return await self.wait() if wait else self

    async def get(self, name: str) -> Any:
        """The property `name` of the run."""
        return await asyncio.to_thread(getattr, self.run, name)

    async def logs(self, **options: Any) -> AsyncIterator[str]:
        """As `Run.logs`, line by line."""
        lines = self.run.logs(**options)
        over = object()
        while (line := await asyncio.to_thread(next, lines, over)) is not over:
            yield str(line)

    def __getattr__(self, name: str) -> Any:
        """NB: only what is no property is there without `get`."""
        method = getattr(type(self.run), name)
        if isinstance(method, property):
            raise AttributeError(f"await run.get({name!r}) asks for it")

        async def called(*words: Any, **options: Any) -> Any:
            found = await asyncio.to_thread(partial(method, self.run, *words, **options))
            return self if found is self.run else found

        return called
