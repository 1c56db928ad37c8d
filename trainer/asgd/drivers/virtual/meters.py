"""What a worker in virtual time tells of its own times, as the meters of a real one do."""

from __future__ import annotations

from asgd.spec.durations import Durations
from asgd.spec.status import WorkerTimes


class Meters:
    """Times are seconds."""

    def __init__(self) -> None:
        self.own = Durations()
        """Of its own part of each step."""
        self._exchanges = Durations()
        self._began: float | None = None

    def asks(self, now: float) -> None:
        """An exchange begins."""
        self._began = now

    def answered(self, now: float) -> None:
        """No answer is missing any more; twice is no harm."""
        if self._began is not None:
            self._exchanges.add(now - self._began)
            self._began = None

    def told(self) -> WorkerTimes:
        """All so far."""
        return WorkerTimes(self.own.told(), self._exchanges.told())
