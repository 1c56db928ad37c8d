"""A work queue of keys: what controller-runtime gives to Go, in the part that a level-based operator needs.

A key that is added many times is worked on once, and never twice at a time; one that is added while it is
worked on is worked on once more. Failures back off for each key alone, a token bucket bounds all of them
together, and a resync adds every known key again, spread over its interval. A key waits a moment before it is
worked on, because indices change slightly after the event that tells of it, and because events come in
flocks.

All times are the event loop's, so tests run it in virtual time.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from asgd_operator.engine.limits import Backoff, TokenBucket
from asgd_operator.errors import OperatorError

log = logging.getLogger(__name__)

Work = Callable[[str], Awaitable[float | None]]
"""Works on a key; answers in how many seconds to look again, or None. Raises OperatorError to be retried."""


@dataclass(frozen=True)
class Pace:
    """How fast the queue works; all times in seconds."""

    workers: int = 4
    debounce: float = 0.15
    first_backoff: float = 0.5
    longest_backoff: float = 300.0
    per_second: float = 10.0
    burst: float = 50.0
    resync: float = 600.0


@dataclass
class WorkQueue:
    """`add` from any handler, `run` in one task. `known` lists the keys for the resync."""

    work: Work
    known: Callable[[], Iterable[str]]
    pace: Pace = field(default_factory=Pace)
    on_result: Callable[[str, float, OperatorError | None], None] = lambda key, seconds, error: None
    chance: Callable[[], float] = random.random
    heartbeat: float = 0.0
    """When the resync last went round, on the loop's clock: a queue that is stuck stops here."""

    def __post_init__(self) -> None:
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._running: set[str] = set()
        self._changed = asyncio.Event()
        self._bucket = TokenBucket(self.pace.per_second, self.pace.burst)
        self._backoff = Backoff(self.pace.first_backoff, self.pace.longest_backoff)

    def add(self, key: str, after: float | None = None) -> None:
        """Has `key` worked on after a moment, or after `after` seconds if that is not later than planned
        already.
        """
        due = asyncio.get_running_loop().time() + (self.pace.debounce if after is None else after)
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._changed.set()

    def forget(self, key: str) -> None:
        """Nothing is left to do for `key`."""
        self._due.pop(key, None)
        self._backoff.succeeded(key)

    @property
    def depth(self) -> int:
        return len(self._due) + len(self._running)

    def oldest_age(self) -> float:
        """Seconds for which the longest waiting key is overdue."""
        now = asyncio.get_running_loop().time()
        return max(0.0, now - min(self._due.values(), default=now))

    async def run(self) -> None:
        """Works until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._resync())
            for _ in range(self.pace.workers):
                tasks.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            key = await self._next()
            self._running.add(key)
            try:
                await self._one(key)
            finally:
                self._running.discard(key)
                self._changed.set()

    async def _one(self, key: str) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._bucket.reserve(loop.time()))
        started, failure = loop.time(), None
        try:
            again = await self.work(key)
        except OperatorError as error:
            failure = error
            again = max(self._backoff.failed(key), error.retry_after)
            log.warning("reconcile failed, next try in %.1f s: %s", again, error, extra={"job": key})
        else:
            self._backoff.succeeded(key)
        self.on_result(key, loop.time() - started, failure)
        if again is not None:
            self.add(key, again)

    async def _next(self) -> str:
        """The key that is due first and that no other worker has in hand."""
        while True:
            self._changed.clear()
            wait, held = None, []
            now = asyncio.get_running_loop().time()
            while self._heap:
                due, key = self._heap[0]
                if self._due.get(key) != due:
                    heapq.heappop(self._heap)  # planned earlier since, or forgotten
                elif due > now:
                    wait = due - now
                    break
                elif key in self._running:
                    held.append(heapq.heappop(self._heap))
                else:
                    heapq.heappop(self._heap)
                    del self._due[key]
                    self._put_back(held)
                    return key
            self._put_back(held)
            await self._wait(wait)

    def _put_back(self, held: list[tuple[float, str]]) -> None:
        for item in held:
            heapq.heappush(self._heap, item)

    async def _wait(self, seconds: float | None) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return

    async def _resync(self) -> None:
        while True:
            self.heartbeat = asyncio.get_running_loop().time()
            await asyncio.sleep(self.pace.resync * (0.9 + 0.2 * self.chance()))
            for key in list(self.known()):
                # Spread over a tenth of the interval, or 1,000 jobs would be asked for in the same second.
                self.add(key, self.chance() * self.pace.resync / 10)
