"""Which samples are handed to whom: ranges of each epoch's order, leased, visited, returned.

A sample counts as visited when shard 0 accepts the push that names it. What a lost worker leased and did not push goes
back and is leased again first; nothing else is repeated. Pure state: the coordinator owns one, the checkpoint saves it.
"""

from __future__ import annotations

import math
from collections import defaultdict

from msgspec import Struct

Span = tuple[int, int, int]
"""(epoch, start, stop): positions [start, stop) of that epoch's order."""

_MOST_BATCHES = 32
"""A lease is at most this many batches: the most that a worker's death sends round again."""


class PoolState(Struct):
    """What a checkpoint keeps. Leases are not kept: after a restore all unvisited ranges are open again."""

    size: int
    cursor: int
    visited: int
    revisited: int
    returned: list[Span]


class Pool:
    """Leases over `size` samples an epoch, for `epochs` epochs (a fraction ends inside the last one; None: no end)."""

    def __init__(self, size: int, batch: int, epochs: float | None) -> None:
        self.size, self.batch = size, batch
        self.end_after(epochs)
        self.cursor = 0
        """Samples leased for the first time, over all epochs."""
        self.visited = 0
        self.revisited = 0
        self.skipped = 0
        """Samples that were given up: visited, though no push has used them."""
        self._doubtful: set[Span] = set()
        self.returned: list[Span] = []
        self.leased: dict[int, list[Span]] = defaultdict(list)

    def end_after(self, epochs: float | None) -> None:
        """Sets the end, also while leases are out."""
        self.limit = None if epochs is None else math.ceil(epochs * self.size)

    def lease(self, worker: int, workers: int) -> Span | None:
        """The next range for `worker` out of `workers` live ones; None when nothing is left to hand out."""
        span = self._from_returned() if self.returned else self._fresh(workers)
        if span:
            self.leased[worker].append(span)
        return span

    def _from_returned(self) -> Span:
        self.returned.sort(reverse=True)
        return self.returned.pop()

    def _fresh(self, workers: int) -> Span | None:
        epoch, start = divmod(self.cursor, self.size)
        end = self.size if self.limit is None else min(self.size, self.limit - epoch * self.size)
        if start >= end:
            return None
        share = self.size // (self.batch * max(1, workers) * 4)
        stop = min(end, start + self.batch * max(1, min(_MOST_BATCHES, share)))
        self.cursor += stop - start
        return epoch, start, stop

    def visit(self, worker: int, spans: list[Span]) -> None:
        """A push of `worker` that names `spans` was accepted."""
        for span in spans:
            count = span[2] - span[1]
            mine = self._take(self.leased.get(worker, []), span)
            # NB: after a rollback of shard 0 a range may be back in the pool while its push is still on the way.
            taken = mine or self._take(self.returned, span)
            if taken:
                self.visited += count
                self._doubtful.discard(span)
            else:
                self.revisited += count

    def refuse(self, worker: int, spans: list[Span]) -> None:
        """A push that names `spans` was refused: somebody will have to do them again."""
        leased = self.leased.get(worker, [])
        self.returned.extend(span for span in spans if self._take(leased, span))

    def give_up(self, worker: int, spans: list[Span]) -> int:
        """What `spans` gave was not finite: they go back once; the second time they count as visited. Returns how
        many samples that are: data that holds nan would else be leased for ever."""
        again = [span for span in spans if span in self._doubtful]
        fresh = [span for span in spans if span not in self._doubtful]
        self._doubtful.update(fresh)
        self.refuse(worker, fresh)
        self.visit(worker, again)
        self._doubtful.difference_update(again)
        count = sum(stop - start for _, start, stop in again)
        self.skipped += count
        return count

    def release(self, worker: int) -> None:
        """The worker is gone: what it leased and did not push goes back."""
        self.returned.extend(self.leased.pop(worker, []))

    def held(self, worker: int) -> int:
        """Samples that are leased to the worker and not visited."""
        return sum(stop - start for _, start, stop in self.leased.get(worker, []))

    @staticmethod
    def _take(spans: list[Span], wanted: Span) -> bool:
        """Cuts `wanted` out of the one span that holds all of it; False when none does."""
        epoch, start, stop = wanted
        for i, (e, a, b) in enumerate(spans):
            if e == epoch and a <= start and stop <= b:
                spans[i : i + 1] = [s for s in ((e, a, start), (e, stop, b)) if s[1] < s[2]]
                return True
        return False

    @property
    def done(self) -> bool:
        """Every sample of every epoch was visited."""
        return self.limit is not None and self.visited >= self.limit

    def state(self) -> PoolState:
        """What a checkpoint keeps."""
        open_spans = sorted([*self.returned, *(span for spans in self.leased.values() for span in spans)])
        return PoolState(self.size, self.cursor, self.visited, self.revisited, open_spans)

    def load(self, state: PoolState) -> None:
        """Takes over what `state` returned."""
        self.cursor, self.visited, self.revisited = state.cursor, state.visited, state.revisited
        self.returned = list(state.returned)
        self.leased.clear()
