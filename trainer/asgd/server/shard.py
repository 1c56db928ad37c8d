"""One shard of the centre: a pure state machine from messages to new state and replies.

Weights are cut into chunks; a push is a run of chunk messages, each applied on arrival and answered at once, so pushes
of several workers interleave chunk by chunk and nobody waits for a slow link. Every push is applied exactly once: the
shard remembers each worker's last sequence number and how many of its chunks are in, and that table is saved with the
weights. What it holds is `parameters.py`'s; who decides what a server does with it is `core.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from asgd.algorithms.base import Push
from asgd.errors import ProtocolError
from asgd.kernel import F32
from asgd.server.parameters import Parameters, Seen
from asgd.wire import codec
from asgd.wire.agreement import layout_difference
from asgd.wire.messages import OF_AVERAGE, Exchange, Fault, Hello, Init, Pull, Reply, Welcome
from asgd.wire.partition import CHUNK, chunk_slice

Piece = tuple[slice, Any]
"""A chunk: its elements within the shard, and its frame."""


class Parked(Exception):
    """The request can't be answered yet; the service keeps it and asks again when something has changed."""


def asker(message: Pull) -> int:
    """The worker that pulls; -1 for whoever asks for the job's answer."""
    return message.index if message.role == "worker" else -1


def named(message: Hello) -> str:
    """Who says hello, for people."""
    return f"worker {message.index}" if message.role == "worker" else "the evaluator"


class Shard(Parameters):
    """Messages in, new state and replies out; see `Parameters` for what it keeps."""

    # -- joining -----------------------------------------------------------------------------------

    def hello(self, message: Hello) -> Welcome | Fault:
        """Admits a worker or evaluator; the first worker is asked to bring the initial weights."""
        first = self.size is None
        if self.size is None:
            self.allocate(message.size, message.layout, message.tensors)
        elif unlike := self.unlike(message):
            return unlike
        worker = message.role == "worker"
        if unfit := self.describe(message.tensors):
            return Fault("layout", unfit, self.term)
        if worker:
            if self.members.get(message.index, 0) > message.incarnation:
                return Fault("session", f"a newer worker {message.index} has joined", self.term)
            self._join(message)
        bring = worker and not self.ready and self._bringer in (None, (message.index, message.incarnation))
        if bring:
            self._bringer, self._brought = (message.index, message.incarnation), 0
        if worker or first:
            self.recorder.joined(message)
        part = self.cuts.whole
        return Welcome(
            self.term, self.index, self.shards, self.state.version, part.start, part.stop, CHUNK, self.ready, bring,
            self.state.samples,
        )  # fmt: skip

    def unlike(self, message: Hello) -> Fault | None:
        """Why a model is not the job's: which parameter differs, and how."""
        if self.size is None or message.layout == self.layout:
            return None
        how = f"the job's layout is {self.layout}, this one {message.layout}"
        if self.tensors and message.tensors:
            how = layout_difference(self.tensors, message.tensors) or how
        return Fault("layout", f"{named(message)} has another model: {how}", self.term)

    def _join(self, message: Hello) -> None:
        self.members[message.index] = message.incarnation
        self._forget(message.index)
        clocks = self.state.clocks
        clocks.setdefault(message.index, min(clocks.values(), default=0))
        self.state.workers = max(1, len(self.members))
        self.state.nodes[message.index] = message.node
        if message.dataset is not None:
            # NB: schedules in epochs need it with the first push, before shard 0 could tell.
            self.state.dataset = message.dataset
        known = self.seen.get(message.index)
        if known is None or known.incarnation != message.incarnation:
            self.seen[message.index] = Seen(message.incarnation, message.sequence, self.chunks)
            self._drop_unsettled(message.index)
            self.strategy.left(self.state, message.index)
        elif known.sequence < message.sequence:
            # What an earlier start acknowledged does not come again, and no round may wait for it.
            self.seen[message.index] = Seen(message.incarnation, message.sequence, self.chunks)
        self.told(message)

    def told(self, message: Hello) -> None:
        """What a worker has seen of earlier starts counts, also when it comes too late to join."""
        for term, seen, samples in [*message.past, (message.term, message.seen, message.samples)]:
            self.losses.told(term, seen, samples)

    def leave(self, index: int, incarnation: int | None = None) -> None:
        """A worker is gone (or an older incarnation of it: then nothing happens)."""
        if incarnation is not None and self.members.get(index) != incarnation:
            return
        self.recorder.left(index)
        self.members.pop(index, None)
        self.state.clocks.pop(index, None)
        self.state.nodes.pop(index, None)
        self.state.kept.pop(index, None)
        self._forget(index)
        self._drop_unfinished(index)
        self.strategy.left(self.state, index)
        self.state.workers = max(1, len(self.members))
        if self._bringer and self._bringer[0] == index and not self.ready:
            self._bringer = None

    def rest(self, index: int) -> None:
        """A worker has no data for now: nobody waits for its clock, which starts again with its next push."""
        if index in self.state.clocks:
            self.recorder.rested(index)
            del self.state.clocks[index]

    def init(self, message: Init, payload: Any) -> Fault | None:
        """One chunk of the initial weights; the last one makes the shard ready."""
        if self.ready:
            return None
        if self._bringer != (message.index, message.incarnation) or message.chunk != self._brought:
            return Fault("order", "these initial weights were not asked for", self.term)
        span = chunk_slice(self.state.weights.size, message.chunk)
        target = self.state.weights[span]
        target[:] = codec.decode("fp32", payload, target.size, self.spec.codec, target)
        self._brought += 1
        self.ready = self._brought == self.chunks
        self.recorder.brought(message, payload)
        return None

    # -- push and pull -----------------------------------------------------------------------------

    def exchange(self, message: Exchange, payload: Any) -> Reply | Fault:
        """Applies one chunk of a push exactly once. Raises ProtocolError on a payload of the wrong size."""
        fault = self._stranger(message.index, message.incarnation) or self._unfit(message)
        if fault:
            return fault
        seen = self.seen[message.index]
        if (message.sequence, message.chunk) < (seen.sequence, seen.chunks):
            return self.reply(message.index, message.sequence, message.chunk, "duplicate", message.pull)
        fresh = message.sequence > seen.sequence and message.chunk == 0
        if not fresh and (message.sequence, message.chunk) != (seen.sequence, seen.chunks):
            return Fault(
                "order", f"chunk {message.chunk} of push {message.sequence} is out of order", self.term
            )
        pieces, looked = self._pieces(message, payload), None
        if message.settings != self.settings[message.part]:
            self.follow(message)
        if fresh:
            looked = self._largest(message, *pieces[0])
            seen = self._begin(message, looked)
        if seen.push:
            self._apply(message, pieces, looked, seen, seen.push)
        seen.chunks = self.chunks if message.bare else seen.chunks + message.run
        self.recorder.pushed(message, payload)
        reply = self.reply(message.index, message.sequence, message.chunk, seen.verdict, message.pull)
        reply.run = message.run
        return reply

    def _pieces(self, message: Exchange, payload: Any) -> list[Piece]:
        """The chunks of a message. Raises ProtocolError when several chunks come as anything but their elements."""
        span = self._span(message, message.run)
        if message.run == 1:
            return [(span, payload)]
        size, first = self.state.weights.size, message.chunk
        vector = codec.decode("fp32", payload, span.stop - span.start, self.spec.codec, self._decoded)
        parts = [chunk_slice(size, chunk) for chunk in range(first, first + message.run)]
        return [(part, vector[part.start - span.start : part.stop - span.start]) for part in parts]

    def _largest(self, message: Exchange, span: slice, frame: Any) -> float:
        """The largest magnitude in a chunk, inf if the worker or this look found inf or nan."""
        if not message.finite:
            return math.inf
        if message.bare:
            if not self.strategy.bare:
                name = self.spec.algorithm["name"]
                raise ProtocolError(f"push {message.sequence} has no payload, which {name} cannot use")
            return 0.0
        if span.start == span.stop and self.cuts.edges:  # of this model nothing is held here
            return 0.0
        return codec.largest(message.codec, frame, span.stop - span.start, self.spec.codec)

    def _stranger(self, index: int, incarnation: int) -> Fault | None:
        if not self.ready or self.members.get(index) is None:
            return Fault("hello", "say hello first", self.term)
        if self.members[index] != incarnation:
            return Fault("session", f"worker {index} has another session now", self.term)
        return None

    def _unfit(self, message: Exchange) -> Fault | None:
        """NB: contributions of unlike sizes can't be summed."""
        if message.parts != self.strategy.parts:
            return Fault(
                "protocol", f"this job's pushes are about 1 / {self.strategy.parts} of a shard", self.term
            )
        if message.run > 1 and not (message.shared and self.takes(message)):
            return Fault(
                "protocol", f"{message.run} chunks in one message, which are not taken together", self.term
            )
        return self._beyond(message, message.run)

    def takes(self, message: Exchange) -> bool:
        """Whether a message about several chunks can be served whole: none of them was seen before."""
        seen = self.seen.get(message.index)
        if seen is None or message.bare or message.parts > 1 or self.recorder.records:
            return False
        next_one = (message.sequence, message.chunk) == (seen.sequence, seen.chunks)
        return next_one or (message.sequence > seen.sequence and message.chunk == 0)

    def _beyond(self, message: Exchange | Pull, run: int) -> Fault | None:
        known = not self.cuts.edges or message.parts in (1, self.strategy.parts)
        if known and message.part < message.parts and message.chunk + run <= self._chunks_of(message):
            return None
        text = f"chunk {message.chunk} of part {message.part} of {message.parts}: this shard has {self.chunks} chunks"
        return Fault("protocol", text, self.term)

    def _chunks_of(self, message: Exchange | Pull) -> int:
        return self.cuts.count(message.part, message.parts)

    def _span(self, message: Exchange | Pull, run: int) -> slice:
        return self.cuts.chunk(message.chunk, message.part, message.parts, run)

    def _begin(self, message: Exchange, largest: float) -> Seen:
        """The first chunk of a new push: it gets its verdict, and if accepted its version."""
        state, outliers = self.state, self.usual(message.part)
        version = state.models[message.part] if state.models else state.version
        push = Push(
            message.index, message.sequence, message.base, max(0, version - message.base),
            version + 1, message.samples, message.steps, message.loss, meta=message.meta, bare=message.bare,
            part=message.part, parts=message.parts,
        )  # fmt: skip
        # NB: what was computed from weights that are undone, or are still to be, says nothing of anybody.
        undone = message.rollbacks != self.rollbacks
        reason = "rollback" if undone else outliers.judge(largest)
        if reason == "outlier":
            outliers.refused(message.index, largest)
        if not reason and message.base > version:
            reason = "rollback"
        reason = reason or self.strategy.admit(push, state)
        seen = self.seen[message.index] = Seen(message.incarnation, message.sequence)
        if reason:
            seen.verdict = f"refused:{reason}"
            dropped = message.bare and not message.finite
            # NB: a batch that its worker has dropped is told to all shards, and is one.
            self.refused[reason] += self.index == 0 or not dropped
            if push.steps and not undone:
                self._pass_over(message.index, reason, dropped)
            return seen
        seen.push = push
        if push.steps:
            state.version += not self.strategy.rounds
            if state.models:
                state.models[message.part] += 1
            state.samples += message.samples
            self.note_staleness(message.index, push.staleness)
        return seen

    def _apply(
        self, message: Exchange, pieces: list[Piece], looked: float | None, seen: Seen, push: Push
    ) -> None:
        """Some chunks of an accepted push; the last one of all completes it. `looked`: the first one's largest."""
        state, outliers = self.state, self.usual(push.part)
        for piece in pieces if not push.bare else ():
            if (found := self._fold(message, piece, looked, push, outliers.limit)) >= outliers.limit:
                self._spoil(message.index, seen, push, found)
                return
            push.largest, looked = max(push.largest, found), None
        if push.bare or message.chunk + message.run == self._chunks_of(message):
            seen.push = None
            outliers.told(push.largest)
            self.strategy.finish(state, push)
            self.losses.ended(state, message.samples)
            if push.steps:
                self._advance(message.index)
                self.average.pushed(state.weights, self.moved_by(push))

    def _spoil(self, index: int, seen: Seen, push: Push, largest: float) -> None:
        """A push that left during backward, or a worker that lies: at most what came before is in."""
        outliers = self.usual(push.part)
        reason = outliers.judge(largest)
        if reason == "outlier":
            outliers.refused(index, largest)
        seen.verdict, seen.push = f"refused:{reason}", None
        self.refused[reason] += 1
        self.spoils += 1
        self._drop_unfinished(index)
        if push.steps:
            self._pass_over(index, reason)

    def _fold(self, message: Exchange, piece: Piece, looked: float | None, push: Push, limit: float) -> float:
        """Hands a chunk to the strategy, or does it here where that is one addition; returns its largest element.

        What reaches `limit` is not handed on.

        NB: what decides about a whole push is looked at before anything is added; what follows, in the same pass.
        """
        (span, frame), state, how = piece, self.state, self.spec.codec
        weights, factor = state.weights[span], self.strategy.factor(state, push)
        if not message.finite:
            return math.inf
        if span.start == span.stop and self.cuts.edges:
            return 0.0
        if factor is None or factor >= 0:
            looked = self._largest(message, span, frame) if looked is None else looked
            if looked >= limit:
                return looked
            vector = codec.decode(message.codec, frame, weights.size, how, self._decoded)
            self.strategy.apply(state, span, push, vector)
        elif looked is not None:
            codec.add(message.codec, frame, weights, factor, how)
        else:
            looked = codec.add_below(message.codec, frame, weights, factor, limit, how)
            if looked >= limit:
                return looked
        push.applied += weights.size
        self.saved += weights.nbytes - memoryview(frame).nbytes
        return looked

    def pull(self, message: Pull) -> Reply | Fault:
        """Answers one chunk of the weights. Raises Parked when the worker has to wait."""
        if message.role == "worker":
            fault = self._stranger(message.index, message.incarnation)
            if fault:
                return fault
        if self.holds_back(message):
            raise Parked
        beyond = self._beyond(message, 1)
        return beyond or self.reply(asker(message), message.request, message.chunk, "pulled", True)

    def holds_back(self, message: Pull) -> bool:
        """Whether who pulls has to wait; a stranger does not: it is refused."""
        if message.role != "worker":
            return not self.ready
        if self.members.get(message.index) != message.incarnation:
            return False
        return (
            self.unsaved
            or self.warming(message.index)
            or not self.strategy.may_pull(self.state, message.index)
        )

    def warming(self, index: int) -> bool:
        """Warm start: until enough samples are in, only the lowest live worker trains (algorithms.md 2a)."""
        return self.state.samples < self.spec.exchange.warm_start.samples and index != min(self.members)

    def reply(self, worker: int, sequence: int, chunk: int, verdict: str, pull: bool) -> Reply:
        state = self.state
        return Reply(
            self.term, sequence, chunk, state.version, verdict, state.workers, state.samples,
            self.pulled_codec if pull else "", notes=self.strategy.notes(state, worker),
            stamp=self.recorder.stamp, rollbacks=self.rollbacks, models=list(state.models),
        )  # fmt: skip

    @property
    def pulled_codec(self) -> str:
        """Of whole weights; what is small enough travels as a difference to that (`Shadows.answer`)."""
        return "fp32" if self.shadows else self.spec.codec.pull

    def weights(self, message: Exchange | Pull, worker: int, run: int = 1) -> F32 | None:
        """A view of the chunk that goes with a reply, good until the next update; None: nothing new for this worker."""
        span = self._span(message, run)
        if not isinstance(message, Pull) or message.of == -1:
            return self.strategy.answer(self.state, span, worker)
        if message.of == OF_AVERAGE:
            return self.average.read(self.state.weights, span)
        # NB: a contribution that is gone was asked for by a question that is over.
        part = self.state.inbox.get(message.of)
        return part.vector[span] if part else np.zeros_like(self.state.weights[span])

    def payload(self, reply: Reply, message: Exchange | Pull, worker: int) -> Any:
        """What goes with a reply that carries weights, to be copied before the next update or payload.

        `message` is the request. Fills in the reply's codec and states; parts travel as they are. None when the
        strategy has nothing new for this worker.
        """
        if worker >= 0:
            # NB: the next record after the reply's stamp; strategies and shadows may keep what they tell.
            self.recorder.told(worker, message)
        weights = self.weights(message, worker, reply.run)
        if weights is None or (not weights.size and self.cuts.edges):
            return None
        reply.whole = message.parts == 1
        if self.shadows and worker >= 0 and reply.whole:
            body = self.shadows.answer(reply, worker, message.held, weights)
        else:
            body = codec.pack(reply.codec, weights)
        self.saved += weights.nbytes - body.nbytes
        return body
