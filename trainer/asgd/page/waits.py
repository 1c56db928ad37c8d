"""Who waits for whom: in rounds, with a bound on staleness, and in a warm start pulls are held back for others. Pure.

Servers do not say for whom a pull waits. It is for those that could move on and have not: members that neither wait
themselves nor lack data. Of these the one that has pushed least lately is named.
"""

from __future__ import annotations

from collections.abc import Sequence

from asgd.spec.status import WorkerView


def held_open(workers: Sequence[WorkerView]) -> dict[int, list[int]]:
    """{worker that is waited for: workers whose pulls are held back}; empty where nobody waits for others."""
    alive = [worker for worker in workers if worker.alive]
    parked = [worker.index for worker in alive if worker.waits == "others"]
    owing = [worker for worker in alive if not worker.waits]
    if not parked or not owing:
        return {}
    slowest = max(owing, key=lambda worker: (worker.idle_seconds, -worker.samples))
    return {slowest.index: sorted(parked)}
