"""What shard 0 does beside serving its slice: it runs the coordinator, answers its messages and collects the
others' reports.

Between the pure `Coordinator` and the socket loop; builds the job's `Status`, which the display, `/status` and the
operator read.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import msgspec

from asgd.errors import TryAgain, UserError
from asgd.host.env import ProcessConfig
from asgd.server.coordinator import PAUSE_SECONDS, Coordinator
from asgd.server.live import LiveFields
from asgd.server.members import Member
from asgd.server.metrics import Traffic
from asgd.server.saves.saver import Rounds, Saver
from asgd.server.saves.store import Manifest, Part, Store
from asgd.server.shard import Shard
from asgd.server.view import build_status
from asgd.spec.status import Status, WorkerTimes
from asgd.wire.messages import (
    Beat,
    Beaten,
    Bye,
    Command,
    Done,
    Evaluated,
    Exchange,
    Fault,
    Hello,
    Lease,
    Message,
    Pull,
    Reply,
    Welcome,
)

STATUS_SECONDS = 0.2


class Chief:
    """Shard 0's extra duties. Times are monotonic seconds."""

    def __init__(self, config: ProcessConfig, shard: Shard, store: Store | None, traffic: Traffic) -> None:
        self.config, self.shard, self.traffic = config, shard, traffic
        self.coordinator = Coordinator(config.job.spec, config.run)
        self.rounds = Rounds(store, shard.shards) if store else None
        self.coordinator.save_round = max(store.all_rounds(), default=0) if store else 0
        self.coordinator.saved_round = self.coordinator.save_round
        self.reports: dict[int, dict[str, Any]] = {}
        self.terms: dict[int, int] = {0: shard.term}
        self.status_json = b"{}"
        self.checkpoint_error = ""
        self.remembers = False
        """A restart finds what was lost before in memory."""
        self._buffers: dict[int, bytes] = {}
        """{worker: its newest float buffers}, for the evaluator."""
        self._live = LiveFields(config.live)
        self._status_due = 0.0
        self._ticked: float | None = None
        self._rolled_back = 0
        self._lost_saved = 0
        self._saved_counts = (0, 0)

    def restore(self, manifest: Manifest | None, state: dict[str, Any]) -> None:
        """Takes over the job's state; `manifest` is the newest checkpoint, if there is one."""
        self.coordinator.load(state)
        self.coordinator.last_save = time.monotonic()
        if state["stopReason"] == "" and self.rounds:
            self.coordinator.restarts["server"] += 1
        self.shard.state.dataset = self.coordinator.dataset
        if self.rounds:
            self.rounds.newest = manifest

    # -- messages ----------------------------------------------------------------------------------

    def refuse(self, message: Hello) -> Fault | None:
        """Why a peer can't join, as far as the job is concerned; None when it may."""
        if message.role != "worker":
            return None
        if self.coordinator.stop_reason:
            return Fault("stopped", self.coordinator.stop_reason, self.shard.term)
        return self._check_data(message)

    def joined(self, message: Hello, answer: Welcome) -> None:
        """The shard has welcomed a peer; the first worker describes the data."""
        now, chief = time.monotonic(), self.coordinator
        if message.role == "evaluator":
            chief.meet_evaluator(now, message.incarnation)
        if message.role != "worker":
            return
        if message.evaluates:
            chief.await_evaluator()
        chief.hello(message.index, message.incarnation, message.node, now, answer.bring)
        chief.describe_data(message.dataset, message.guarantee, message.tensors)
        self.shard.state.dataset = chief.dataset
        chief.rolled_back(self.shard.lost_samples - self._rolled_back)
        self._rolled_back = self.shard.lost_samples

    def _check_data(self, message: Hello) -> Fault | None:
        known = self.coordinator.dataset
        if message.dataset is None and self.config.job.spec.stop_after.epochs is not None:
            text = "spec.stopAfter.epochs needs data of a known size, and this entrypoint's data is a stream"
            return Fault(
                "layout", f"{text}; allowed here: updates, samples, seconds, metric", self.shard.term
            )
        if known is not None and message.dataset != known:
            return Fault(
                "layout", f"this job's data has {known} samples, not {message.dataset}", self.shard.term
            )
        return None

    def exchanged(self, message: Exchange, reply: Reply, spoiled: bool) -> None:
        """A chunk of a push was served; the first one has the push's verdict, a later one may have `spoiled` it."""
        now = time.monotonic()
        self.coordinator.active(message.index, now)
        if message.chunk:
            if spoiled:
                self.coordinator.spoiled(message.index, now)
        elif message.steps and reply.verdict != "duplicate":
            self.coordinator.pushed(
                message.index, message.visits, message.samples, message.loss, reply.verdict, now
            )

    def parked(self, message: Pull) -> None:
        """A pull is held back."""
        if message.role == "worker":
            self.coordinator.parked(message.index)

    def pulled(self, message: Pull) -> None:
        """A pull is answered."""
        if message.role == "worker":
            self.coordinator.active(message.index, time.monotonic())

    def brought(self, index: int) -> None:
        """A worker has brought a chunk of the initial weights."""
        self.coordinator.brought(index, time.monotonic())

    def bye(self, message: Bye) -> None:
        """A member leaves."""
        if message.role == "worker":
            member = self.coordinator.members.get(message.index)
            self.coordinator.bye(message.index, message.incarnation, message.lost, time.monotonic())
            if member and member.incarnation == message.incarnation and not (message.lost or message.reason):
                self.coordinator.finished(message.index, time.monotonic())
        elif message.role == "evaluator":
            self.coordinator.meet_evaluator(None)

    def serve(self, message: Lease | Beat | Evaluated | Command) -> Message:
        """Answers the coordinator's messages."""
        now = time.monotonic()
        match message:
            case Lease():
                return self._lease(message)
            case Beat():
                return self._beat(message, now)
            case Evaluated():
                self.coordinator.evaluated(message.version, message.metrics, message.final, now)
                return Done()
            case Command():
                return self._command(message, now)

    def _lease(self, message: Lease) -> Message:
        member = self.coordinator.members.get(message.index)
        if member is None or member.incarnation != message.incarnation:
            return Fault("hello", "say hello first", self.shard.term)
        try:
            granted = self.coordinator.lease(message.index, message.request, time.monotonic())
        except UserError as error:
            return Fault("layout", str(error), self.shard.term)
        if granted.wait:
            self.shard.rest(message.index)
        return granted

    def _beat(self, message: Beat, now: float) -> Message:
        chief = self.coordinator
        if message.role == "worker":
            if not chief.heard(message.index, message.incarnation, now) and not chief.stop_reason:
                why = chief.given_up(message.index, message.incarnation)
                return Beaten(given_up=why) if why else Fault("hello", "say hello first", self.shard.term)
            if (member := chief.members.get(message.index)) and (times := message.report.get("times")):
                with suppress(msgspec.ValidationError):
                    member.times = msgspec.convert(times, WorkerTimes)
            if buffers := message.report.get("buffers"):
                self._buffers[message.index] = buffers
        elif message.role == "evaluator":
            chief.meet_evaluator(now, message.incarnation)
            if chief.evaluator.given_up and message.incarnation == chief.evaluator.incarnation:
                return Beaten(given_up=chief.evaluator.given_up)
        else:
            chief.shard_heard(message.index, now)
            self._shard_report(message)
        return Beaten(
            workers=len(chief.members),
            members={member.index: member.incarnation for member in chief.members.values()},
            stop=chief.stop_reason,
            final=chief.phase in ("evaluating", "finished"),
            save=chief.save_round if chief.save_asked is not None else 0,
            save_at=chief.save_at,
            saved=chief.saved_round,
            dataset=chief.dataset,
            resting=[member.index for member in chief.members.values() if member.resting],
            every_seconds=chief.spec.evaluation.every_seconds,
        )

    def _shard_report(self, message: Beat) -> None:
        known = self.terms.get(message.index)
        if known is not None and message.incarnation > known:
            self.coordinator.restarts["server"] += 1
        self.terms[message.index] = message.incarnation
        report = self.reports[message.index] = message.report
        if report.get("leaving") and self.coordinator.save_asked is None:
            self.ask_save()
        if self.rounds and report.get("saved"):
            part = msgspec.convert(report["part"], Part) if report.get("part") else None
            self.rounds.report(message.index, report["saved"], part, report.get("error", ""))

    def _command(self, message: Command, now: float) -> Message:
        if message.verb == "status":
            return Done(self.status_json)
        if message.verb == "stop":
            self.coordinator.stop(message.argument or "stopped", now)
        elif message.verb == "save":
            self.ask_save()
        elif message.verb == "buffers":
            return Done(msgspec.msgpack.encode(self._told_buffers()))
        else:
            return Fault("protocol", f"unknown command {message.verb!r}; known: status, stop, save, buffers")
        return Done()

    def _told_buffers(self) -> list[bytes]:
        """Buffers of the live workers, lowest first; of those that were, when none is left."""
        told = sorted(self._buffers.items())
        live = [buffers for index, buffers in told if index in self.coordinator.members]
        return live or [buffers for _, buffers in told]

    # -- checkpoints -------------------------------------------------------------------------------

    def ask_save(self) -> None:
        """Starts a save round at once, if there is anything new to save."""
        if self.shard.ready and not self.all_saved and self.coordinator.stop_reason != "diverged":
            self.coordinator.ask_save(time.monotonic(), 0)

    def state(self, now: float) -> dict[str, Any]:
        """The job's part of the checkpoint that is taken at this moment."""
        self._saved_counts = (self.coordinator.updates, self.coordinator.samples)
        return self.coordinator.state(now)

    @property
    def lost_updates(self) -> int:
        """Acknowledged updates that restarts of any shard have lost."""
        others = sum(int(report.get("lost", 0)) for report in self.reports.values())
        return self.shard.lost + self.shard.lost_before + others

    def _save_losses(self) -> None:
        """What a restart lost is known to memory alone until the next checkpoint: another death would forget it."""
        lost, chief = self.lost_updates, self.coordinator
        if (
            lost > self._lost_saved
            and not self.remembers
            and self.shard.ready
            and chief.save_asked is None
            and not chief.stop_reason
        ):
            self._lost_saved = lost
            chief.ask_save(time.monotonic(), 0)

    @property
    def all_saved(self) -> bool:
        """Nothing has changed since the newest complete round."""
        newest = self.rounds.newest if self.rounds else None
        return newest is not None and newest.updates == self.coordinator.updates

    def save_order(self) -> tuple[int, int] | None:
        """The round under way and its version."""
        if self.coordinator.save_asked is None or self.rounds is None:
            return None
        self.rounds.begin(self.coordinator.save_round)
        return self.coordinator.save_round, self.coordinator.save_at

    def save_done(self, saver: Saver) -> None:
        """Looks whether the round is complete; writes its manifest, or gives the round up when a shard failed."""
        if self.rounds is None or self.coordinator.save_asked is None:
            return
        if self.rounds.round != self.coordinator.save_round:
            # NB: asked for since the last tick; what is complete is the round before.
            return
        if saver.round == self.rounds.round:
            self.rounds.report(0, saver.round, saver.result, saver.error)
        if self.rounds.errors:
            self.checkpoint_error = self.rounds.errors[0]
        elif self.rounds.complete:
            try:
                self.rounds.write(self._manifest(), self.coordinator.spec.checkpoint.keep)
                self.checkpoint_error = ""
            except TryAgain as error:
                self.checkpoint_error = str(error)
        else:
            return
        self.coordinator.saved(time.monotonic())

    def _manifest(self) -> Manifest:
        chief, shard = self.coordinator, self.shard
        assert self.rounds is not None
        return Manifest(
            job=self.config.job.name,
            round=self.rounds.round,
            term=shard.term,
            size=shard.size or 0,
            layout=shard.layout,
            tensors=json.loads(chief.tensors or b"[]"),
            algorithm=str(self.config.job.spec.algorithm["name"]),
            updates=self._saved_counts[0],
            samples=self._saved_counts[1],
            parts=[],
            time=time.time(),
            run=self.config.run,
        )

    # -- time --------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Member]:
        """Moves time on; returns workers that were given up. A fresh model is saved as soon as it is there."""
        chief = self.coordinator
        if spec := self._live.changed(chief.spec):
            chief.change(spec)
        if self._ticked is not None and now - self._ticked > PAUSE_SECONDS:
            chief.excuse(now - self._ticked, now)
        self._ticked = now
        gone = chief.tick(now)
        fresh = self.rounds is not None and self.rounds.newest is None and chief.save_asked is None
        if fresh and self.shard.ready and not self.checkpoint_error:
            self.ask_save()
        self._save_losses()
        if self.rounds is None and chief.save_asked is not None:
            chief.saved(now)
        if now >= self._status_due:
            self._status_due = now + STATUS_SECONDS
            self.status_json = msgspec.json.encode(self.status(now))
        return gone

    def status(self, now: float) -> Status:
        """The job at this moment."""
        return build_status(self, now)
