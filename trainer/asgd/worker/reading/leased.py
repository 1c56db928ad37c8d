"""What a worker reads, as its core sees it: batches that name what they visit, and the word that there is none now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from asgd.wire.messages import Granted

Lease = tuple[int, int, int]
"""(epoch, start, stop): positions start..stop-1 of `epoch_order(seed, epoch, size)`."""

Visits = Sequence[Lease]


class Waiting(Enum):
    """No batch now, but perhaps later."""

    WAIT = "wait"
    """Other workers hold the rest of the last epoch, and may be lost."""
    ASK = "ask"
    """The next lease was not asked for yet."""


WAIT = Waiting.WAIT

NextLease = Callable[[], Lease | Waiting | None]
"""The next lease, WAIT, or None when this worker is to read no more.

NB: with data workers it is called ahead of the batches that were yielded, so it must never block until this
worker's own leases are visited: it answers WAIT instead. That comes out behind all that was leased before, so that
the worker can push what it has computed; then it is asked again.
"""


def range_of(granted: Granted) -> Lease | Waiting | None:
    """Shard 0's answer as `NextLease` gives it."""
    if granted.over:
        return None
    return WAIT if granted.wait else (granted.epoch, granted.start, granted.stop)


@dataclass(frozen=True, slots=True)
class LeasedBatch:
    """A batch, how many samples it holds, and the (epoch, start, stop) it visits; no visits for a stream."""

    batch: Any
    samples: int
    visits: tuple[Lease, ...] = ()


class Leasing(Protocol):
    """Where a worker's ranges come from: shard 0, or a recording."""

    def next(self) -> Granted:
        """The next range, `wait` or `over`."""

    def holds(self, visits: Visits) -> bool:
        """Whether a batch's range is still this worker's."""


def first_of(start: int, stop: int, batch: int) -> int:
    """Where the first batch of a leased range ends. The range's last one may be short, as an epoch's is.

    A range that begins between two batches (a job was resumed with another batchSize) ends with two of about the same
    size instead: a batch of one sample would be none that the data have.
    """
    left = stop - start
    if start % batch and batch < left < 2 * batch:
        return start + -(-left // 2)
    return min(start + batch, stop)


def cut(lease: Lease, batch: int) -> Iterator[Lease]:
    """The batches of a leased range, of `batch` samples each but for the last; none crosses a lease."""
    epoch, start, stop = lease
    while start < stop:
        last = first_of(start, stop, batch)
        yield epoch, start, last
        start = last


class Ranges:
    """What each batch of `batch` samples visits, lease after lease."""

    def __init__(self, batch: int, lease: NextLease) -> None:
        self._batch, self._lease = batch, lease
        self._rest: Iterator[Lease] = iter(())

    def next(self) -> Lease | Waiting | None:
        """The next batch's range; WAIT and ASK: perhaps later; None: no more."""
        if (part := next(self._rest, None)) is not None:
            return part
        lease = self._lease()
        if lease is None or isinstance(lease, Waiting):
            return lease
        self._rest = cut(lease, self._batch)
        return next(self._rest)
