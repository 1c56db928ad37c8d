"""The centre as a worker sees it: all shards behind one push and one pull.

`exchange` returns when every shard has answered; with `exchange.ahead: 1` the caller runs it in a thread of its own
(`replica.py`). Sockets belong to whoever calls, one caller at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import zmq

from asgd.errors import ProtocolError, TryAgain
from asgd.kernel import F32
from asgd.spec.types import Codec
from asgd.wire.control import Keys
from asgd.wire.lanes.zeromq import ZmqLane
from asgd.wire.messages import Bye
from asgd.wire.partition import shard_range
from asgd.worker.channel import Channel, Identity, PushMeta

POLL_MS = 50


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an exchange went."""

    stop: str
    """Why the job stops; empty while it runs."""
    verdicts: tuple[str, ...]
    samples: int
    """Samples of the whole job so far."""
    workers: int
    notes: dict[str, float]
    """What the strategy's server half says beside the weights (shard 0's word)."""
    empty: bool = False
    """Some shard had nothing new: what was pulled is not whole."""


class Centre:
    """Connects to all shards. `split`: the strategy may hold pulls back (`ServerStrategy.pulls_wait`)."""

    def __init__(
        self, servers: Sequence[str], keys: Keys | None, identity: Identity, codec: Codec, *,
        split: bool = False, patience_seconds: float = 300.0,
    ) -> None:  # fmt: skip
        self._context: zmq.Context[Any] = zmq.Context()
        self._poller = zmq.Poller()
        self._patience = patience_seconds
        self.identity = identity
        self.channels: list[Channel] = []
        self.sequence = 0
        for shard, endpoint in enumerate(servers):
            lane = ZmqLane(self._context, endpoint, keys)
            part = shard_range(identity.size, shard, len(servers))
            self.channels.append(Channel(lane, identity, codec, shard, part, split))
            self._poller.register(lane.socket, zmq.POLLIN)

    def join(self, bring: Callable[[], F32] | None = None) -> str:
        """Says hello to every shard and waits until all have weights; `bring` gives this worker's own (N,) copy.

        Returns why the job stops if it is over already, else ''. Raises TryAgain when no shard answers in time.
        """
        now = time.monotonic()
        for channel in self.channels:
            channel.bring = bring
            channel.hello(now)
        self._until(lambda: all(channel.joined for channel in self.channels))
        return self.stop

    def exchange(self, push: F32 | None, pull: F32 | None, meta: PushMeta) -> Outcome:
        """Pushes the (N,) vector `push` and pulls into `pull` (N,), either may be None; one round trip.

        With `meta.bare` a push goes out although `push` is None.
        """
        now = time.monotonic()
        for channel in self.channels:
            part = slice(channel.part.start, channel.part.stop)
            channel.start(
                None if push is None else push[part], meta, None if pull is None else pull[part], now
            )
        self._until(lambda: not any(channel.busy for channel in self.channels))
        first = self.channels[0]
        verdicts = tuple(channel.verdict for channel in self.channels)
        empty = any(channel.empty for channel in self.channels)
        return Outcome(self.stop, verdicts, first.samples, first.workers, first.notes, empty)

    def pull(self, into: F32) -> Outcome:
        """Pulls the weights into `into` (N,)."""
        return self.exchange(None, into, PushMeta(self.sequence, 0, 0, True, None, []))

    @property
    def versions(self) -> list[int]:
        """What the last pull brought of each shard."""
        return [channel.version for channel in self.channels]

    @property
    def stop(self) -> str:
        """Why the job stops, as far as any shard has said."""
        return next((channel.stop for channel in self.channels if channel.stop), "")

    def _until(self, done: Callable[[], bool]) -> None:
        heard = time.monotonic()
        while not done():
            events = self._poller.poll(POLL_MS)
            now = time.monotonic()
            if events:
                heard = now
                self._receive(now)
            elif now - heard > self._patience:
                raise TryAgain(f"no parameter server has answered for {self._patience:.0f} s")
            for channel in self.channels:
                channel.tick(now)

    def _receive(self, now: float) -> None:
        for channel in self.channels:
            while True:
                try:
                    arrived = channel.lane.receive()
                except ProtocolError:
                    continue
                if arrived is None:
                    break
                channel.handle(*arrived, now)

    def leave(self, reason: str = "") -> None:
        """Says goodbye to every shard and closes."""
        who = self.identity
        for channel in self.channels:
            channel.lane.send(Bye(who.role, who.index, who.incarnation, False, reason))
            channel.lane.close()
        self._context.destroy(linger=500)
