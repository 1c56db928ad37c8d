"""Everything a parameter server decides, without I/O: it is told messages and the time, and answers.

Sockets, threads, files, clocks and signals are the driver's: `service.py` in a process, `drivers/virtual/server.py`
in virtual time. For each of them `dispatch.py` calls `receive` for each message, then `settle` and `released` for what
a batch of messages has made possible, and `tick` every `TICK_SECONDS`; it carries out itself what `wish` asks of the
checkpoint store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from asgd.algorithms.base import ServerStrategy
from asgd.algorithms.registry import halves
from asgd.algorithms.rounds import RoundServer
from asgd.algorithms.schedule import slowed
from asgd.errors import ProtocolError, UserError
from asgd.kernel import F32
from asgd.record.recorder import Recorder
from asgd.server.answers import PRIMARY, Answer, Answers, Sender
from asgd.server.knowledge import Knowledge
from asgd.server.leaving import Leaving
from asgd.server.participant import Participant
from asgd.server.primary import Primary
from asgd.server.rollback import Rollback
from asgd.server.round_closing import RoundClosing
from asgd.server.saving import Outcome, Publish, Restored, Saving, StoreFacts, Wish
from asgd.server.shard import Parked, Shard, asker, named
from asgd.server.traffic import Traffic
from asgd.spec.types import Job, JobSpec
from asgd.wire.messages import (
    AnyMessage,
    Beat,
    Beaten,
    Bye,
    Command,
    Decided,
    Done,
    Evaluated,
    Exchange,
    Failed,
    Fault,
    Gathered,
    Hello,
    Init,
    Judged,
    Lease,
    Message,
    Pull,
    Reply,
    Welcome,
)
from asgd.wire.rule import rule_difference, with_rule

TICK_SECONDS = 0.1
PARKED_MOST = 10_000
UNSAVED_SECONDS = 5.0
"""Workers of a job that may go back wait so long at most until its initial weights were copied for the first save."""


class ServerCore:
    """The server of shard `index` in its start number `term`. `store` None: there is no checkpoint store.

    `memory(n)` makes the (n,) float32 array of the weights, all zero. `rollbacks`: how often the job has gone back.
    """

    def __init__(
        self, job: Job, index: int, term: int, *, run: str = "", store: StoreFacts | None = None,
        recorder: Recorder | None = None, memory: Callable[[int], F32] | None = None, rollbacks: int = 0,
    ) -> None:  # fmt: skip
        spec = slowed(job.spec, rollbacks)
        rule = halves(spec).server()
        self.job, self._run = job, run
        self.shard = Shard(spec, rule, index, spec.parameter_server.shards, term)
        self.shard.recorder = recorder or self.shard.recorder
        self.shard.memory = memory or self.shard.memory
        self.shard.rollbacks = rollbacks
        self.traffic = Traffic()
        self.saving = Saving(self.shard, self.traffic, store) if store else None
        make = Primary if index == 0 else Participant
        duty: Primary | Participant = make(job, run, self.shard, self.saving, self.traffic)
        self._duty = duty
        self.primary = duty if isinstance(duty, Primary) else None
        self.participant = duty if isinstance(duty, Participant) else None
        self.knowledge = Knowledge(job, self.shard, self.primary, stores=store is not None)
        self.rounds: RoundClosing | None = None
        self._open_rounds(rule)
        self.parked: dict[tuple[Sender, int], Pull] = {}
        self.notes: list[str] = []
        """Lines for the log, which the driver takes away."""
        self._leaving: Leaving | None = None
        self._troubled = False
        self._ready_since = 0.0

    def restore(self, restored: Restored | None, now: float) -> None:
        """Goes on from what an earlier start has left, or begins. Raises ProtocolError when it is of another job."""
        shard = self.shard
        if restored is None:
            shard.unsaved = self.saving is not None and self.job.spec.on_divergence == "Rollback"
            if shard.term > 1:
                shard.start_over()
            return
        if rule := restored.meta.get("rule"):
            self._take_rule(str(rule).encode())
        of_save = restored.manifest if restored.number >= 0 else None
        shard.rule_earlier = of_save is not None and of_save.run != self._run
        shard.restore(restored.size, restored.layout, restored.arrays, restored.meta)
        shard.recorder.restored(restored.number, shard.rollbacks)
        if back := restored.back:
            shard.losses.told(back.term, back.version, back.samples)
        if self.primary and restored.job is not None:
            self.primary.restore(restored, restored.job, now)
            self.primary.tell_skipped(restored.skipped)
        if self.participant:
            self.participant.skipped = restored.skipped

    # -- messages ----------------------------------------------------------------------------------

    def receive(self, sender: Sender, message: AnyMessage, payload: Any, now: float) -> Answers:
        """Takes in a message and answers it. Raises ProtocolError on what breaks the rules: see `refuse`."""
        if sender != PRIMARY and (fault := self.knowledge.refusal(sender, message, now)):
            return ((sender, self.refuse(sender, message, fault.code, fault.text), None),)
        match message:
            case Exchange():
                return self._exchange(sender, message, payload, now)
            case Pull():
                return self._pull(sender, message, now)
            case Hello():
                return ((sender, self._welcomed(sender, message, now), None),)
            case Init():
                return ((sender, self._init(message, payload, now), None),)
            case Bye():
                return ((sender, self._bye(message, now), None),)
            case Gathered() if self.rounds and self.rounds.table:
                return self.rounds.gathered(self.rounds.table, sender, message)
            case Judged() if self.rounds and self.rounds.inquiry:
                return self.rounds.judged(self.rounds.inquiry, sender, message)
            case Lease() | Beat() | Evaluated() | Command() | Failed() if self.primary:
                return ((sender, self.primary.serve(message, now), None),)
            case _ if sender == PRIMARY:
                return self._obey(message, now)
        raise ProtocolError(f"shard {self.shard.index} does not serve {type(message).__name__}")

    def refuse(self, sender: Sender, message: AnyMessage | None, code: str, text: str) -> Fault:
        """The answer to a message that is not served; counted by who sent it. `message` None: it was not readable."""
        self.traffic.refuse(self.knowledge.peer(sender, message), code.removeprefix("refused:"))
        return Fault(code, text, self.shard.term)

    def _welcomed(self, sender: Sender, message: Hello, now: float) -> Message:
        answer = self._hello(message, now)
        if isinstance(answer, Fault) and answer.code != "stopped":
            return self.refuse(sender, message, answer.code, answer.text)
        return answer

    def _hello(self, message: Hello, now: float) -> Message:
        shard = self.shard
        if message.job != self.job.name:
            return Fault("job", f"this is job {self.job.name}, not {message.job}", shard.term)
        if message.term > shard.term:
            if self.saving:
                self.saving.suspect(now)
            return Fault("fenced", f"this is term {shard.term} of shard {shard.index}", shard.term)
        if self.primary and (fault := self.primary.refusal(message)):
            if fault.code == "stopped":
                shard.told(message)
            return fault
        if message.role == "worker" and (unlike := self._agree_on_rule(message)):
            return unlike
        answer = shard.hello(message)
        if self.primary and isinstance(answer, Welcome):
            answer.membership = self.primary.joined(message, answer, now)
        return answer

    def _agree_on_rule(self, message: Hello) -> Fault | None:
        """The first worker brings the optimizer of its script; who comes later with another one is refused."""
        shard = self.shard
        if message.rule != shard.rule:
            fresh = shard.rule_earlier or not (shard.ready or shard.members)
            how = f"{named(message)}: {rule_difference(shard.rule, message.rule)}"
            if not fresh:
                return Fault(
                    "layout", f"{how}; all workers of a job must build the same optimizer", shard.term
                )
            try:
                self._take_rule(message.rule)
            except (ProtocolError, UserError) as error:
                return Fault("layout", f"{how}, and {error}; allowed: the same optimizer", shard.term)
        shard.rule_earlier = False
        return None

    def change(self, spec: JobSpec) -> None:
        """Live fields of the spec have changed."""
        self.job = replace(self.job, spec=spec)
        self.shard.strategy.expect(spec.workers.replicas)
        self._duty.change(spec)

    def _take_rule(self, rule: bytes) -> None:
        """Raises ProtocolError where the weights are of a checkpoint that lacks what this optimizer needs."""
        spec = slowed(with_rule(self.job.spec, rule), self.shard.rollbacks)
        strategy = halves(spec).server()
        self.shard.take_rule(rule, spec, strategy)
        self._open_rounds(strategy)

    def _open_rounds(self, strategy: ServerStrategy) -> None:
        self.rounds = RoundClosing(self.shard, strategy) if isinstance(strategy, RoundServer) else None
        self.knowledge.table = self.rounds.table if self.rounds else None

    def _init(self, message: Init, payload: Any, now: float) -> Message:
        fault = self.shard.init(message, payload)
        if self.primary and fault is None:
            self.primary.brought(message, now)
        return fault or Done()

    def _bye(self, message: Bye, now: float) -> Message:
        if message.role == "worker":
            self.shard.leave(message.index, message.incarnation)
        if self.primary:
            self.primary.left(message, now)
        return Done()

    def _exchange(self, sender: Sender, message: Exchange, payload: Any, now: float) -> Answers:
        shard, primary = self.shard, self.primary
        if payload is not None:
            self.traffic.received += memoryview(payload).nbytes
        before = shard.spoils
        answer = shard.exchange(message, payload)
        if primary and isinstance(answer, Reply):
            primary.exchanged(message, answer, shard.spoils > before, now)
        return self._answer(sender, answer, message, message.index, message.pull)

    def _pull(self, sender: Sender, message: Pull, now: float) -> Answers:
        try:
            answer = self.shard.pull(message)
        except Parked:
            if self.primary:
                self.primary.pulled(message, True, now)
            return self._park(sender, message)
        if self.primary and isinstance(answer, Reply):
            self.primary.pulled(message, False, now)
        return self._answer(sender, answer, message, asker(message), True)

    def _park(self, sender: Sender, message: Pull) -> Answers:
        """Kept until something changes, unless the job is over: then the worker must hear that."""
        if self.stop:
            reply = self.shard.reply(asker(message), message.request, message.chunk, "pulled", True)
            return self._answer(sender, reply, message, asker(message), True)
        if len(self.parked) < PARKED_MOST:
            self.parked[sender, message.chunk] = message
        # NB: who waits long must know that this server lives.
        return ((sender, self.shard.reply(asker(message), 0, message.chunk, "waiting", False), None),)

    def _answer(
        self, sender: Sender, answer: Reply | Fault, message: Exchange | Pull, worker: int, pull: bool
    ) -> Answers:
        if not isinstance(answer, Reply):
            return ((sender, answer, None),)
        answer.stop = self.stop
        body = self.shard.payload(answer, message, worker) if pull else None
        if body is not None:
            self.traffic.sent += body.nbytes
        return ((sender, answer, body),)

    def _obey(self, message: AnyMessage, now: float) -> Answers:
        """What shard 0 has said: orders for rounds are carried out, the rest is remembered."""
        if isinstance(message, Decided):
            if self.rounds:
                self.rounds.obey(message)
        elif isinstance(message, Beaten) and self.participant:
            self.participant.hear(message)
        elif isinstance(message, Fault) and message.code == "fenced" and self.saving:
            self.saving.suspect(now)
        return ()

    @property
    def stop(self) -> str:
        """Why the job stops; empty while it runs."""
        return self._duty.stop

    # -- what messages have made possible ----------------------------------------------------------

    def settle(self, now: float) -> Answers:
        """Closes rounds that can be closed (shard 0), or reports what is new (the others). After each few messages."""
        if self.rounds is None:
            return ()
        heard = self.primary.coordinator.evaluator_heard if self.primary else None
        answers, note = self.rounds.settle(heard, now)
        if note:
            self.notes.append(note)
        return answers

    def released(self) -> Iterable[tuple[Sender, Pull]]:
        """Takes out the parked pulls that can be answered now: the driver passes each to `receive` again."""
        if not self.parked:
            return ()
        shard, over = self.shard, bool(self.stop)
        ready = [key for key, message in self.parked.items() if over or not shard.holds_back(message)]
        return [(key[0], self.parked.pop(key)) for key in ready]

    # -- time --------------------------------------------------------------------------------------

    def tick(self, now: float) -> Answers:
        """Moves time on."""
        self.traffic.only(self.shard.members)
        self.traffic.held_back = len(self.parked)
        if self.saving:
            self.saving.tick(now)
            self._let_train(self.saving, now)
            self._tell_trouble(self.saving.trouble(now))
        answers: list[Answer] = []
        if self.primary:
            self.primary.tick(now)
            collecting = self.primary.collecting
            if self.saving and collecting and collecting.under_way:
                self.saving.order(collecting.under_way, self.primary.coordinator.save_at, now)
        elif self.participant:
            answers.append((PRIMARY, self.participant.tick(now), None))
            answers += self.rounds.tick() if self.rounds else ()
        answers += self.settle(now)
        return answers

    def _let_train(self, saving: Saving, now: float) -> None:
        """Once the initial weights were copied for their save; a store that cannot take them keeps nobody waiting."""
        if not self.shard.ready:
            self._ready_since = now
        if saving.begun or now - self._ready_since > UNSAVED_SECONDS:
            self.shard.unsaved = False

    def _tell_trouble(self, trouble: str) -> None:
        if bool(trouble) != self._troubled:
            self._troubled = bool(trouble)
            self.notes.append(
                f"{trouble}; training goes on" if trouble else "the checkpoint store answers again"
            )

    # -- saving ------------------------------------------------------------------------------------

    def wish(self, now: float) -> Wish | None:
        """What the checkpoint store is to do next; the driver tells `done` when it has, and asks again."""
        return self.saving.wish(now, self._saved_state) if self.saving else None

    def _saved_state(self, now: float) -> dict[str, Any] | None:
        return self.primary.collecting.state(now) if self.primary and self.primary.collecting else None

    def job_state(self, now: float) -> dict[str, Any] | None:
        """The coordinator's state, for a copy in memory that is made now; None on other shards than 0."""
        return self.primary.coordinator.state(now) if self.primary else None

    @property
    def job_changes(self) -> int:
        """Grows with what is new in `job_state` although no push has come."""
        return self.primary.coordinator.changes if self.primary else 0

    def done(self, outcome: Outcome, now: float) -> None:
        """The store has answered."""
        assert self.saving is not None
        self.saving.done(outcome, now)
        if self.primary and self.primary.collecting:
            if isinstance(outcome.wish, Publish):
                self.primary.collecting.published(outcome, outcome.wish.manifest, now)
            self.primary.collecting.tick(now)

    # -- going back --------------------------------------------------------------------------------

    def back(self, now: float) -> Rollback | None:
        """The order to go back, if the job does: the driver ends this core, and begins the next one with it."""
        due = self._duty.back(now)
        if due is None:
            return None
        shard = self.shard
        number, save, why = due
        return Rollback(
            number, save, shard.term, shard.state.version, shard.state.samples, why, self.job_state(now)
        )

    # -- leaving -----------------------------------------------------------------------------------

    def leave(self, now: float) -> None:
        """This server was told to end: what is in memory is saved first."""
        if self._leaving is None:
            self._leaving = Leaving(self._duty, now)

    def may_leave(self, now: float) -> bool:
        """Told to end, and what is in memory is in the store; at the latest when the time is up."""
        if self._leaving is None:
            return False
        return not self.saving or not self.shard.ready or self._leaving.over(now)
