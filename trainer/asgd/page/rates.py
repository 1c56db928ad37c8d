"""Rates of workers and shards over the last seconds, from two statuses that follow each other. Pure."""

from __future__ import annotations

from asgd.spec.status import ShardView, Status

KEEPS = 0.7
"""How much of a rate stays with each further second."""


class Rates:
    """Told once a second; whoever counts anew begins at 0."""

    def __init__(self) -> None:
        self.busy: dict[int, float] = {}
        """{shard: part of the time in which it served}"""
        self.new_pushes: dict[int, int] = {}
        """{worker: accepted pushes since the status before}"""
        self._bytes: dict[int, tuple[float, float]] = {}
        self._requests: dict[int, float] = {}
        self._workers: dict[int, float] = {}
        self._before: Status | None = None
        self._t = 0.0

    def tell(self, status: Status, t: float) -> None:
        """The newest status at `t`."""
        before, self._before, seconds = self._before, status, t - self._t
        self._t = t
        counts = {worker.index: worker.pushes for worker in before.workers} if before else {}
        self.new_pushes = {
            worker.index: max(0, worker.pushes - counts.get(worker.index, 0)) for worker in status.workers
        }
        if before is None or seconds <= 0:
            return
        samples = {(worker.index, worker.incarnation): worker.samples for worker in before.workers}
        for worker in status.workers:
            done = worker.samples - samples.get((worker.index, worker.incarnation), 0)
            rate = done / seconds if worker.alive else 0.0
            self._workers[worker.index] = _mixed(self._workers.get(worker.index), rate)
        for index, (old, new) in enumerate(zip(before.shards, status.shards, strict=False)):
            self._shard(index, old, new, seconds)

    def _shard(self, index: int, old: ShardView, new: ShardView, seconds: float) -> None:
        if new.term != old.term:
            return
        busy = (new.busy_seconds - old.busy_seconds) / seconds
        self.busy[index] = min(1.0, _mixed(self.busy.get(index), busy))
        self._requests[index] = _mixed(self._requests.get(index), (new.requests - old.requests) / seconds)
        into, out = self._bytes.get(index, (None, None))
        self._bytes[index] = (
            _mixed(into, (new.received - old.received) / seconds),
            _mixed(out, (new.sent - old.sent) / seconds),
        )

    def of_worker(self, index: int) -> float:
        """Samples a second."""
        return self._workers.get(index, 0.0)

    def told(self) -> list[list[float]]:
        """For each shard: part of the time in which it served, requests, bytes in and bytes out a second."""
        return [
            [
                round(self.busy[index], 4),
                round(self._requests[index], 1),
                *(round(b) for b in self._bytes[index]),
            ]
            for index in sorted(self.busy)
        ]


def _mixed(before: float | None, now: float) -> float:
    return max(0.0, now) if before is None else KEEPS * before + (1 - KEEPS) * max(0.0, now)
