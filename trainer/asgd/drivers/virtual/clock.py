"""Virtual time: a queue of things that happen, in order of time and, at one moment, in the order they were asked for.

Nothing here knows the machine's clock or draws random numbers, so a simulation is a function of its inputs.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

Action = Callable[[], None]


class Clock:
    """`now` is seconds since the simulation's start, or `now` more than that."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._queue: list[tuple[float, int, Action]] = []
        self._order = count()

    def after(self, seconds: float, action: Action) -> None:
        """Lets `action` happen `seconds` from now; 0 is after all that is due now already."""
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), action))

    def step(self) -> bool:
        """Lets the next thing happen; False when nothing is left."""
        if not self._queue:
            return False
        self.now, _, action = heapq.heappop(self._queue)
        action()
        return True
