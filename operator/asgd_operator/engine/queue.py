"""A work queue of keys: what controller-runtime gives to Go, in the part that a level-based operator needs.

A key that is added many times is worked on once, and never twice at a time; one that is added while it is
worked on is worked on once more. Failures back off for each key alone, a token bucket bounds all of them
together, and a resync adds every known key again, spread over its interval. A key waits a moment before it is
worked on, because indices change slightly after the event that tells of it, and because events come in
flocks.

What is new or has changed is worked on in the order in which it came; what is looked at as a matter of routine has a
lane of its own, with workers and tokens of its own: a thousand jobs that run do not keep a new one waiting.

Whatever the work on a key raises is that key's failure: it is logged, counted, backed off, and the other keys do not
notice. Only the queue's own cancellation ends it. All times are the event loop's, so tests run it in virtual time.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from asgd_operator.engine.agenda import Agenda, Lane
from asgd_operator.engine.limits import Backoff, TokenBucket
from asgd_operator.engine.surprises import Surprises
from asgd_operator.errors import OperatorError, Transient

log = logging.getLogger(__name__)
T = TypeVar("T")

Work = Callable[[str], Awaitable[float | None]]
"""Works on a key; answers in how many seconds to look again, or None. Raises OperatorError to be retried; every other
exception is retried as well, and counted as a bug.
"""
OnFailure = Callable[[str, Exception, int], Awaitable[None]]
"""Hears that work on a key failed, with what, and how often in a row. What it raises is logged, and changes nothing."""


class Interrupted(Exception):
    """The work on a key was cancelled by somebody else than the queue."""


@dataclass(frozen=True)
class Pace:
    """How fast the queue works; all times in seconds."""

    workers: int = 4
    """Of each lane, as are the tokens."""
    debounce: float = 0.15
    first_backoff: float = 0.5
    longest_backoff: float = 300.0
    longest_work: float = 300.0
    """Work on one key is cut off after this and tried again."""
    per_second: float = 10.0
    burst: float = 50.0
    resync: float = 600.0


async def _untold(key: str, error: Exception, count: int) -> None:
    return


@dataclass
class WorkQueue:
    """`add` from any handler, `run` in one task. `known` lists the keys for the resync."""

    work: Work
    known: Callable[[], Iterable[str]]
    pace: Pace = field(default_factory=Pace)
    on_result: Callable[[str, float, Exception | None], None] = lambda key, seconds, error: None
    on_failure: OnFailure = _untold
    chance: Callable[[], float] = random.random
    heartbeat: float = 0.0
    """When the resync last went round, on the loop's clock: a queue that is stuck stops here."""

    def __post_init__(self) -> None:
        self._agenda = Agenda()
        self._running: set[str] = set()
        self._changed = asyncio.Event()
        self._buckets = {lane: TokenBucket(self.pace.per_second, self.pace.burst) for lane in Lane}
        self._backoff = Backoff(self.pace.first_backoff, self.pace.longest_backoff)
        self._surprises = Surprises(log)

    def add(self, key: str, after: float | None = None, lane: Lane | None = None) -> None:
        """Has `key` worked on after a moment, as news; or after `after` seconds if that is not later than planned
        already, as a matter of routine unless `lane` says otherwise.
        """
        due = asyncio.get_running_loop().time() + (self.pace.debounce if after is None else after)
        if self._agenda.plan(key, due, lane or (Lane.NEWS if after is None else Lane.ROUTINE)):
            self._changed.set()

    def forget(self, key: str) -> None:
        """Nothing is left to do for `key`."""
        self._agenda.forget(key)
        self._backoff.succeeded(key)
        self._surprises.forget(key)

    @property
    def depth(self) -> int:
        """Keys that are due or are worked on; not those whose next look is planned for later."""
        return self._agenda.due(asyncio.get_running_loop().time()) + len(self._running)

    def oldest_age(self) -> float:
        """Seconds for which the longest waiting key is overdue."""
        return self._agenda.oldest(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Works until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._resync())
            for lane in Lane:
                for _ in range(self.pace.workers):
                    tasks.create_task(self._worker(lane))

    async def _worker(self, lane: Lane) -> None:
        while True:
            key = await self._next(lane)
            self._running.add(key)
            try:
                await self._one(key)
            finally:
                self._running.discard(key)
                self._changed.set()

    async def _one(self, key: str) -> None:
        loop = asyncio.get_running_loop()
        started, failure = loop.time(), None
        try:
            again = await self._bounded(self.work(key))
            self._backoff.succeeded(key)
        except Exception as error:
            failure = error
            again = self._failed(key, error)
        self.on_result(key, loop.time() - started, failure)
        if again is not None:
            self.add(key, again)
        if failure is not None:
            await self._tell(key, failure)

    def _failed(self, key: str, error: Exception) -> float:
        """Seconds until the next try."""
        again = self._backoff.failed(key)
        if isinstance(error, OperatorError):
            again = max(again, error.retry_after)
            log.warning("reconcile failed, next try in %.1f s: %s", again, error, extra={"job": key})
        else:
            self._surprises.log(key, error, f"bug: reconcile failed, next try in {again:.1f} s")
        return again

    async def _tell(self, key: str, failure: Exception) -> None:
        try:
            await self._bounded(self.on_failure(key, failure, self._backoff.failures(key)))
        except OperatorError as error:
            log.warning("the failure could not be told to the user: %s", error, extra={"job": key})
        except Exception as error:
            self._surprises.log(key, error, "bug: the failure could not be told to the user")

    async def _bounded(self, work: Awaitable[T]) -> T:
        """Awaits `work` for as long as one key may take. Whatever ends it is an exception of that key, but for the
        queue's own cancellation.
        """
        try:
            async with asyncio.timeout(self.pace.longest_work) as bound:
                return await work
        except TimeoutError as error:
            if not bound.expired():
                raise
            raise Transient(f"a look took longer than {self.pace.longest_work:.0f} s") from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # NB: a task that ends as cancelled is nobody's failure to a TaskGroup: the queue would lose this worker
            # without a word.
            raise Interrupted("cancelled from within") from error

    async def _next(self, lane: Lane) -> str:
        """The key of `lane` that is due first and that no other worker has in hand, as soon as there is a token."""
        bucket = self._buckets[lane]
        while True:
            self._changed.clear()
            now = asyncio.get_running_loop().time()
            if bucket.tokens(now) and (key := self._agenda.take(lane, now, self._running)):
                bucket.take(now)
                return key
            due = self._agenda.next_in(lane, now, self._running)
            wait = None if due is None else max(due, bucket.ready_in(now))
            try:
                # NB: never asyncio.wait_for, which may swallow a cancellation that comes together with the event.
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _resync(self) -> None:
        while True:
            self.heartbeat = asyncio.get_running_loop().time()
            await asyncio.sleep(self.pace.resync * (0.9 + 0.2 * self.chance()))
            for key in list(self.known()):
                # Spread over a tenth of the interval, or 1,000 jobs would be asked for in the same second.
                self.add(key, self.chance() * self.pace.resync / 10)
