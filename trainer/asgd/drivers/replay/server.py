"""A server that goes through its logs again: the very same `ServerCore`, told in the recorded order what reached it.

Pushes, pulls and initial weights come from the replayed workers. That they are those of the run is checked by their
checksums, so that the first difference is found where it happens. The core records again, and each record must be the
one that stands in the log.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np

from asgd.drivers.replay.lane import Mail
from asgd.drivers.replay.tape import Tape
from asgd.errors import ProtocolError, UserError
from asgd.record.format import (
    AnyRecord,
    Brought,
    Closed,
    Ended,
    Joined,
    Left,
    Pushed,
    Rested,
    Restored,
    Saved,
    Told,
    checksum,
)
from asgd.record.reading import Person, Recording
from asgd.record.shard import ShardRecorder
from asgd.server import saving
from asgd.server.answers import PRIMARY, Sender
from asgd.server.core import ServerCore
from asgd.server.dispatch import Dispatch
from asgd.server.shard import Shard
from asgd.wire.messages import (
    AnyMessage,
    Beaten,
    Bye,
    Command,
    Decided,
    Exchange,
    Hello,
    Init,
    Message,
    Pull,
    Reply,
)
from asgd.wire.partition import chunk_slice

BESIDE: Sender = "beside"
"""Who speaks to a server and is none of the job's members, as `asgd run` does."""


class Differs(Exception):
    """The replay has left the recorded run."""


class ReplayedServer(Dispatch):
    """Shard number `index` of `recording`."""

    def __init__(self, recording: Recording, index: int, mail: Mail) -> None:
        self.job, self.index, self._mail = recording.job, index, mail
        self._starts = list(recording.shards[index])
        self._saves = recording.saves_needed()
        self.snapshots: dict[int, saving.Restored] = {}
        """By number of the save."""
        self._made: dict[int, int] = {}
        """{worker: the version that its newest push made}"""
        self.completed = 0
        """The version that the newest completed push or round made."""
        self._start()

    def _start(self) -> None:
        """The process as it was started (again), with what it found in the store."""
        term, records = self._starts.pop(0)
        self.tape = Tape(f"shard {self.index} of term {term}", records)
        self._wanted = self._mail.wanted[self.index, term]
        found, first = None, self.tape.next
        rollbacks = first.rollbacks if isinstance(first, Restored) else 0
        recorder = ShardRecorder(self.tape)
        self.core = ServerCore(self.job, self.index, term, recorder=recorder, rollbacks=rollbacks)
        if isinstance(first, Restored):
            found = self.snapshots.get(first.save)
            if found is None:
                raise UserError(f"the log of shard {self.index} has no save {first.save}")
        self.core.restore(found, 0.0)

    @property
    def shard(self) -> Shard:
        """Of the start that its logs have come to."""
        return self.core.shard

    @property
    def over(self) -> bool:
        """All of its logs were carried out."""
        return self.tape.next is None and not self._starts

    def step(self) -> bool:
        """Carries out the next record; False when it has to wait for a worker, or all is over. Raises Differs."""
        if unanswered := self._unanswered():
            return self._answer_again(*unanswered)
        record, at = self.tape.next, self.tape.at
        if record is None:
            if self._starts:
                self._start()
                return True
            return False
        if not self._carry_out(record):
            return False
        if self.tape.at == at:
            raise self.tape.contradiction()
        return True

    def _carry_out(self, record: AnyRecord) -> bool:
        match record:
            case Pushed():
                return self._push(record)
            case Told():
                return self._tell(record)
            case Brought():
                return self._bring(record)
            case Joined():
                self._receive((record.role, record.index, record.incarnation), _hello(self.job.name, record))
            case Left():
                who = self._person(record.worker)
                self._receive(BESIDE, Bye("worker", *who, lost=True))
            case Rested():
                self.shard.rest(record.worker)
            case Closed():
                self._close(record)
            case Saved():
                if record.save in self._saves:
                    self.snapshots[record.save] = self.snapshot(record.save)
                self.shard.recorder.saved(record.save)
            case Ended():
                self.shard.recorder.end()
            case _:
                raise UserError(f"the log of shard {self.index} holds what is not a server's there: {record}")
        return True

    # -- from workers ------------------------------------------------------------------------------

    def _person(self, worker: int) -> Person:
        return worker, self.shard.members.get(worker, 0)

    def _push(self, record: Pushed) -> bool:
        sent = self._sent(self._person(record.worker), record.chunk)
        message, payload = sent or (None, None)
        if not isinstance(message, Exchange) or message.sequence < record.sequence:
            return False
        if message.sequence > record.sequence:
            raise self.tape.contradiction()
        shard = self.shard
        if record.chunk == 0:
            self._made[record.worker] = shard.state.version + 1
        if checksum(payload) != record.checksum:
            raise Differs(
                f"update {self._made[record.worker]:,} of shard {self.index}: push {record.sequence:,} of worker"
                f" {record.worker} is not the one that was recorded"
            )
        told = self.tape.records[self.tape.at + 1 : self.tape.at + 2]
        if message.pull and told and isinstance(told[0], Told):
            message.held = told[0].held
        self._receive(("worker", *self._person(record.worker)), message, payload)
        if record.chunk == 0:
            self._made[record.worker] = shard.state.version
        applied = shard.seen[record.worker].verdict == "applied" and not shard.strategy.rounds
        if record.chunk + 1 == shard.chunks and applied:
            self.completed = max(self.completed, self._made[record.worker])
        return True

    def _sent(self, person: Person, chunk: int) -> tuple[Exchange | Pull, Any] | None:
        lane = self._mail.lanes.get((person, self.index))
        return lane.sent.get(chunk) if lane else None

    def _bring(self, record: Brought) -> bool:
        person = self._person(record.worker)
        lane = self._mail.lanes.get((person, self.index))
        if lane is None or lane.weights is None:
            return False
        weights = lane.weights[chunk_slice(lane.weights.size, record.chunk)]
        payload = np.ascontiguousarray(weights).view(np.uint8).data
        if checksum(payload) != record.checksum:
            raise Differs(
                f"the initial weights that worker {record.worker} brought to shard {self.index} are not those recorded"
            )
        self._receive(("worker", *person), Init(*person, record.chunk), payload)
        return True

    # -- to workers --------------------------------------------------------------------------------

    def now(self) -> float:
        return 0.0

    def refused(self, core: ServerCore, sender: Sender, message: AnyMessage, error: ProtocolError) -> None:
        raise self.tape.contradiction() from error

    def _receive(self, sender: Sender, message: AnyMessage, payload: Any = None) -> None:
        self.serve(self.core, sender, message, payload)

    def send(self, to: Any, message: Message, body: Any) -> None:
        if isinstance(message, Reply) and message.verdict != "waiting":
            _, index, incarnation = to
            self._keep((index, incarnation), message, body)

    def _keep(self, person: Person, reply: Reply, body: Any) -> None:
        """An answer, if the worker took it."""
        wanted = self._wanted[reply.stamp]
        if (person, reply.chunk) in wanted:
            wanted.remove((person, reply.chunk))
            kept = None if body is None else np.array(body).view(np.uint8).data
            lane = self._mail.lanes[person, self.index]
            lane.answers[reply.term, reply.chunk, reply.stamp].append((reply, kept))
            # NB: the worker may not have come to it yet; what it asks next must not be taken for this again.
            del lane.sent[reply.chunk]

    def _unanswered(self) -> tuple[Person, int] | None:
        """Whom the run's server answered at this moment without a record: what they had pushed was known to it."""
        wanted, record = self._wanted.get(self.tape.at), self.tape.next
        if not wanted:
            return None
        rest = list(wanted)
        told = (self._person(record.worker), record.chunk) if isinstance(record, Told) else None
        if told in rest:
            rest.remove(told)
        return rest[0] if rest else None

    def _answer_again(self, person: Person, chunk: int) -> bool:
        sent = self._asked(person, chunk, weights=False)
        if sent:
            self._receive(("worker", *person), *sent)
        return sent is not None

    def _asked(self, person: Person, chunk: int, *, weights: bool) -> tuple[Exchange | Pull, Any] | None:
        """What the worker waits for an answer to, if that is to come with weights, or without."""
        lane, sent = self._mail.lanes.get((person, self.index)), self._sent(person, chunk)
        if lane is None or not lane.busy or sent is None:
            return None
        asks = isinstance(sent[0], Pull) or sent[0].pull
        return sent if asks is weights else None

    def _tell(self, record: Told) -> bool:
        """NB: also what nobody took is told again: some strategies keep what they tell."""
        person = self._person(record.worker)
        sent: tuple[Exchange | Pull, Any] | None = Pull("worker", *person, record.chunk, 0), None
        if (person, record.chunk) in self._wanted.get(self.tape.at, ()):
            sent = self._asked(person, record.chunk, weights=True)
        if sent is None:
            return False
        message, payload = sent
        message.held, message.part, message.parts = record.held, record.part, record.parts
        self._receive(("worker", *person), message, payload)
        if self.core.parked:
            self._stop()
        return True

    def _stop(self) -> None:
        """In the run the job was over when this pull was answered; why, no server's log says."""
        if self.index == 0:
            self._receive(BESIDE, Command("stop", "stopped"))
        else:
            self._receive(PRIMARY, Beaten(stop="stopped"))
        self.release(self.core)

    # -- rounds and saves --------------------------------------------------------------------------

    def _close(self, record: Closed) -> None:
        if not record.measure:
            self.shard.state.facts = dict(record.facts)
        order = Decided(record.number, record.term, record.members, record.measure, record.decision)
        self._receive(PRIMARY, order)
        if not record.measure:
            self.completed = self.shard.state.version

    def snapshot(self, save: int = 0) -> saving.Restored:
        """The state of this moment, as a start finds it in save number `save`."""
        shard = self.shard
        arrays = {name: array.copy() for name, array in shard.arrays().items()}
        meta = json.loads(json.dumps(shard.meta()))
        return saving.Restored(save, shard.size or 0, shard.layout, arrays, meta)


def _hello(job: str, record: Joined) -> Hello:
    return Hello(job=job, **msgspec.structs.asdict(record))
