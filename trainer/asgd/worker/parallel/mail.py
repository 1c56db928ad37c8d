"""How threads of a pipeline hand values on: boxes that wait, and all give up when one of the threads fails."""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any


class Abandoned(Exception):
    """Another thread has failed; its error is the one to tell."""


_GIVE_UP = object()


class Box:
    """First in, first out; `take` waits. Raises Abandoned once the batch is given up."""

    def __init__(self, office: Office) -> None:
        self._queue: SimpleQueue[Any] = SimpleQueue()
        office.boxes.append(self)

    def put(self, value: Any) -> None:
        self._queue.put(value)

    def take(self) -> Any:
        value = self._queue.get()
        if value is _GIVE_UP:
            self._queue.put(_GIVE_UP)
            raise Abandoned
        return value


class Office:
    """All boxes of one batch."""

    def __init__(self) -> None:
        self.boxes: list[Box] = []

    def give_up(self) -> None:
        """Whoever waits, now or later, hears of it instead of waiting for ever."""
        for box in self.boxes:
            box.put(_GIVE_UP)
