"""All shards behind one push and one pull, without I/O: what sockets, the simulated network and a replay's tape share.

`Channel` talks with one shard; this starts them together and says when all have answered, and what. Whoever owns the
lanes feeds the channels what arrives and calls `tick` as time goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from asgd.kernel import F32
from asgd.spec.types import Codec
from asgd.wire.lanes import Lane
from asgd.wire.messages import Bye
from asgd.wire.partition import shard_range
from asgd.worker.sending.channel import Channel, at_once
from asgd.worker.sending.headers import Outcome, PeerIdentity, PushHeader


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


class Shards:
    """The conversations with all shards, in order."""

    def __init__(self, channels: Iterable[Channel]) -> None:
        self.channels = list(channels)

    @classmethod
    def over(
        cls, lanes: Sequence[Lane], identity: PeerIdentity, codec: Codec, *, split: bool, joins_chunks: bool = False
    ) -> Shards:  # fmt: skip
        """Those of `lanes`, one to each shard in order; see `Channel` for the rest."""
        parts = [shard_range(identity.size, shard, len(lanes)) for shard in range(len(lanes))]
        return cls(
            Channel(lane, identity, codec, shard, part, split, joins_chunks)
            for shard, (lane, part) in enumerate(zip(lanes, parts, strict=True))
        )

    def hello(self, now: float) -> None:
        """Joins every shard."""
        for channel in self.channels:
            channel.hello(now)

    @property
    def joined(self) -> bool:
        """Every shard has weights and has welcomed this worker."""
        return all(channel.joined for channel in self.channels)

    def start(
        self, push: F32 | None, pull: F32 | None, meta: PushHeader, now: float, source: Source | None = None
    ) -> None:  # fmt: skip
        """Begins an exchange: pushes the (N,) vector `push` and pulls into `pull` (N,), either may be None."""
        for channel in self.channels:
            part = slice(channel.part.start, channel.part.stop)
            channel.start(
                None if push is None else push[part], meta, None if pull is None else pull[part], now,
                partial(source.ready, channel.shard) if source else at_once,
            )  # fmt: skip

    def leave(self, reason: str) -> None:
        """Says goodbye to every shard; `failed`: whoever leaves is lost."""
        for channel in self.channels:
            who, lost = channel.identity, reason == "failed"
            channel.lane.send(Bye(who.role, who.index, who.incarnation, lost=lost, reason=reason))

    @property
    def busy(self) -> bool:
        """Some shard has not answered the exchange yet."""
        return any(channel.busy for channel in self.channels)

    @property
    def pulls(self) -> bool:
        """All that is still missing of the exchange are weights: other workers may be waited for."""
        return all(not (channel.busy and channel.pushing) for channel in self.channels)

    def silent(self) -> str:
        """The shards whose answer is missing, in words."""
        missing = [channel.shard for channel in self.channels if channel.busy or not channel.joined]
        return f"shard{'s' if len(missing) > 1 else ''} {', '.join(map(str, missing))}"

    def outcome(self) -> Outcome:
        """How the exchange went that is over."""
        first = self.channels[0]
        return Outcome(
            stop=self.stop, verdicts=tuple(channel.verdict for channel in self.channels), samples=first.samples,
            workers=first.workers, notes=first.notes, empty=any(channel.empty for channel in self.channels),
            versions=self.versions,
            models=tuple(tuple(channel.reached.models) for channel in self.channels),
            rollbacks=tuple(channel.rollbacks for channel in self.channels),
        )  # fmt: skip

    @property
    def versions(self) -> tuple[int, ...]:
        """What the last pull brought of each shard."""
        return tuple(channel.version for channel in self.channels)

    @property
    def stop(self) -> str:
        """Why the job stops, as far as any shard has said."""
        return next((channel.stop for channel in self.channels if channel.stop), "")

    def bring(self, bring: Callable[[int], Callable[[], F32] | None]) -> None:
        """`bring(shard)` gives this worker's own (N,) weights to a shard that asks for them."""
        for channel in self.channels:
            channel.bring = bring(channel.shard)

    def advance(self, now: float) -> None:
        """Sends what has become ready since."""
        for channel in self.channels:
            channel.advance(now)

    def tick(self, now: float) -> None:
        """Sends again what has not been answered in time."""
        for channel in self.channels:
            channel.tick(now)
