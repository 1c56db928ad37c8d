"""The reader's side of leases: turns shard 0's answers into ranges of samples, and knows which of them still hold.

When shard 0 has forgotten this worker (it was frozen too long, or shard 0 came back from a checkpoint), its ranges went
to others: what is left of them must not be computed, or samples would be visited twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from asgd.errors import TryAgain, UserError
from asgd.host.env import ProcessConfig
from asgd.wire.ask import Asker
from asgd.wire.messages import Fault, Granted, Lease
from asgd.worker.sending.channel import Channel


class Leasing(Protocol):
    """Where the training loop's ranges come from: shard 0, or a recording."""

    def next(self) -> Granted:
        """The next range, `wait` or `over`."""

    def holds(self, visits: Sequence[tuple[int, int, int]]) -> bool:
        """Whether a batch's range is still this worker's."""


class Leases:
    """Asks shard 0 for ranges; when it does not know this worker (any more), says hello for it first.

    `channel` is this worker's conversation with shard 0.
    """

    def __init__(self, config: ProcessConfig, channel: Channel) -> None:
        self._asker = Asker(config.servers[0], config.keys)
        self._config, self._channel = config, channel
        self._requests = 0
        self._rejoins = 0
        self._held: deque[tuple[int, Granted]] = deque()

    def next(self) -> Granted:
        """The next range, `wait` or `over`. Raises TryAgain when shard 0 stays away, UserError when it refuses."""
        self._requests += 1
        question = Lease(self._config.index, self._config.incarnation, self._requests)
        patience = self._config.join_timeout_seconds
        while True:
            answer = self._asker.ask(question, patience)
            if isinstance(answer, Granted):
                self._held.append((self._memberships, answer))
                return answer
            if not isinstance(answer, Fault):
                raise UserError(f"shard 0 answered a lease with {type(answer).__name__}")
            if answer.code != "hello":
                raise UserError(answer.text)
            self._rejoins += 1
            welcome = self._asker.ask(self._channel.greeting(), patience)
            if isinstance(welcome, Fault) and welcome.code == "stopped":
                return Granted(over=True)
            if isinstance(welcome, Fault) and welcome.code == "session":
                raise TryAgain(welcome.text)

    @property
    def _memberships(self) -> int:
        """How often shard 0 has taken this worker in: by a lease or by the exchange, whichever came first."""
        return self._rejoins + self._channel.memberships

    def holds(self, visits: Sequence[tuple[int, int, int]]) -> bool:
        """Whether a batch's range is still this worker's; batches come in the order of their leases."""
        for epoch, start, stop in visits:
            while self._held and not _covers(self._held[0][1], epoch, start, stop):
                self._held.popleft()
            if not self._held:
                return False
            memberships, lease = self._held[0]
            if stop == lease.stop:
                self._held.popleft()
            if memberships != self._memberships:
                return False
        return True

    def close(self) -> None:
        """Ends the connection."""
        self._asker.close()


def _covers(lease: Granted, epoch: int, start: int, stop: int) -> bool:
    return lease.epoch == epoch and lease.start <= start and stop <= lease.stop
