"""The shards as a rerun worker sees them: its pushes are left in the mail, its answers are those that its log names.

The very same `Channel`s as in the run make messages and payloads and take in answers; only what arrives, and in which
order, comes from the log in place of sockets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from asgd.drivers.replay.mail import Answer, Mail, Push
from asgd.kernel import F32
from asgd.record.format import Bringing, Heard, Welcomed
from asgd.record.reading import Person, WorkerTape
from asgd.spec.types import JobSpec
from asgd.wire.messages import AnyMessage, Exchange, Fault, Message, Pull, Reply, Welcome
from asgd.wire.partition import CHUNK, chunk_count, shard_range
from asgd.worker.sending.channel import Channel
from asgd.worker.sending.headers import Outcome, PeerIdentity, PushHeader
from asgd.worker.sending.shards import Shards

Taken = tuple[int, int, int]
"""Term, chunk and stamp of an answer."""


class Gone(Exception):
    """The worker's log ends here: it was killed, and what it would do next is in nobody's log."""


class TapeLane:
    """A lane to one shard that leaves what it is given in the mail.

    All `chunks` go at once: what the run's worker sent before it died is not known to the chunk.
    """

    name = "tape"
    run = 1

    def __init__(self, place: tuple[Person, int], mail: Mail, chunks: int) -> None:
        self._mail, self._place = mail, place
        self.window = self.announced = chunks
        self.asked: dict[int, Exchange | Pull] = {}
        """By chunk, what the worker asked last."""

    def send(self, message: Message, payload: Any = None) -> None:
        if not isinstance(message, Exchange | Pull):
            return
        self.asked[message.chunk] = message
        if isinstance(message, Pull):
            return
        push = self._mail.pushes.get(self._place)
        if push is None or push.sequence != message.sequence:
            push = self._mail.pushes[self._place] = Push(message.sequence, {})
        # NB: shards of one process must not share what a strategy may write to.
        message.meta = dict(message.meta)
        push.chunks[message.chunk] = message, None if payload is None else memoryview(payload).cast("B")

    def polls(self) -> list[tuple[Any, int]]:
        return []

    def returned(self) -> bool:
        return False

    def waits(self, now: float) -> bool:
        return True

    def receive(self) -> tuple[AnyMessage, Any] | None:
        return None

    def close(self) -> None:
        return None


class TapeCentre:
    """All shards of the recording, as the worker of `tape` met them. `split`: the strategy may hold pulls back."""

    def __init__(
        self, spec: JobSpec, identity: PeerIdentity, split: bool, tape: WorkerTape, mail: Mail
    ) -> None:
        self._tape, self._mail = tape, mail
        size, count = identity.size, spec.parameter_server.shards
        self.lanes: list[TapeLane] = []
        channels: list[Channel] = []
        for shard in range(count):
            part = shard_range(size, shard, count)
            lane = TapeLane((tape.person, shard), mail, chunk_count(part.size))
            self.lanes.append(lane)
            channels.append(
                Channel(lane=lane, identity=identity, codec=spec.codec, shard=shard, part=part, split=split)
            )
        self.shards = Shards(channels)
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
            weights = self._bring()[part.start : part.stop].copy()
            self._mail.weights[self._tape.person, record.shard] = weights

    # -- an exchange -------------------------------------------------------------------------------

    def start(self, push: F32 | None, pull: F32 | None, meta: PushHeader) -> None:
        """Begins an exchange: what is pushed is in the mail."""
        self.shards.start(push, pull, meta, 0.0)

    def outcome(self) -> Outcome | None:
        """How the exchange went; None while a shard has not come so far. Raises Gone where the log ends before."""
        if self._heard is None:
            heard = self._next()
            assert isinstance(heard, Heard)
            self._heard, self._left = heard, [_taken(taken) for _, taken in heard.shards]
        if not self._feed_all(self._heard):
            return None
        self._close(self._heard)
        self._heard = None
        return self.shards.outcome()

    def _feed_all(self, heard: Heard) -> bool:
        """Feeds the recorded answers that are there; whether those were all."""
        for shard, answers in enumerate(self._left):
            while answers and self._ready(shard, answers[0]):
                taken = answers.popleft()
                self._feed(shard, taken, "" if answers else heard.shards[shard][0])
        return not any(self._left)

    def _close(self, heard: Heard) -> None:
        for channel, (stop, taken) in zip(self.shards.channels, heard.shards, strict=True):
            for term, _, stamp in _taken(taken):
                self._mail.answers.pop((self._tape.person, channel.shard, term, stamp), None)
            if channel.busy:
                channel.handle(Fault("stopped", stop), None, 0.0)

    @property
    def waits(self) -> bool:
        """No answer that comes next is there."""
        return any(self._left) and not any(
            answers and self._ready(shard, answers[0]) for shard, answers in enumerate(self._left)
        )

    def _ready(self, shard: int, taken: Taken) -> bool:
        """Whether an answer is there, with weights where it was asked for them."""
        term, chunk, stamp = taken
        self._rewind(shard, term, chunk)
        answer = self._mail.answers.get((self._tape.person, shard, term, stamp))
        return answer is not None and (answer.told or not self._wants(shard, chunk))

    def _wants(self, shard: int, chunk: int) -> bool:
        asked = self.lanes[shard].asked[chunk]
        return isinstance(asked, Pull) or asked.pull

    def _rewind(self, shard: int, term: int, chunk: int) -> None:
        """Where the worker began the exchange anew (a shard had come back, or was silent), it does so here."""
        channel, part = self.shards.channels[shard], self.shards.channels[shard].part
        if channel.busy and (term > channel.term > 0 or chunk != channel.awaited):
            channel.joined = False
            welcome = Welcome(
                term=term, shard=shard, shards=len(self.lanes), version=channel.reached.version, start=part.start,
                stop=part.stop, chunk=CHUNK, ready=True, bring=False, samples=channel.samples,
            )  # fmt: skip
            channel.handle(welcome, None, 0.0)

    def _feed(self, shard: int, taken: Taken, stop: str) -> None:
        term, chunk, stamp = taken
        asked = self.lanes[shard].asked[chunk]
        answer: Answer = self._mail.answers[self._tape.person, shard, term, stamp]
        body = answer.body if self._wants(shard, chunk) else None
        number, verdict = (
            (asked.sequence, answer.verdict) if isinstance(asked, Exchange) else (asked.request, "pulled")
        )
        reply = Reply(
            term=term, sequence=number, chunk=chunk, version=answer.version, verdict=verdict, workers=answer.workers,
            samples=answer.samples, codec=answer.codec, stop=stop, notes=answer.notes, base=answer.base,
            state=answer.state, stamp=stamp,
        )  # fmt: skip
        self.shards.channels[shard].handle(reply, body, 0.0)


def _taken(numbers: list[int]) -> deque[Taken]:
    return deque(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
