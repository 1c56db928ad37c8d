"""The centre as a rerun worker sees it: its pushes are left in the mail, its answers are those that its log names.

The very same `Centre` and `Channel`s as in the run make messages and payloads and take in answers; only what arrives,
and in which order, comes from the log in place of sockets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, cast

from asgd.drivers.replay.loading import WorkerTape
from asgd.drivers.replay.mail import Answer, Mail, Push
from asgd.kernel import F32
from asgd.record.format import Bringing, Heard, Welcomed
from asgd.record.worker import WorkerRecorder
from asgd.spec.types import JobSpec
from asgd.wire.lanes.bulk import BulkLane
from asgd.wire.messages import AnyMessage, Exchange, Fault, Message, Pull, Reply, Welcome
from asgd.wire.partition import CHUNK, shard_range
from asgd.worker.sending.centre import Centre, Outcome, Source
from asgd.worker.sending.channel import Channel
from asgd.worker.sending.headers import Identity

Wait = Callable[[Callable[[], bool]], None]
"""Lets the others go on until the condition holds."""

Taken = tuple[int, int, int]
"""Term, chunk and stamp of an answer."""


class Gone(BaseException):
    """The worker's log ends here: it was killed, and what it would do next is in nobody's log."""


class _Tape:
    """A lane to one shard that leaves what it is given in the mail."""

    name = "tape"
    window = 1 << 30
    run = 1
    """Everything at once: what the run's worker sent before it died is not known to the chunk."""
    weights = None

    def __init__(self, shard: int, tape: WorkerTape, mail: Mail) -> None:
        self._mail, self._place = mail, (tape.person, shard)
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


class RerunCentre(Centre):
    """All shards of the recording, as the worker of `tape` met them."""

    def __init__(
        self, spec: JobSpec, identity: Identity, split: bool, tape: WorkerTape, mail: Mail, wait: Wait
    ) -> None:
        self._tape, self._mail, self._wait = tape, mail, wait
        self._recorder = WorkerRecorder()
        self.identity, self.sequence = identity, 0
        shards = spec.parameter_server.shards
        self._lanes = [_Tape(shard, tape, mail) for shard in range(shards)]
        self.channels = [
            Channel(lane, identity, spec.codec, shard, shard_range(identity.size, shard, shards), split)
            for shard, lane in enumerate(self._lanes)
        ]
        self.lanes, self.segment = cast("list[BulkLane]", self._lanes), None
        self._bring: Callable[[], F32] | None = None

    def join(self, bring: Callable[[], F32] | None = None) -> str:
        self._bring = bring
        welcomed = self._next()
        assert isinstance(welcomed, Welcomed)
        for channel in self.channels:
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
            part = self.channels[record.shard].part
            weights = self._bring()[part.start : part.stop].copy()
            self._mail.weights[self._tape.person, record.shard] = weights

    # -- an exchange -------------------------------------------------------------------------------

    def _until(self, done: Callable[[], bool], source: Source | None = None) -> None:
        """Feeds the channels the recorded answers, each as soon as its shard has come so far."""
        heard = self._next()
        assert isinstance(heard, Heard)
        left: list[deque[Taken]] = []
        for _, taken in heard.shards:
            left.append(deque(zip(taken[::3], taken[1::3], taken[2::3], strict=True)))
        while any(left):
            self._wait(
                lambda: any(answers and self._ready(shard, answers) for shard, answers in enumerate(left))
            )
            for shard, answers in enumerate(left):
                while answers and self._ready(shard, answers):
                    self._feed(shard, answers.popleft(), "" if answers else heard.shards[shard][0])
        for channel, (stop, taken) in zip(self.channels, heard.shards, strict=True):
            for term, stamp in zip(taken[::3], taken[2::3], strict=True):
                self._mail.answers.pop((self._tape.person, channel.shard, term, stamp), None)
            if channel.busy:
                channel.handle(Fault("stopped", stop), None, 0.0)
        assert done()

    def _ready(self, shard: int, answers: deque[Taken]) -> bool:
        """Whether the next answer is there, with weights where it was asked for them."""
        term, chunk, stamp = answers[0]
        self._rewind(shard, term, chunk)
        answer = self._mail.answers.get((self._tape.person, shard, term, stamp))
        return answer is not None and (answer.told or not self._wants(shard, chunk))

    def _wants(self, shard: int, chunk: int) -> bool:
        asked = self._lanes[shard].asked[chunk]
        return isinstance(asked, Pull) or asked.pull

    def _rewind(self, shard: int, term: int, chunk: int) -> None:
        """Where the worker began the exchange anew (a shard had come back, or was silent), it does so here."""
        channel = self.channels[shard]
        if channel.busy and (term > channel.term > 0 or chunk != channel.awaited):
            channel.joined = False
            part, shards = channel.part, len(self.channels)
            welcome = Welcome(
                term, shard, shards, channel.seen, part.start, part.stop, CHUNK, True, False, channel.samples
            )  # fmt: skip
            channel.handle(welcome, None, 0.0)

    def _feed(self, shard: int, taken: Taken, stop: str) -> None:
        term, chunk, stamp = taken
        asked = self._lanes[shard].asked[chunk]
        answer: Answer = self._mail.answers[self._tape.person, shard, term, stamp]
        body = answer.body if self._wants(shard, chunk) else None
        number, verdict = (
            (asked.sequence, answer.verdict) if isinstance(asked, Exchange) else (asked.request, "pulled")
        )
        reply = Reply(
            term, number, chunk, answer.version, verdict, answer.workers, answer.samples,
            answer.codec, stop, answer.notes, answer.base, answer.state, stamp=stamp,
        )  # fmt: skip
        self.channels[shard].handle(reply, body, 0.0)

    def leave(self, reason: str = "") -> None:
        return None


class Flying(Future[Outcome]):
    """An exchange that is under way while the worker computes (`exchange.ahead`).

    It is carried out when it is waited for: what it sends was copied when it began, and nobody looks before that.
    """

    def __init__(self, exchange: Callable[[], Outcome]) -> None:
        super().__init__()
        self._exchange: Callable[[], Outcome] | None = exchange

    def result(self, timeout: float | None = None) -> Outcome:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        return exchange()

    def drop(self) -> None:
        """Its worker is gone; what it has sent stays sent."""
        if self._exchange is not None:
            try:
                self.result()
            except Gone:
                return


class Ahead(Executor):
    """Takes the place of the exchange's thread."""

    def __init__(self) -> None:
        self.newest: Flying | None = None

    def submit(self, function: Any, /, *given: Any, **named: Any) -> Any:
        self.newest = Flying(cast(Callable[[], Outcome], lambda: function(*given, **named)))
        return self.newest
