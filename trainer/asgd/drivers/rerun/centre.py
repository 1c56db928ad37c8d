"""The centre as a rerun worker sees it: its pushes are left in the mail, its answers are those that its log names.

Messages and payloads are made by the very same `Channel`s as in the run (base versions, codecs with their residuals);
only who acknowledges them is different.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

from asgd.drivers.rerun.loading import WorkerTape
from asgd.drivers.rerun.mail import Answer, Mail, Push
from asgd.kernel import F32
from asgd.recording.format import Bringing, Heard, Welcomed, spread
from asgd.spec.types import JobSpec
from asgd.wire import codec
from asgd.wire.messages import AnyMessage, Exchange, Message, Reply
from asgd.wire.partition import chunk_slice, shard_range
from asgd.worker.centre import Centre, Outcome
from asgd.worker.channel import Channel, Identity, PushMeta

Wait = Callable[[Callable[[], bool]], None]
"""Lets the others go on until the condition holds."""


class Gone(BaseException):
    """The worker's log ends here: it was killed, and what it would do next is in nobody's log."""


class _Tape:
    """A lane that keeps what a channel sends."""

    name, socket = "tape", None

    def __init__(self) -> None:
        self.sent: list[tuple[Exchange, Any]] = []

    def send(self, message: Message, payload: Any = None) -> None:
        assert isinstance(message, Exchange)
        body = None if payload is None else memoryview(payload).cast("B")
        self.sent.append((message, body))

    def receive(self) -> tuple[AnyMessage, Any] | None:
        return None

    def close(self) -> None:
        return None


class RerunCentre(Centre):
    """All shards of the recording, as the worker of `tape` met them."""

    def __init__(self, spec: JobSpec, identity: Identity, tape: WorkerTape, mail: Mail, wait: Wait) -> None:
        self._spec, self._tape, self._mail, self._wait = spec, tape, mail, wait
        self.identity, self.sequence = identity, 0
        self._lanes = [_Tape() for _ in range(spec.parameter_server.shards)]
        self.channels = [self._channel(shard, lane) for shard, lane in enumerate(self._lanes)]
        self._bring: Callable[[], F32] | None = None

    def _channel(self, shard: int, lane: _Tape) -> Channel:
        part = shard_range(self.identity.size, shard, len(self._lanes))
        channel = Channel(lane, self.identity, self._spec.codec, shard, part, False)
        channel.joined = True
        return channel

    def join(self, bring: Callable[[], F32] | None = None) -> str:
        self._bring = bring
        welcomed = self._next()
        assert isinstance(welcomed, Welcomed)
        for channel in self.channels:
            channel.stop = welcomed.stop
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
            part = self.channels[record.shard].part
            weights = self._bring()[part.start : part.stop].copy()
            self._mail.weights[self._tape.person, record.shard] = weights

    # -- an exchange -------------------------------------------------------------------------------

    def exchange(self, push: F32 | None, pull: F32 | None, meta: PushMeta) -> Outcome:
        self.begin(push, pull, meta)
        return self.end()

    def begin(self, push: F32 | None, pull: F32 | None, meta: PushMeta) -> None:
        """Sends, as far as anybody will know of it."""
        self._pull = pull
        if push is not None:
            for channel, lane in zip(self.channels, self._lanes, strict=True):
                part = channel.part
                chunks = list(_pieces(channel, lane, push[part.start : part.stop], meta))
                self._mail.pushes[self._tape.person, channel.shard] = Push(meta.sequence, chunks)
        self._heard = self._next()

    def end(self) -> Outcome:
        """Waits for the recorded answers and takes them."""
        heard = self._heard
        assert isinstance(heard, Heard)
        self._wait(lambda: all(self._there(channel) for channel in self.channels))
        for channel in self.channels:
            self._take(channel)
            channel.stop = heard.stop
        first = self.channels[0]
        return Outcome(heard.stop, (), first.samples, first.workers, first.notes)

    def _keys(self, channel: Channel) -> Iterator[tuple[tuple[int, int], int, int, int]]:
        """Where the answers of a shard are, by chunk; none when it said no more than that the job is over."""
        assert isinstance(self._heard, Heard)
        term, *stamps = spread(self._heard.stamps[channel.shard])
        if len(stamps) == channel.chunks:
            for stamp in stamps:
                yield self._tape.person, channel.shard, term, stamp

    def _there(self, channel: Channel) -> bool:
        # NB: who hears that the job is over takes no weights any more.
        weights = self._pull is not None and not self._heard.stop
        answers = [self._mail.answers.get(key) for key in self._keys(channel)]
        return all(answer is not None and (answer.body is not None or not weights) for answer in answers)

    def _take(self, channel: Channel) -> None:
        answers: list[Answer] = [self._mail.answers.pop(key) for key in self._keys(channel)]
        if not answers:
            return
        last = answers[-1]
        channel.samples, channel.workers, channel.notes = last.samples, last.workers, last.notes
        if self._pull is None or self._heard.stop:
            return
        channel.version = answers[0].version
        mine = self._pull[channel.part.start : channel.part.stop]
        for chunk, answer in enumerate(answers):
            target = mine[chunk_slice(mine.size, chunk)]
            target[:] = codec.decode(answer.codec, answer.body, target.size, self._spec.codec, target)

    def leave(self, reason: str = "") -> None:
        return None


def _pieces(channel: Channel, lane: _Tape, push: F32, meta: PushMeta) -> Iterator[tuple[Exchange, Any]]:
    """The messages of a push, by chunk: the channel goes on as each is acknowledged."""
    lane.sent = []
    channel.start(push, meta, None, 0.0)
    for chunk in range(channel.chunks):
        # NB: shards of one process must not share what a strategy may write to.
        message, payload = lane.sent[chunk]
        message.meta = dict(message.meta)
        yield message, payload
        channel.handle(Reply(channel.term, meta.sequence, chunk, 0, "applied"), None, 0.0)


class Flying(Future[Outcome]):
    """An exchange under way while the worker computes (`exchange.ahead`)."""

    def __init__(self, centre: RerunCentre) -> None:
        super().__init__()
        self._centre = centre

    def result(self, timeout: float | None = None) -> Outcome:
        return self._centre.end()


class Ahead(Executor):
    """Takes the place of the exchange's thread: an exchange begins at once and ends when it is waited for."""

    def __init__(self, centre: RerunCentre) -> None:
        self._centre = centre

    def submit(self, _: Any, /, *given: Any, **named: Any) -> Any:
        self._centre.begin(*given)
        return Flying(self._centre)
