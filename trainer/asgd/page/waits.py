"""Who waits for whom: in rounds, with a bound on staleness, and in a warm start pulls are held back for others. Pure.

Servers do not say for whom a pull waits. It is for those that could move on and have not: members that neither wait
themselves nor lack data. Of these the one that has pushed least lately is named. A round may be shorter than the second
between two looks, so `Waits` tells what was seen in a good part of the latest looks.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from asgd.spec.status import WorkerView

LOOKS = 10
LEAST_SHARE = 0.3
"""Of the looks."""


class Waits:
    """Who was waited for lately."""

    def __init__(self) -> None:
        self._looks: deque[dict[int, list[int]]] = deque(maxlen=LOOKS)

    def tell(self, workers: Sequence[WorkerView]) -> None:
        """One look; where nobody is left it is over."""
        if not any(worker.alive for worker in workers):
            self._looks.clear()
        self._looks.append(held_open(workers))

    def lately(self) -> dict[int, list[int]]:
        """{worker that is waited for: workers that wait for it}, of what was seen often; empty where nobody waits."""
        least = LEAST_SHARE * len(self._looks)
        open_by = Counter(worker for look in self._looks for worker in look)
        found = {}
        for worker, looks in open_by.items():
            parked = Counter(other for look in self._looks for other in look.get(worker, ()))
            often = sorted(other for other, seen in parked.items() if seen >= looks / 2)
            if looks >= least and often:
                found[worker] = often
        return dict(sorted(found.items()))


def held_open(workers: Sequence[WorkerView]) -> dict[int, list[int]]:
    """{worker that is waited for: workers whose pulls are held back}; empty where nobody waits for others."""
    alive = [worker for worker in workers if worker.alive]
    parked = [worker.index for worker in alive if worker.waits == "others"]
    owing = [worker for worker in alive if not worker.waits]
    if not parked or not owing:
        return {}
    slowest = max(owing, key=lambda worker: (worker.idle_seconds, -worker.samples))
    return {slowest.index: sorted(parked)}
