"""What a worker reads, as its core sees it: batches that name what they visit, and the word that there is none now."""

from __future__ import annotations

from collections.abc import Sequence
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
