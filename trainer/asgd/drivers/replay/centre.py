"""The shards as a replayed worker sees them: it is given the answers that its log names, in their order.

The very same `Channel`s as in the run make messages and payloads and take in answers; only which arrive, and in which
order, comes from the log in place of sockets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from asgd.drivers.replay.lane import Mail, Taken, TapeLane
from asgd.errors import UserError
from asgd.kernel import F32
from asgd.record.format import Bringing, Heard, Welcomed
from asgd.record.reading import WorkerTape, answers_of
from asgd.spec.types import JobSpec
from asgd.wire.messages import Fault, Reply, Welcome
from asgd.wire.partition import CHUNK, shard_range
from asgd.worker.sending.headers import Outcome, PeerIdentity, PushHeader
from asgd.worker.sending.shards import Shards
from asgd.worker.wishes import LATER, Later


class Gone(Exception):
    """The worker's log ends here: it was killed, and what it would do next is in nobody's log."""


class TapeCentre:
    """All shards of the recording, as the worker of `tape` met them. `split`: the strategy may hold pulls back."""

    def __init__(
        self, spec: JobSpec, identity: PeerIdentity, split: bool, tape: WorkerTape, mail: Mail
    ) -> None:
        self._tape = tape
        count = spec.parameter_server.shards
        self.lanes = [TapeLane(shard_range(identity.size, shard, count).size) for shard in range(count)]
        mail.lanes |= {(tape.person, shard): lane for shard, lane in enumerate(self.lanes)}
        self.shards = Shards.over(self.lanes, identity, spec.codec, split=split)
        self._bring: Callable[[], F32] | None = None
        self._heard: Heard | None = None
        """How the exchange under way ended."""
        self._left: list[deque[Taken]] = []
        """By shard, the answers that were taken and are not fed yet."""

    def join(self, bring: Callable[[], F32]) -> str:
        """As in the run; returns why the job was over. Raises Gone where the log ends."""
        self._bring = bring
        welcomed = self._next()
        assert isinstance(welcomed, Welcomed)
        for channel in self.shards.channels:
            channel.joined, channel.stop = True, welcomed.stop
        return welcomed.stop

    def _next(self) -> Welcomed | Heard:
        """How what is under way ended; before that the weights are brought that a shard asked for meanwhile."""
        while True:
            if not self._tape.exchanges:
                raise Gone
            record = self._tape.exchanges.popleft()
            if not isinstance(record, Bringing):
                return record
            assert self._bring is not None
            part = self.shards.channels[record.shard].part
            self.lanes[record.shard].weights = self._bring()[part.start : part.stop].copy()

    def leave(self, reason: str = "") -> None:
        """Nobody has to hear it."""

    # -- an exchange -------------------------------------------------------------------------------

    def exchange(self, push: F32 | None, pull: F32 | None, meta: PushHeader, source: Any = None) -> Later:
        """Begins an exchange: what is pushed lies in the lanes. How it went is `outcome`."""
        for lane in self.lanes:
            lane.sent, lane.busy = {}, True
        self.shards.start(push, pull, meta, 0.0)
        return LATER

    def outcome(self) -> Outcome | Later:
        """How it went; LATER while a shard has not come so far. Raises Gone where the log ends before."""
        if self._heard is None:
            heard = self._next()
            assert isinstance(heard, Heard)
            self._heard, self._left = heard, [deque(answers_of(taken)) for _, taken in heard.shards]
        for shard, (stop, _) in enumerate(self._heard.shards):
            self._feed(shard, stop)
        if any(self._left):
            return LATER
        self._close(self._heard)
        self._heard = None
        return self.shards.outcome()

    def _feed(self, shard: int, stop: str) -> None:
        """Gives the worker the recorded answers that are there; the last one says why the job is over."""
        left = self._left[shard]
        while left and (came := self._came(shard, left[0])):
            (reply, body), _ = came.popleft(), left.popleft()
            reply.stop = "" if left else stop
            self.shards.channels[shard].handle(reply, body, 0.0)

    def _close(self, heard: Heard) -> None:
        for channel, lane, (stop, _) in zip(self.shards.channels, self.lanes, heard.shards, strict=True):
            lane.busy = False
            if channel.busy and not stop:
                raise UserError(
                    f"the recording contradicts itself: worker {self._tape.person[0]} had what it waits for"
                )
            if channel.busy:
                channel.handle(Fault("stopped", stop), None, 0.0)

    @property
    def waits(self) -> bool:
        """No answer that comes next is there."""
        return any(self._left) and not any(
            answers and self._came(shard, answers[0]) for shard, answers in enumerate(self._left)
        )

    def _came(self, shard: int, taken: Taken) -> deque[tuple[Reply, Any]]:
        """The answers that are there under a name; an exchange and the pull that follows may have one name."""
        self._rewind(shard, taken)
        return self.lanes[shard].answers[taken]

    def _rewind(self, shard: int, taken: Taken) -> None:
        """Where the worker began the exchange anew (a shard had come back, or was silent), it does so here."""
        channel, part, (term, chunk, _) = self.shards.channels[shard], self.shards.channels[shard].part, taken
        if channel.busy and (term > channel.term > 0 or chunk != channel.awaited):
            channel.joined = False
            welcome = Welcome(
                term=term, shard=shard, shards=len(self.lanes), version=channel.reached.version, start=part.start,
                stop=part.stop, chunk=CHUNK, ready=True, bring=False, samples=channel.samples,
            )  # fmt: skip
            channel.handle(welcome, None, 0.0)
