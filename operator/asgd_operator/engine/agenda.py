"""When each key of the queue is due: a heap that forgets, told the time by its caller.

A key stands here once, with the earliest time that anybody asked for. A key that is being worked on is passed over
until its work has ended.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass
class Agenda:
    """`plan` from whoever wants a key to be worked on, `take` from whoever is free to do it."""

    _due: dict[str, float] = field(default_factory=dict)
    _heap: list[tuple[float, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._due)

    def plan(self, key: str, due: float) -> bool:
        """Whether `due` is news: earlier than what was planned for `key`."""
        if due >= self._due.get(key, float("inf")):
            return False
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        return True

    def forget(self, key: str) -> None:
        self._due.pop(key, None)

    def oldest(self, now: float) -> float:
        """Seconds for which the longest waiting key is overdue; 0 when none is."""
        return max(0.0, now - min(self._due.values(), default=now))

    def take(self, now: float, busy: Collection[str]) -> tuple[str | None, float | None]:
        """The key that is due first and not `busy`, taken off; else None and the seconds until the next is due (None:
        only an event changes anything).
        """
        held: list[tuple[float, str]] = []
        try:
            while self._heap:
                due, key = self._heap[0]
                if self._due.get(key) != due:
                    heapq.heappop(self._heap)  # planned earlier since, or forgotten
                elif due > now:
                    return None, due - now
                elif key in busy:
                    held.append(heapq.heappop(self._heap))
                else:
                    heapq.heappop(self._heap)
                    del self._due[key]
                    return key, None
            return None, None
        finally:
            for item in held:
                heapq.heappush(self._heap, item)
