"""When each key of the queue is due: heaps that forget, told the time by their caller.

A key stands here once, with the earliest time that anybody asked for, in one of two lanes: what is new or has changed,
and what is looked at as a matter of routine. A key that is being worked on is passed over until its work has ended.
"""

from __future__ import annotations

import heapq
from collections.abc import Container
from dataclasses import dataclass, field
from enum import Enum


class Lane(Enum):
    """Who asked for a look."""

    NEWS = "news"
    """A job or one of its children has changed."""
    ROUTINE = "routine"
    """Time has passed: a resync, an answer of shard 0, a look that was planned, another try."""


@dataclass
class Agenda:
    """`plan` from whoever wants a key to be worked on, `take` from whoever is free to do it."""

    _due: dict[str, tuple[float, Lane]] = field(default_factory=dict)
    _heaps: dict[Lane, list[tuple[float, str]]] = field(default_factory=lambda: {lane: [] for lane in Lane})

    def due(self, now: float) -> int:
        """How many keys wait: their time has come. All others are planned for later."""
        return sum(due <= now for due, _ in self._due.values())

    def plan(self, key: str, due: float, lane: Lane = Lane.NEWS) -> bool:
        """Whether this is news: earlier than what was planned for `key`, or no longer routine."""
        before, former = self._due.get(key, (float("inf"), lane))
        if former is Lane.ROUTINE and lane is Lane.NEWS:
            # NB: with a time of its own, or a job whose routine is late would pass those that are new.
            self._put(key, due, lane)
            return True
        if due >= before:
            return False
        self._put(key, due, former)
        return True

    def forget(self, key: str) -> None:
        self._due.pop(key, None)

    def oldest(self, now: float) -> float:
        """Seconds for which the longest waiting key is overdue; 0 when none is."""
        return max(0.0, now - min((due for due, _ in self._due.values()), default=now))

    def take(self, lane: Lane, now: float, busy: Container[str]) -> str | None:
        """The key of `lane` that is due first and not `busy`, taken off."""
        key, wait = self._first(lane, now, busy)
        if key is None or wait > 0:
            return None
        del self._due[key]
        return key

    def next_in(self, lane: Lane, now: float, busy: Container[str]) -> float | None:
        """Seconds until a key of `lane` is due; None: only an event changes anything."""
        key, wait = self._first(lane, now, busy)
        return None if key is None else wait

    def _put(self, key: str, due: float, lane: Lane) -> None:
        self._due[key] = (due, lane)
        heapq.heappush(self._heaps[lane], (due, key))

    def _first(self, lane: Lane, now: float, busy: Container[str]) -> tuple[str | None, float]:
        heap, held = self._heaps[lane], list[tuple[float, str]]()
        try:
            while heap:
                due, key = heap[0]
                if self._due.get(key) != (due, lane):
                    heapq.heappop(heap)  # planned otherwise since, taken, or forgotten
                elif key in busy and due <= now:
                    held.append(heapq.heappop(heap))
                else:
                    return key, max(0.0, due - now)
            return None, 0.0
        finally:
            for item in held:
                heapq.heappush(heap, item)
