"""The reader's side of leases: turns shard 0's answers into ranges of samples, and knows which of them still hold.

When shard 0 has forgotten this worker (it was frozen too long, or shard 0 came back from a checkpoint), its ranges went
to others: what is left of them must not be computed, or samples would be visited twice. Without I/O: `asked.py` asks
over a socket, the simulator over its network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

from asgd.errors import ProtocolError
from asgd.wire.messages import AnyMessage, Fault, Granted, Hello, Lease, Welcome
from asgd.worker.reading.leased import Visits
from asgd.worker.sending.channel import Channel
from asgd.worker.sending.faults import error_of

Asking = Generator[Lease | Hello, AnyMessage, Granted]
"""Yields what shard 0 is to be asked, is sent its answer, and ends with the range."""


class Leases:
    """Worker `index`'s ranges; when shard 0 does not know it (any more), it says hello first.

    `channel` is this worker's conversation with shard 0.
    """

    def __init__(self, index: int, incarnation: int, channel: Channel) -> None:
        self._index, self._incarnation, self._channel = index, incarnation, channel
        self._requests = 0
        self._held: deque[Granted] = deque()

    def asking(self) -> Asking:
        """The next range, `wait` or `over`. Raises what `faults.error_of` says when shard 0 refuses."""
        self._requests += 1
        while True:
            answer = yield Lease(self._index, self._incarnation, self._requests, self._channel.term)
            if isinstance(answer, Granted):
                self._channel.member_of(answer.term, answer.membership)
                self._held.append(answer)
                return answer
            if not isinstance(answer, Fault):
                raise ProtocolError(f"shard 0 answered a lease with {type(answer).__name__}")
            if answer.code != "hello":
                raise error_of(answer, 0)
            welcome = yield self._channel.greeting()
            if isinstance(welcome, Fault) and welcome.code == "stopped":
                return Granted(over=True)
            if isinstance(welcome, Fault) and welcome.code != "fenced":
                raise error_of(welcome, 0)
            if isinstance(welcome, Welcome):
                self._channel.heed(welcome.term)
                self._channel.member_of(welcome.term, welcome.membership)

    def holds(self, visits: Visits) -> bool:
        """Whether a batch's range is still this worker's; batches come in the order of their leases."""
        for epoch, start, stop in visits:
            while self._held and not _covers(self._held[0], epoch, start, stop):
                self._held.popleft()
            if not self._held:
                return False
            lease = self._held[0]
            if stop == lease.stop:
                self._held.popleft()
            if (lease.term, lease.membership) != self._channel.membership:
                return False
        return True


def _covers(lease: Granted, epoch: int, start: int, stop: int) -> bool:
    return lease.epoch == epoch and lease.start <= start and stop <= lease.stop
