"""The centre as a worker sees it: all shards behind one push and one pull.

`exchange` returns when every shard has answered; with `exchange.ahead: 1` the caller runs it in a thread of its own
(`replica.py`). Sockets belong to whoever calls, one caller at a time. What is said, and when again, is `Shards`' and
`Channel`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import zmq

from asgd.errors import ProtocolError, VersionMismatch
from asgd.kernel import F32
from asgd.record.worker import WorkerRecorder
from asgd.spec.types import Codec
from asgd.wire.control import Keys
from asgd.wire.lanes import shm
from asgd.wire.lanes.bulk import BulkLane
from asgd.worker.sending.channel import Channel
from asgd.worker.sending.headers import Outcome, PeerIdentity, PushHeader
from asgd.worker.sending.patience import Patience
from asgd.worker.sending.shards import Shards, Source

POLL_MS = 50
COPY_MS = 1
"""The same while copies from a device are under way."""
OFFERS: dict[str, tuple[str, ...]] = {"auto": ("shm", "tcp"), "zmq": (), "tcp": ("tcp",), "shm": ("shm",)}
"""What a worker asks a shard for beside ZeroMQ, by `spec.exchange.lane`."""

IN_PLACE: F32 = np.empty(0, np.float32)
"""Stands for a pull that copies nothing."""


class Centre:
    """The shards of a job over `lanes`, one each; `open_centre` opens them. `segment`: memory that servers share.

    `patience` bounds each wait, `recorder` notes what comes.
    """

    def __init__(
        self, context: zmq.Context[Any], lanes: Sequence[BulkLane], shards: Shards, identity: PeerIdentity, *,
        segment: shm.Segment | None, patience: Patience, recorder: WorkerRecorder,
    ) -> None:  # fmt: skip
        self._context, self.lanes, self.shards, self.identity = context, list(lanes), shards, identity
        self.segment, self.patience, self._recorder = segment, patience, recorder
        self.waits: Callable[[], object] = lambda: None
        """Called while all that is missing of an exchange are weights, again and again."""

    @property
    def channels(self) -> list[Channel]:
        """The conversation with each shard."""
        return self.shards.channels

    def join(self, bring: Callable[[], F32] | None = None) -> str:
        """Says hello to every shard and waits until all have weights; `bring` gives this worker's own (N,) copy.

        Returns why the job stops if it is over already, else ''. Raises TryAgain when no shard answers in time.
        """
        self.shards.bring(lambda shard: self._recorder.bringing(shard, bring))
        self.shards.hello(time.monotonic())
        self._until(lambda: self.shards.joined)
        self._recorder.welcomed(self.stop)
        return self.stop

    def introduce(self, identity: PeerIdentity) -> None:
        """This worker tells more of itself from now on; shards that it has joined hear it at once.

        Raises TryAgain when they do not answer in time.
        """
        member = self.shards.joined
        self.identity = identity
        for channel in self.channels:
            channel.identity = identity
        if member:
            self.shards.hello(time.monotonic())
            self._until(lambda: self.shards.joined)

    def exchange(
        self, push: F32 | None, pull: F32 | None, meta: PushHeader, source: Source | None = None
    ) -> Outcome:
        """Pushes the (N,) vector `push` and pulls into `pull` (N,), either may be None; one round trip.

        With `meta.bare` a push goes out although `push` is None. `pull` may be IN_PLACE where every lane has
        `weights`: then the caller reads them there. `source` fills `push` meanwhile. Raises TryAgain when shards do
        not answer in time.
        """
        self.shards.start(push, pull, meta, time.monotonic(), source)
        self._until(lambda: not self.shards.busy, source)
        self._recorder.heard([(channel.stop, channel.taken) for channel in self.channels])
        if push is not None and pull is not None:
            for lane, channel in zip(self.lanes, self.channels, strict=True):
                if lane.weights is not None and pull is not IN_PLACE:
                    pull[channel.part.start : channel.part.stop] = lane.weights
        return self.shards.outcome()

    def pull(self, into: F32) -> Outcome:
        """Pulls the weights into `into` (N,)."""
        return self.exchange(None, into, PushHeader())

    @property
    def ways(self) -> list[str]:
        """The lane to each shard (`Lane.name`)."""
        return [channel.lane.name for channel in self.channels]

    @property
    def stop(self) -> str:
        """Why the job stops, as far as any shard has said."""
        return self.shards.stop

    def _until(self, done: Callable[[], bool], source: Source | None = None) -> None:
        heard = time.monotonic()
        while not done():
            polled: list[Any] = [each for channel in self.channels for each in channel.lane.polls()]
            computing = source is not None and not source.complete
            if source:
                polled.append((source.wakes, zmq.POLLIN))
            zmq.zmq_poll(polled, COPY_MS if source and source.copying else POLL_MS)
            now = time.monotonic()
            if source:
                source.check()
                self.shards.advance(now)
            if self._receive(now) or computing:
                heard = now
            if self.shards.pulls:
                self.waits()
            self.patience.check(self.shards.silent, heard, now)
            self.shards.tick(now)

    def _receive(self, now: float) -> bool:
        """Takes in what has arrived; whether anything had."""
        heard = False
        for channel in self.channels:
            while True:
                try:
                    arrived = channel.lane.receive()
                except VersionMismatch:
                    raise
                except ProtocolError:
                    continue
                if arrived is None:
                    break
                heard = True
                channel.handle(*arrived, now)
                if channel.joined and not channel.busy:
                    # NB: all that was asked for is there; looking once more in vain takes long beside a small push.
                    break
        return heard

    def leave(self, reason: str = "") -> None:
        """Says goodbye to every shard and closes; `failed`: whoever leaves is lost."""
        self.shards.leave(reason)
        for lane in self.lanes:
            lane.close()
        self._context.destroy(linger=500)
        if self.segment:
            self.segment.remove()


def open_centre(
    servers: Sequence[str], keys: Keys | None, identity: PeerIdentity, codec: Codec, *,
    split: bool = False, patience: Patience | None = None, lane: str = "auto", recorder: WorkerRecorder | None = None,
    made: Callable[..., Centre] = Centre,
) -> Centre:  # fmt: skip
    """Opens a lane to every shard. `split`: the strategy may hold pulls back (`ServerStrategy.pulls_wait`).

    `lane`: auto, or the only lane to ask for beside ZeroMQ (`spec.exchange.lane`). `patience`: 300 s of silence if
    not given. `made`: what becomes of them.
    """
    context: zmq.Context[Any] = zmq.Context()
    told = recorder or WorkerRecorder()
    shares = "shm" in OFFERS[lane] and identity.role == "worker" and shm.worth_trying(servers)
    segment = shm.make(identity.size) if shares else None
    lanes = [BulkLane(context, endpoint, keys, OFFERS[lane], segment) for endpoint in servers]
    # NB: a recording tells of each chunk's answer.
    shards = Shards.over(lanes, identity, codec, split=split, joins_chunks=not told.records)
    for way, channel in zip(lanes, shards.channels, strict=True):
        way.place = channel.place
    return made(
        context, lanes, shards, identity, segment=segment, patience=patience or Patience(300.0),
        recorder=told,
    )  # fmt: skip
