"""The centre as a worker sees it: all shards behind one push and one pull.

`exchange` returns when every shard has answered; with `exchange.ahead: 1` the caller runs it in a thread of its own
(`replica.py`). Sockets belong to whoever calls, one caller at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import zmq

from asgd.errors import ProtocolError, TryAgain
from asgd.kernel import F32
from asgd.record.worker import WorkerRecorder
from asgd.spec.types import Codec
from asgd.wire.control import Keys
from asgd.wire.lanes import shm
from asgd.wire.lanes.bulk import BulkLane
from asgd.wire.messages import Bye
from asgd.wire.partition import shard_range
from asgd.worker.sending.channel import Channel, at_once
from asgd.worker.sending.headers import Identity, PushMeta

POLL_MS = 50
COPY_MS = 1
"""The same while copies from a device are under way."""
OFFERS: dict[str, tuple[str, ...]] = {"auto": ("shm", "tcp"), "zmq": (), "tcp": ("tcp",), "shm": ("shm",)}
"""What a worker asks a shard for beside ZeroMQ, by `spec.exchange.lane`."""

IN_PLACE: F32 = np.empty(0, np.float32)
"""Stands for a pull that copies nothing."""


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


class Source(Protocol):
    """Who fills the pushed vector while it is on its way."""

    @property
    def wakes(self) -> int:
        """A descriptor that is readable when there may be something new."""

    @property
    def copying(self) -> bool:
        """Something may become ready without a wake-up."""

    @property
    def complete(self) -> bool:
        """All of it is there."""

    def ready(self, shard: int, chunk: int) -> bool:
        """Whether chunk number `chunk` of a shard is there."""

    def check(self) -> None:
        """Takes note of a wake-up. Raises TryAgain when the rest will never come."""


class Centre:
    """Connects to all shards. `split`: the strategy may hold pulls back (`ServerStrategy.pulls_wait`).

    `lane`: auto, or the only lane to ask for beside ZeroMQ (`spec.exchange.lane`).
    """

    def __init__(
        self, servers: Sequence[str], keys: Keys | None, identity: Identity, codec: Codec, *,
        split: bool = False, patience_seconds: float = 300.0, lane: str = "auto",
        recorder: WorkerRecorder | None = None,
    ) -> None:  # fmt: skip
        self._recorder = recorder or WorkerRecorder()
        self._context: zmq.Context[Any] = zmq.Context()
        self._patience = patience_seconds
        self.identity = identity
        self.channels: list[Channel] = []
        self.lanes: list[BulkLane] = []
        self.sequence = 0
        shares = "shm" in OFFERS[lane] and identity.role == "worker" and shm.worth_trying(servers)
        self.segment = shm.make(identity.size) if shares else None
        """Memory for servers on this machine; vectors that lie in it are pushed and pulled without a copy."""
        for shard, endpoint in enumerate(servers):
            way = BulkLane(self._context, endpoint, keys, OFFERS[lane], self.segment)
            part = shard_range(identity.size, shard, len(servers))
            # NB: a recording tells of each chunk's answer.
            channel = Channel(
                way, identity, codec, shard, part, split, joins_chunks=not self._recorder.records
            )
            way.place = channel.place
            self.lanes.append(way)
            self.channels.append(channel)

    def join(self, bring: Callable[[], F32] | None = None) -> str:
        """Says hello to every shard and waits until all have weights; `bring` gives this worker's own (N,) copy.

        Returns why the job stops if it is over already, else ''. Raises TryAgain when no shard answers in time.
        """
        now = time.monotonic()
        for channel in self.channels:
            channel.bring = self._recorder.bringing(channel.shard, bring)
            channel.hello(now)
        self._until(lambda: all(channel.joined for channel in self.channels))
        self._recorder.welcomed(self.stop)
        return self.stop

    def exchange(
        self, push: F32 | None, pull: F32 | None, meta: PushMeta, source: Source | None = None
    ) -> Outcome:
        """Pushes the (N,) vector `push` and pulls into `pull` (N,), either may be None; one round trip.

        With `meta.bare` a push goes out although `push` is None. `pull` may be IN_PLACE where every lane has
        `weights`: then the caller reads them there. `source` fills `push` meanwhile.
        """
        now = time.monotonic()
        for channel in self.channels:
            part = slice(channel.part.start, channel.part.stop)
            channel.start(
                None if push is None else push[part], meta, None if pull is None else pull[part], now,
                partial(source.ready, channel.shard) if source else at_once,
            )  # fmt: skip
        self._until(lambda: not any(channel.busy for channel in self.channels), source)
        self._recorder.heard([(channel.stop, channel.taken) for channel in self.channels])
        if push is not None and pull is not None:
            for lane, channel in zip(self.lanes, self.channels, strict=True):
                if lane.weights is not None and pull is not IN_PLACE:
                    pull[channel.part.start : channel.part.stop] = lane.weights
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
    def ways(self) -> list[str]:
        """The lane to each shard (`Lane.name`)."""
        return [channel.lane.name for channel in self.channels]

    @property
    def stop(self) -> str:
        """Why the job stops, as far as any shard has said."""
        return next((channel.stop for channel in self.channels if channel.stop), "")

    def _until(self, done: Callable[[], bool], source: Source | None = None) -> None:
        heard = time.monotonic()
        while not done():
            polled = [each for channel in self.channels for each in channel.lane.polls()]
            computing = source is not None and not source.complete
            if source:
                polled.append((source.wakes, zmq.POLLIN))
            zmq.zmq_poll(polled, COPY_MS if source and source.copying else POLL_MS)
            now = time.monotonic()
            if source:
                source.check()
                for channel in self.channels:
                    channel.advance(now)
            if self._receive(now) or computing:
                heard = now
            elif now - heard > self._patience:
                raise TryAgain(f"no parameter server has answered for {self._patience:.0f} s")
            for channel in self.channels:
                channel.tick(now)

    def _receive(self, now: float) -> bool:
        """Takes in what has arrived; whether anything had."""
        heard = False
        for channel in self.channels:
            while True:
                try:
                    arrived = channel.lane.receive()
                except ProtocolError:
                    continue
                if arrived is None:
                    break
                heard = True
                channel.handle(*arrived, now)
        return heard

    def leave(self, reason: str = "") -> None:
        """Says goodbye to every shard and closes."""
        who = self.identity
        for channel in self.channels:
            channel.lane.send(Bye(who.role, who.index, who.incarnation, False, reason))
            channel.lane.close()
        self._context.destroy(linger=500)
        if self.segment:
            self.segment.remove()
