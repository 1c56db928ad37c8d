"""Which samples are handed to whom: ranges of each epoch's order, leased, visited, returned.

A sample counts as visited when shard 0 accepts the push that names it. What a lost worker leased and did not push goes
back and is leased again first; nothing else is repeated. Pure state: the coordinator owns one, the checkpoint saves it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

from msgspec import Struct

Span = tuple[int, int, int]
"""(epoch, start, stop): positions [start, stop) of that epoch's order."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a worker wants of its next range (`wire.messages.Lease`)."""

    batch: int = 0
    until: int = -1
    skipped: list[Span] = field(default_factory=list)


ANY = Wanted()

_MOST_BATCHES = 32
"""A lease is at most this many batches: the most that a worker's death sends round again."""


def _up(count: int, batch: int) -> int:
    """`count` or a little more: whole batches."""
    return -(-count // batch) * batch


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
        """Sets the end, also while leases are out. A fraction of an epoch ends with a whole batch."""
        if epochs is None:
            self.limit = None
            return
        whole, rest = divmod(math.ceil(epochs * self.size), self.size)
        self.limit = whole * self.size + min(self.size, _up(rest, self.batch))

    def lease(self, worker: int, workers: int, batch: int = 0, until: int = -1) -> Span | None:
        """The next range for `worker` out of `workers` live ones; None when nothing is left to hand out.

        It is a multiple of `batch` samples (0: of the job's batches), and of no epoch after `until` (-1: of any).
        """
        span = self._from_returned(until) or self._fresh(workers, batch or self.batch, until)
        if span:
            self.leased[worker].append(span)
        return span

    def _from_returned(self, until: int) -> Span | None:
        self.returned.sort(reverse=True)
        if not self.returned or 0 <= until < self.returned[-1][0]:
            return None
        return self.returned.pop()

    def _fresh(self, workers: int, batch: int, until: int) -> Span | None:
        epoch, start = divmod(self.cursor, self.size)
        end = self.size if self.limit is None else min(self.size, self.limit - epoch * self.size)
        if start >= end or 0 <= until < epoch:
            return None
        # NB: nobody gets a shorter batch than the one that an epoch ends with by itself: batch norm can make nothing of
        # one sample. Loops of their own may have other batches than the job, and so may the start before.
        end = min(self.size, _up(end, batch))
        share = self.size // (batch * max(1, workers) * 4)
        stop = min(end, start + batch * max(1, min(_MOST_BATCHES, share)))
        if start % batch and end - stop < batch:
            stop = end
        self.cursor += stop - start
        return epoch, start, stop

    @property
    def more(self) -> bool:
        """Something is left to hand out."""
        return bool(self.returned) or self.limit is None or self.cursor < self.limit

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
