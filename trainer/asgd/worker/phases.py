"""What this worker does with its time: the phase of each moment, added up in slots of a quarter of a second.

The thread that computes tells each turn, which costs about two microseconds; the heartbeat's thread takes the newest
slots along and changes nothing, so there is no lock. A phase that goes on is told as far as it has come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from asgd.spec.phases import COMPUTE, SLOT_SECONDS, TOLD_MOST, letter
from asgd.spec.status import PhasesView

_Closed = tuple[int, float, str]
"""How many slots have ended, when the one under way will, and the letters of the newest that have."""


class Phases:
    """From its making on. `clock`: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._phase, self._since = COMPUTE, clock()
        self._spent = [0.0] * 4
        """In the slot under way."""
        self._closed: _Closed = 0, self._since + SLOT_SECONDS, ""
        self._end = self._closed[1]

    def turn(self, phase: int) -> int:
        """From now on this worker does `phase`; returns what it did until now."""
        now, before = self._clock(), self._phase
        if now >= self._end:
            self._closed, spent = _passed(self._closed, self._spent, before, self._since, now)
            self._end, self._spent = self._closed[1], spent
        else:
            self._spent[before] += now - self._since
        self._since, self._phase = now, phase
        return before

    @contextmanager
    def during(self, phase: int) -> Iterator[None]:
        """The block is of `phase`; after it goes on what was before."""
        before = self.turn(phase)
        try:
            yield
        finally:
            self.turn(before)

    def told(self) -> PhasesView:
        """The newest whole slots, for a heartbeat of this moment."""
        closed, spent, phase, since = self._closed, [*self._spent], self._phase, self._since
        now = self._clock()
        (number, end, letters), _ = _passed(closed, spent, phase, since, now)
        return PhasesView(number, max(0.0, now - (end - SLOT_SECONDS)), letters)


def _passed(
    closed: _Closed, spent: list[float], phase: int, since: float, now: float
) -> tuple[_Closed, list[float]]:
    """The slots after `phase` went on from `since` to `now`, and what was spent in the one that is under way then."""
    number, end, letters = closed
    since = max(since, end - SLOT_SECONDS)
    if now < end:
        return closed, [part + max(0.0, now - since) * (index == phase) for index, part in enumerate(spent)]
    alone = [float(index == phase) for index in range(4)]
    whole = int((now - end) / SLOT_SECONDS)
    first = letter([part + (end - since) * one for part, one in zip(spent, alone, strict=True)])
    letters = (letters + first + letter(alone) * min(whole, TOLD_MOST))[-TOLD_MOST:]
    end += (whole + 1) * SLOT_SECONDS
    return (number + 1 + whole, end, letters), [(now - (end - SLOT_SECONDS)) * one for one in alone]
