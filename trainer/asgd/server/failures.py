"""Where workers' own code has failed before they had pushed anything: what strikes all of them there is no accident.

Pure. A worker that fails is started again within its budget, for machines and files come back; code that raises in the
first step of every worker does not. A restart of shard 0 forgets all of this, and learns it again from the next ones.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(slots=True)
class _Failure:
    place: str
    incarnation: int
    again: bool = False
    """The process before has failed there too."""


class Failures:
    """By the index of the worker, its newest."""

    def __init__(self) -> None:
        self._newest: dict[int, _Failure] = {}

    def pushed(self, index: int) -> None:
        """Worker `index` has come further than that."""
        if self._newest:
            self._newest.pop(index, None)

    def failed(
        self, index: int, incarnation: int, place: str, seats: Collection[int], seen: Collection[int]
    ) -> bool:
        """Worker `index` has failed at `place`. Whether that is so of every worker of the job.

        `seats`: all workers that there are or should be; `seen`: those that have ever joined. Of one that has not come
        yet nobody knows; then all others must have failed there twice.
        """
        known = self._newest.get(index)
        same = known is not None and known.place == place
        if known is None or not same or known.incarnation != incarnation:
            self._newest[index] = _Failure(place, incarnation, again=same)
        others = [self._newest.get(seat) for seat in seats]
        if any(seat not in self._newest and seat in seen for seat in seats):
            return False
        failures = [other for other in others if other is not None]
        whole = len(failures) == len(others) or all(failure.again for failure in failures)
        return whole and all(failure.place == place for failure in failures)
