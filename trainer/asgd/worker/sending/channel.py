"""One worker's conversation with one shard: join, push, pull, retry; a state machine without a loop of its own.

`Shards` has one channel for each shard; whoever owns the lanes feeds them what arrives. A push is a run of chunks, a
few in flight; each is acknowledged alone. Whatever happens to the shard, the answer is the same: say hello again and
start the same push over; the shard knows which chunks it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from asgd.errors import ProtocolError, VersionMismatch
from asgd.kernel import F32
from asgd.spec.types import Codec
from asgd.wire import codec as wire_codec
from asgd.wire.delta import Mirror
from asgd.wire.lanes import Lane
from asgd.wire.messages import AnyMessage, Done, Exchange, Fault, Hello, Init, Pull, Reply, Welcome
from asgd.wire.partition import CHUNK, Cuts, Range, chunk_slice
from asgd.worker.sending.faults import error_of
from asgd.worker.sending.headers import PeerIdentity, PushHeader
from asgd.worker.sending.outgoing import Outgoing
from asgd.worker.sending.reached import Reached

RETRY_SECONDS = 1.0
"""Silence after which a request is sent again."""

HELLO_SECONDS = 0.05
"""Pause between two hellos to a shard that has no weights yet."""


def at_once(chunk: int) -> bool:
    """Every chunk may leave."""
    return True


class Channel:
    """The conversation with shard number `shard`, which holds elements `part` of the flat vector."""

    def __init__(
        self, lane: Lane, identity: PeerIdentity, codec: Codec, shard: int, part: Range, split: bool,
        joins_chunks: bool = False,
    ) -> None:  # fmt: skip
        self.lane, self.identity, self.codec, self.shard, self.part = lane, identity, codec, shard, part
        self.split = split
        """Push first, pull in a message of its own: the strategy may hold pulls back."""
        self._cuts = Cuts(part, identity.edges)
        self.chunks = self._cuts.count(0, 1)
        self._packed = codec.push != "fp32" or codec.pull != "fp32"
        self._joins_chunks = joins_chunks and not self._packed
        """One message may be about several chunks, where the lane can do that."""
        self.outgoing = Outgoing(codec, self._cuts)
        differences = codec.pull in wire_codec.LOSSY and identity.role == "worker"
        self._mirror = Mirror(codec, part.size) if differences else None
        self.term = 0
        self.reached = Reached()
        self.version = 0
        """Version of the shard that the last pull brought: the base of the next push."""
        self.acknowledged = 0
        self.samples = 0
        self.rollbacks = 0
        """How often the job had gone back when the newest answer was given."""
        self.workers = 1
        self.stop = ""
        self.verdict = ""
        self.notes: dict[str, float] = {}
        self.empty = False
        """The last pull brought nothing, at least of some chunk: the strategy has nothing new for this worker."""
        self.joined = False
        self.joins = 0
        """How often the shard has welcomed this worker."""
        self.membership = (0, 0)
        """The newest that shard 0 named: its term, and the number within it."""
        self.busy = False
        self.retries = 0
        self.bring: Callable[[], F32] | None = None
        self.taken: list[int] = []
        """Term, chunk and stamp of each answer that the newest exchange took, one after the other."""
        self._first_version, self._first_models, self._nothing = 0, list[int](), False
        self._count = self.chunks
        """Chunks of the exchange under way."""
        self._ready: Callable[[int], bool] = at_once
        self._deadline = 0.0
        self.requests = 0  # exchanges that were begun: the number of the newest one's pull
        self._scratch = np.empty(min(CHUNK, max(1, part.size)), np.float32)
        self._pull: F32 | None = None
        self._placed: memoryview | None = None
        self._undone = False
        """The job has gone back since the exchange under way began."""

    # -- what the owner asks for -------------------------------------------------------------------

    def start(
        self, push: F32 | None, meta: PushHeader, pull: F32 | None, now: float,
        ready: Callable[[int], bool] = at_once,
    ) -> None:  # fmt: skip
        """Begins an exchange; `push` and `pull` are this shard's slices, either may be None.

        A chunk of the push leaves when it is `ready`; who says so calls `advance` when one may have become it.
        """
        self._meta, self._pull = meta, pull
        self.pushing = push is not None or meta.bare
        self._count = self.chunks
        self._base = meta.bases[self.shard] if meta.bases else self.version
        if meta.parts > 1:
            self._count = self._cuts.count(meta.part, meta.parts)
            self._base = meta.bases[self.shard] if meta.bases else self.reached.base(meta.part)
        self._nothing = bool(self._cuts.edges) and not self._cuts.part(meta.part, meta.parts).size
        self._next, self._done = 0, 0
        self._ready = ready
        self.outgoing.start(push, meta.part, meta.parts, self._count)
        self.requests += 1
        self.taken = []
        self.verdict = ""
        self.busy = True
        self._begin(now)

    def hello(self, now: float) -> None:
        """Says hello; what was under way starts over when the shard has welcomed us."""
        self.joined = False
        self._deadline = now + RETRY_SECONDS
        self.lane.send(self.greeting())

    def greeting(self) -> Hello:
        """The hello of this moment: who speaks and what it has seen of this shard."""
        who, seen = self.identity, self.reached
        return Hello(
            job=who.job, role=who.role, index=who.index, incarnation=who.incarnation, size=who.size,
            layout=who.layout, dataset=who.dataset, seen=seen.version, term=self.term, sequence=self.acknowledged,
            node=who.node, guarantee=who.guarantee, tensors=who.tensors,
            samples=seen.samples, past=seen.past, evaluates=who.evaluates, own_loop=who.own_loop,
            digest=b"" if self.shard else who.digest, rule=who.rule,
        )  # fmt: skip

    def heed(self, term: int) -> None:
        """The shard's server of term `term` has let this worker in by another way: an older one is not heard any more.

        NB: that one may live on without knowing; what it accepted would be lost, and its samples never visited.
        """
        if self.reached.enter(term):
            self.term, self.joined, self._deadline = term, False, 0.0

    def member_of(self, term: int, membership: int) -> None:
        """Shard 0 named a membership; it may be an older one, in a message that was overtaken."""
        self.membership = max(self.membership, (term, membership))

    @property
    def awaited(self) -> int:
        """The chunk whose answer comes next."""
        return self._done

    def tick(self, now: float) -> None:
        """Sends again what has not been answered in time."""
        if self.lane.returned():
            # NB: what was under way went to a process that is dead, and the new one must hear of it now. So it must of
            # what is through: a round may hold this worker's push on other shards, and wait for it here.
            self.hello(now)
            return
        if (self.joined and not self.busy) or now < self._deadline:
            return
        if self.joined and (self._starved or self.lane.waits(now)):
            self._deadline = now + RETRY_SECONDS
            return
        self.retries += 1
        if self.joined:
            self._begin(now)
        else:
            self.hello(now)

    # -- what arrives ------------------------------------------------------------------------------

    def handle(self, message: AnyMessage, payload: Any, now: float) -> None:
        """Takes in one message. Raises what `faults.error_of` says on faults that this process can't mend."""
        match message:
            case Reply():
                self._reply(message, payload, now)
            case Welcome():
                self._welcome(message, now)
            case Done():
                self._initialised(now)
            case Fault():
                self._fault(message, now)
            case _:
                raise ProtocolError(f"a shard never sends {type(message).__name__}")

    def _welcome(self, message: Welcome, now: float) -> None:
        if self.joined or message.term < self.term:
            return
        if message.chunk != CHUNK or (message.start, message.stop) != (self.part.start, self.part.stop):
            raise VersionMismatch(
                f"shard {self.shard} cuts the model differently: another version of this program?"
            )
        self.reached.enter(message.term)
        self.term, self.samples = message.term, message.samples
        self.member_of(message.term, message.membership)
        if message.ready:
            self.joined = True
            self.joins += 1
            self.reached.see(message.version, message.samples)
            if self.busy:
                self._begin(now)
        elif message.bring and self.bring:
            self._bringing, self._weights = 0, self.bring()[self.part.start : self.part.stop]
            self._send_init(now)
        else:
            self._deadline = now + HELLO_SECONDS

    def _send_init(self, now: float) -> None:
        span = chunk_slice(self.part.size, self._bringing)
        self._deadline = now + RETRY_SECONDS
        self.lane.send(
            Init(self.identity.index, self.identity.incarnation, self._bringing), self._weights[span]
        )

    def _initialised(self, now: float) -> None:
        if self.joined:
            return
        self._bringing += 1
        if self._bringing < self.chunks:
            self._send_init(now)
        else:
            self.hello(now)

    def _fault(self, fault: Fault, now: float) -> None:
        if fault.code == "hello":
            if self.joined:
                self.hello(now)
        elif fault.code == "order":
            if self.busy:
                self._begin(now)
        elif fault.code == "stopped":
            self.stop, self.busy, self.joined = fault.text, False, True
        elif fault.code == "fenced":
            # NB: an older server than one that was heard of; it finds out by itself, and the newer one will answer.
            return
        else:
            raise error_of(fault, self.shard)

    # -- an exchange, chunk by chunk ---------------------------------------------------------------

    def _begin(self, now: float) -> None:
        self._next, self._done, self.empty = 0, 0, False
        if self.joined:
            self._fill(now)
        elif now >= self._deadline:
            self.hello(now)

    def _fill(self, now: float) -> None:
        while self._next < self._messages and self._next - self._done < self._window:
            if self.pushing and not self._ready(self._next):
                break
            run = self._run() if self._joins_chunks else 1
            self._send_chunk(self._next, run)
            self._next += run
        self._deadline = now + RETRY_SECONDS

    @property
    def _window(self) -> int:
        """Chunks under way; few of those that travel, on a lane by which most do not."""
        travels = self._packed or not self.pushing or self._meta.parts > 1
        return self.lane.window if travels else self.lane.announced

    def _run(self) -> int:
        """How many chunks the next message is about: those that may leave now, where the lane takes more than one."""
        meta, first, run = self._meta, self._next, 1
        if not self.pushing or meta.bare or not meta.finite or meta.parts > 1:
            return 1
        if meta.by_chunk and not self.outgoing.is_sound(first):
            return 1
        most = min(self.lane.run, self._count - first, self._window - (first - self._done))
        while run < most and self._ready(first + run):
            if meta.by_chunk and not self.outgoing.is_sound(first + run):
                break
            run += 1
        return run

    def advance(self, now: float) -> None:
        """Sends what has become ready since."""
        under_way = self.busy and self.joined and self.pushing and self._next < self._messages
        if under_way and self._ready(self._next):
            self._fill(now)

    @property
    def _starved(self) -> bool:
        """All that was sent is answered, and the next chunk is still computed."""
        return self.busy and self.pushing and self._next == self._done and not self._ready(self._next)

    @property
    def _messages(self) -> int:
        return 1 if self._bare else self._count

    @property
    def _bare(self) -> bool:
        return self.pushing and self._meta.bare

    @property
    def _asks(self) -> bool:
        """What is sent now asks for weights."""
        return self._pull is not None and not (self.pushing and (self.split or self._bare))

    def _send_chunk(self, chunk: int, run: int) -> None:
        who, meta, codec = self.identity, self._meta, self.codec
        held = self._mirror.state(chunk) if self._mirror else 0
        if not self.pushing:
            pull = Pull(
                role=who.role, index=who.index, incarnation=who.incarnation, chunk=chunk, request=self.requests,
                answer=codec.pull, held=held, of=meta.of, part=meta.part, parts=meta.parts,
            )  # fmt: skip
            self.lane.send(pull)
            return
        visits = list(meta.visits) if chunk == 0 and self.shard == 0 else []
        finite = meta.finite and (not meta.by_chunk or self.outgoing.is_sound(chunk))
        push = Exchange(
            index=who.index, incarnation=who.incarnation, sequence=meta.sequence, chunk=chunk, base=self._base,
            samples=meta.samples, steps=meta.steps, pull=self._asks, finite=finite, codec=codec.push,
            answer=codec.pull, loss=meta.loss, visits=visits, meta=meta.meta, held=held, bare=meta.bare,
            part=meta.part, parts=meta.parts, run=run, rollbacks=meta.rollbacks, settings=meta.settings,
            scalars=meta.scalars if chunk == 0 and self.shard == 0 else {},
        )  # fmt: skip
        bare = meta.bare or self._nothing
        self.lane.send(push, self.outgoing.frame(chunk, run) if finite and not bare else None)

    def place(self, message: AnyMessage, size: int) -> memoryview | None:
        """Where a lane may receive a reply's payload of `size` bytes: the chunk itself, when it is wanted as it is."""
        self._placed = None
        if isinstance(message, Reply) and self._pull is not None and self._awaits(message):
            target = self._pull[self._span(message.chunk, message.run)]
            if message.codec == "fp32" and target.nbytes == size:
                self._placed = target.data.cast("B")
        return self._placed

    def _awaits(self, message: Reply) -> bool:
        """Whether this is the reply that comes next."""
        if message.term < self.term or not self.joined or not self.busy:
            return False
        expected = self._meta.sequence if self.pushing else self.requests
        # NB: pushes and pulls are numbered apart; a late answer to one may bear the other's number.
        next_one = message.sequence == expected and message.chunk == self._done
        return next_one and (message.verdict == "pulled") != self.pushing

    def _span(self, chunk: int, run: int = 1) -> slice:
        return self._cuts.chunk(chunk, self._meta.part, self._meta.parts, run)

    def _reply(self, message: Reply, payload: Any, now: float) -> None:
        if message.term > self.term > 0 and self.joined:
            # NB: a hello that was still on its way has made this worker a member of a start which knows of nothing
            # that it has seen: what is lost must be told, and rounds must not wait for a push that is gone.
            self.hello(now)
            return
        if not self._awaits(message):
            return
        if self._pull is not None and payload is not None and not self._take(message, payload, self._pull):
            return
        self.samples, self.workers = message.samples, message.workers
        self._undone |= message.rollbacks != self.rollbacks
        self.rollbacks = message.rollbacks
        self.stop = message.stop or self.stop
        self.notes = message.notes
        self.reached.see(message.version, message.samples)
        if message.chunk == 0:
            self._first_version, self._first_models = message.version, message.models
        self.taken += (message.term, message.chunk, message.stamp)
        if self.pushing and (message.chunk == 0 or message.verdict.startswith("refused")):
            self.verdict = message.verdict
        if self._asks and payload is None and not self._nothing:
            self.empty = True
        self._done += message.run
        if self._done < self._messages:
            self._fill(now)
        else:
            self._complete(now)

    def _take(self, message: Reply, payload: Any, pull: F32) -> bool:
        """Brings a chunk of weights to where it belongs; False if it builds on what this worker does not hold."""
        target = pull[self._span(message.chunk, message.run)]
        if self._mirror and self._meta.parts == 1:
            return self._mirror.take(message, payload, target)
        if payload is not self._placed:
            target[:] = wire_codec.decode(message.codec, payload, target.size, self.codec, self._scratch)
        return True

    def _complete(self, now: float) -> None:
        if self.pushing:
            self.acknowledged = self._meta.sequence
            self.outgoing.through()
            split = self.split or self._bare
            self.pushing = False
            if split and self._pull is not None and not self.stop:
                self._begin(now)
                return
        if self._pull is not None and self._meta.of == -1:
            self.version = self._first_version
            self.reached.pull(self.version, self._meta.part, self._meta.parts, self._first_models)
        if self._undone:
            self._undone = False
            self.outgoing.forget()
        self.busy = False
