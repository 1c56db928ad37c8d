"""A shard that goes through its logs again: the very same `Shard`, fed in the recorded order.

`step` carries out the next record if it can. Pushes and initial weights come from the rerun workers; that they are the
same as in the run is checked by their checksums, so that the first difference is found where it happens.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from asgd.algorithms.registry import halves
from asgd.algorithms.rounds import RoundServer
from asgd.drivers.replay.mail import Answer, Mail
from asgd.errors import UserError
from asgd.kernel import F32
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
from asgd.server.round_table import RoundPart
from asgd.server.shard import Shard
from asgd.wire.messages import Decided, Hello, Init, Pull, Reply
from asgd.wire.partition import chunk_slice


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the replay first did something else than the run."""

    shard: int
    worker: int
    what: str
    """initial weights | push"""
    update: int = 0
    """The version of the shard that the push made in the run."""
    sequence: int = 0

    def __str__(self) -> str:
        if self.what == "push":
            return (
                f"update {self.update:,} of shard {self.shard}: push {self.sequence:,} of worker {self.worker}"
                " is not the one that was recorded"
            )
        return (
            f"the {self.what} that worker {self.worker} brought to shard {self.shard} are not those recorded"
        )


class Differs(Exception):
    """The replay has left the recorded run."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(str(difference))
        self.difference = difference


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A shard's state as a checkpoint holds it; `meta` is JSON."""

    size: int
    layout: str
    arrays: dict[str, F32]
    meta: str


class RerunShard:
    """Shard number `index` of `recording`."""

    def __init__(self, recording: Recording, index: int, mail: Mail) -> None:
        self.job, self.index, self._mail = recording.job, index, mail
        self._starts = list(recording.shards[index])
        self._keep = recording.saves_needed()
        self.snapshots: dict[int, Snapshot] = {}
        """By number of the save."""
        self._made: dict[int, int] = {}
        """{worker: the version that its newest push made}"""
        self.completed = 0
        """The version that the newest completed push or round made."""
        self._next_start()

    def _next_start(self) -> None:
        """The process as it was started (again)."""
        term, self._records = self._starts.pop(0)
        self._at = 0
        spec = self.job.spec
        rule = halves(spec).server()
        self.shard = Shard(spec, rule, self.index, spec.parameter_server.shards, term)
        self.part = RoundPart(self.shard, rule) if isinstance(rule, RoundServer) else None
        self._wanted = self._mail.wanted[self.index, term]

    @property
    def over(self) -> bool:
        """All of its logs were carried out."""
        return self._at == len(self._records) and not self._starts

    def waits_for(self) -> str:
        """The record that can't be carried out, in words."""
        return (
            f"shard {self.index} of term {self.shard.term}, record {self._at + 1}: {self._records[self._at]}"
        )

    def step(self) -> bool:
        """Carries out the next record; False when it has to wait for a worker, or all is over. Raises Differs."""
        if self._at == len(self._records):
            if not self._starts:
                return False
            self._next_start()
            return True
        if not self._carry_out(self._records[self._at]):
            return False
        self._at += 1
        for person in self._wanted.get(self._at, ()):
            self._mail.answers[person, self.index, self.shard.term, self._at] = self._answer(person)
        return True

    def _answer(self, person: Person) -> Answer:
        state = self.shard.state
        notes = self.shard.strategy.notes(state, person[0])
        seen = self.shard.seen.get(person[0])
        verdict = seen.verdict if seen else "applied"
        return Answer(state.version, state.samples, state.workers, notes, verdict)

    def _carry_out(self, record: AnyRecord) -> bool:
        shard = self.shard
        match record:
            case Pushed():
                return self._push(record)
            case Told():
                self._tell(record)
            case Joined():
                shard.hello(_hello(self.job.name, record))
            case Brought():
                return self._bring(record)
            case Left():
                shard.leave(record.worker)
            case Rested():
                shard.rest(record.worker)
            case Closed():
                self._close(record)
            case Saved():
                if record.save in self._keep:
                    self.snapshots[record.save] = self.snapshot()
            case Restored():
                self._restore(record.save)
            case Ended():
                pass
            case _:
                raise UserError(f"the log of shard {self.index} holds a worker's record: {record}")
        return True

    # -- from workers ------------------------------------------------------------------------------

    def _person(self, worker: int) -> Person:
        return worker, self.shard.members.get(worker, 0)

    def _push(self, record: Pushed) -> bool:
        push = self._mail.pushes.get((self._person(record.worker), self.index))
        if push is None or push.sequence < record.sequence:
            return False
        if push.sequence > record.sequence:
            raise self._contradiction()
        if record.chunk not in push.chunks:
            return False
        message, payload = push.chunks[record.chunk]
        shard = self.shard
        before = shard.state.version
        if checksum(payload) != record.checksum:
            made = self._made[record.worker] if record.chunk else before + 1
            raise Differs(Difference(self.index, record.worker, "push", made, record.sequence))
        answer = shard.exchange(message, payload)
        if not isinstance(answer, Reply) or answer.verdict == "duplicate":
            raise self._contradiction()
        if record.chunk == 0:
            self._made[record.worker] = shard.state.version
        if record.chunk + 1 == shard.chunks and answer.verdict == "applied" and not shard.strategy.rounds:
            self.completed = max(self.completed, self._made[record.worker])
        return True

    def _bring(self, record: Brought) -> bool:
        person = self._person(record.worker)
        weights = self._mail.weights.get((person, self.index))
        if weights is None:
            return False
        payload = np.ascontiguousarray(weights[chunk_slice(weights.size, record.chunk)]).view(np.uint8).data
        if checksum(payload) != record.checksum:
            raise Differs(Difference(self.index, record.worker, "initial weights"))
        if self.shard.init(Init(*person, record.chunk), payload):
            raise self._contradiction()
        return True

    # -- to workers --------------------------------------------------------------------------------

    def _tell(self, record: Told) -> None:
        """NB: always asked for, as in the run: some strategies keep what they tell."""
        reply = self.shard.reply(record.worker, 0, record.chunk, "pulled", True)
        asked = Pull(
            "worker",
            record.worker,
            0,
            record.chunk,
            0,
            held=record.held,
            part=record.part,
            parts=record.parts,
        )
        body = self.shard.payload(reply, asked, record.worker)
        person = self._person(record.worker)
        if person in self._wanted.get(self._at, ()):
            answer = self._mail.answers[person, self.index, self.shard.term, self._at]
            answer.told, answer.codec, answer.base, answer.state = True, reply.codec, reply.base, reply.state
            answer.body = None if body is None else np.array(body).view(np.uint8).data

    # -- rounds and checkpoints --------------------------------------------------------------------

    def _close(self, record: Closed) -> None:
        if not record.measure:
            self.shard.state.facts = dict(record.facts)
        order = Decided(record.number, record.term, record.members, record.measure, record.decision)
        if self.part is None or not self.part.take(order):
            raise self._contradiction()
        if not record.measure:
            self.completed = self.shard.state.version

    def snapshot(self) -> Snapshot:
        """The state of this moment."""
        shard = self.shard
        arrays = {name: array.copy() for name, array in shard.arrays().items()}
        return Snapshot(shard.size or 0, shard.layout, arrays, json.dumps(shard.meta()))

    def _restore(self, save: int) -> None:
        saved = self.snapshots.get(save)
        if saved is None:
            raise UserError(f"the log of shard {self.index} has no save {save}")
        # NB: the shard may keep these arrays and change them, and another restart may want the save again.
        arrays = {name: array.copy() for name, array in saved.arrays.items()}
        self.shard.restore(saved.size, saved.layout, arrays, json.loads(saved.meta))

    def _contradiction(self) -> UserError:
        return UserError(f"the recording contradicts itself at {self.waits_for()}")


def _hello(job: str, record: Joined) -> Hello:
    return Hello(
        job, record.role, record.index, record.incarnation, record.size, record.layout, record.dataset,
        sequence=record.sequence, node=record.node, tensors=record.tensors,
    )  # fmt: skip
