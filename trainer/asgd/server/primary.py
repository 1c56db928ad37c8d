"""What shard 0 does beside serving its slice: it speaks for the coordinator, collects the others' reports and saves,
and tells the job's `Status`.

Pure: between the `Coordinator`, which decides for the job, and the messages of members, shards and people.
"""

from __future__ import annotations

from typing import Any

import msgspec

from asgd.algorithms.registry import strategy
from asgd.errors import ProtocolError, UserError
from asgd.server import kept, outliers
from asgd.server.advising import Advising
from asgd.server.beaten import beaten
from asgd.server.collecting import Collecting
from asgd.server.commands import Commands
from asgd.server.coordinator import PAUSE_SECONDS, RETURN_SECONDS, Coordinator
from asgd.server.facts import JobFacts, save_error, serving, shard_report
from asgd.server.failures import Failures
from asgd.server.pool import Wanted
from asgd.server.rhythm import Counts, needs_size
from asgd.server.saving import Restored, Saving
from asgd.server.shard import Shard, named
from asgd.server.traffic import Traffic
from asgd.server.view import build_status
from asgd.spec.status import Status
from asgd.spec.types import Job, JobSpec
from asgd.wire.messages import (
    Beat,
    Beaten,
    Bye,
    Command,
    Done,
    Evaluated,
    Exchange,
    Failed,
    Fault,
    Hello,
    Init,
    Lease,
    Message,
    Pull,
    Reply,
    Welcome,
)
from asgd.wire.reports import ShardReport, WorkerReport
from asgd.wire.rule import sentence

STATUS_SECONDS = 0.2


class Primary:
    """The duties of shard 0 of `job`; `saving` is None where there is no checkpoint store."""

    def __init__(self, job: Job, run: str, shard: Shard, saving: Saving | None, traffic: Traffic) -> None:
        self.job, self.shard, self.traffic, self._saving = job, shard, traffic, saving
        self.coordinator = Coordinator(job.spec, run)
        self.coordinator.by_rounds = shard.strategy.rounds
        self.collecting = Collecting(job, run, shard, self.coordinator, saving) if saving else None
        self.reports: dict[int, ShardReport] = {}
        self.terms: dict[int, int] = {0: shard.term}
        self.told: Status | None = None
        """The newest status; it is made at intervals and never changed, so every thread may read it."""
        self.status_json = b"{}"
        self.remembers = False
        """A restart finds what was lost before in memory."""
        self._commands = Commands(self.coordinator, self.collecting)
        self._failures = Failures()
        self._advising = Advising(
            job.spec, strategy(str(job.spec.algorithm["name"])).counts, rounds=shard.strategy.rounds,
            waits=shard.strategy.pulls_wait,
        )  # fmt: skip
        self._status_due = 0.0
        self._ticked: float | None = None
        self._rolled_back = 0
        self._lost_saved = 0

    @property
    def stop(self) -> str:
        """Why the job stops; empty while it runs."""
        return self.coordinator.stop_reason

    def restore(self, found: Restored, state: dict[str, Any], now: float) -> None:
        """Takes over the job's `state` from what was `found`; with `found.back` the job goes back to it."""
        coordinator = self.coordinator
        coordinator.load(state)
        coordinator.last_save = now
        saved = found.manifest.updates if found.manifest else coordinator.updates
        coordinator.saved_at = Counts(saved, coordinator.epochs)
        if returns := state["run"] == coordinator.run:  # another start resumes the job, and restarts nothing
            coordinator.returning_until = now + RETURN_SECONDS
        self.shard.state.dataset, self.shard.tensors = coordinator.dataset, coordinator.tensors
        self._rolled_back = self.shard.losses.samples
        if self.collecting:
            if returns and state["stopReason"] == "" and not found.back:
                coordinator.restarts["server"] += 1
            self.collecting.restored(found.manifest, now - found.age)
        if found.back:
            kept.pass_on(coordinator, found.back.job or {})
            coordinator.gone_back(found.back)

    # -- members -----------------------------------------------------------------------------------

    def refusal(self, message: Hello) -> Fault | None:
        """Why a peer can't join, as far as the job is concerned; None when it may.

        NB: who differs hears so also when the job is over.
        """
        agreement, own_loop = self.coordinator.agreement, message.own_loop
        if unlike := agreement.refusal(named(message), message.digest, own_loop=own_loop):
            return self._unlike(unlike)
        if message.role != "worker":
            return None
        if self.stop:
            return self.shard.unlike(message) or Fault("stopped", self.stop, self.shard.term)
        if self.coordinator.roster.left(message.index, message.incarnation):
            # NB: a hello that comes late or twice; nobody is there any more whose end could be waited for.
            return Fault("session", f"this worker {message.index} has said goodbye", self.shard.term)
        known = self.coordinator.dataset
        if message.dataset is None and message.own_loop:
            return None
        if message.dataset is None and (needs := needs_size(self.job.spec)):
            field, others = needs
            text = f"spec.{field} needs data of a known size, and this entrypoint's data is a stream"
            return self._unlike(f"{text}; allowed here: {others}")
        if known is not None and message.dataset != known:
            return self._unlike(f"this job's data has {known} samples, not {message.dataset}")
        return None

    def _unlike(self, text: str) -> Fault:
        return Fault("layout", text, self.shard.term)

    def joined(self, message: Hello, answer: Welcome, now: float) -> int:
        """The shard has welcomed a peer; the first worker describes the data. The number of a worker's membership."""
        coordinator = self.coordinator
        coordinator.agree(named(message), message.digest)
        if message.role == "evaluator":
            coordinator.meet_evaluator(now, message.incarnation)
        if message.role != "worker":
            return 0
        if message.evaluates:
            coordinator.await_evaluator()
        coordinator.hello(
            message.index, message.incarnation, message.node, now, answer.bring, message.own_loop
        )
        coordinator.describe_data(message.dataset, message.guarantee, message.tensors)
        self.shard.state.dataset = coordinator.dataset
        coordinator.rolled_back(self.shard.losses.samples - self._rolled_back)
        self._rolled_back = self.shard.losses.samples
        member = coordinator.members.get(message.index)
        return member.number if member else 0

    def left(self, message: Bye, now: float) -> None:
        """A member leaves."""
        coordinator = self.coordinator
        if message.role == "worker":
            member = coordinator.members.get(message.index)
            coordinator.bye(message.index, message.incarnation, message.lost, now)
            # NB: also who is no member of this start: its loop ended while shard 0 came back, and it is gone for good.
            newest = member is None or member.incarnation == message.incarnation
            workers = coordinator.spec.workers
            known = message.index < max(workers.replicas, workers.max_replicas)
            if newest and known and not (message.lost or message.reason):
                coordinator.finished(message.index, now)
                self.shard.recorder.ended(message.index)
        elif message.role == "evaluator":
            coordinator.leave_evaluator(message.lost, now)

    # -- pushes ------------------------------------------------------------------------------------

    def exchanged(self, message: Exchange, reply: Reply, spoiled: bool, now: float) -> None:
        """A chunk of a push was served: the first one has the push's verdict, a later one may have `spoiled` it."""
        self._failures.pushed(message.index)
        fresh, undone = reply.verdict != "duplicate", reply.verdict == "refused:rollback"
        if message.bare and not message.finite and not message.steps and fresh and not undone:
            self.coordinator.dropped(message.index, message.visits, now)
            return
        if not message.chunk and (message.steps or undone) and fresh:
            verdict, figures = reply.verdict, message.scalars
            self.coordinator.pushed(
                message.index, message.visits, message.samples, message.loss, verdict, now, figures
            )
            return
        self.coordinator.active(message.index, now)
        if spoiled and message.chunk:
            self.coordinator.spoiled(message.index, reply.verdict, now)

    def pulled(self, message: Pull, parked: bool, now: float) -> None:
        """A pull is answered, or held back until something changes."""
        if message.role == "evaluator" and not message.chunk:
            self.coordinator.pulled(self.shard.state.version)
        if message.role != "worker":
            return
        if parked:
            self.coordinator.parked(message.index)
        else:
            self.coordinator.active(message.index, now)

    def brought(self, message: Init, now: float) -> None:
        """A worker has brought a chunk of the initial weights."""
        self.coordinator.brought(message.index, now)

    # -- what the coordinator is asked -------------------------------------------------------------

    def serve(self, message: Lease | Beat | Evaluated | Command | Failed, now: float) -> Message:
        """Answers the coordinator's messages. Raises ProtocolError on a report that its sender has no business with."""
        match message:
            case Lease():
                return self._lease(message, now)
            case Beat():
                return self._beat(message, now)
            case Evaluated():
                at = self.coordinator.counts_of(message.version)
                self.coordinator.evaluated(
                    at.updates, message.metrics, message.final, now, message.error, epochs=at.epochs,
                    of_script=message.role == "worker",
                )  # fmt: skip
                if message.role == "evaluator":
                    self._best_kept(message)
                return Done(str(at.updates).encode())
            case Failed():
                return self._failed(message)
            case Command():
                return self._commands.serve(message, self.status_json, now)

    def _lease(self, message: Lease, now: float) -> Message:
        member = self.coordinator.members.get(message.index)
        # NB: a request that an earlier server was asked may come late, when nobody waits for its answer any more.
        known = message.term in (0, self.shard.term)
        if member is None or member.incarnation != message.incarnation or not known:
            return Fault("hello", "say hello first", self.shard.term)
        try:
            wanted = Wanted(message.batch, message.until, message.skipped)
            granted = self.coordinator.lease(message.index, message.request, now, wanted)
        except UserError as error:
            return self._unlike(str(error))
        if granted.wait:
            self.shard.rest(message.index)
        return msgspec.structs.replace(granted, term=self.shard.term, membership=member.number)

    def _beat(self, message: Beat, now: float) -> Message:
        coordinator, report = self.coordinator, message.report
        if message.role == "worker":
            member = coordinator.heard(message.index, message.incarnation, now)
            if why := "" if member else coordinator.given_up(message.index, message.incarnation):
                return Beaten(given_up=why)
            if not member and not coordinator.stop_reason:
                return Fault("hello", "say hello first", self.shard.term)
            if isinstance(report, WorkerReport):
                self._worker_report(message.index, report, now)
        elif message.role == "evaluator":
            coordinator.meet_evaluator(now, message.incarnation)
            if why := coordinator.evaluator.given_up:
                return Beaten(given_up=why)
        elif message.role == "shard" and isinstance(report, ShardReport):
            if fault := self._shard_report(message, report, now):
                return fault
        else:
            raise ProtocolError(f"a beat of role {message.role!r} with a report of another")
        return beaten(coordinator, self.collecting, self.shard.rollbacks, message.role)

    def _best_kept(self, message: Evaluated) -> None:
        if self._saving is None or self.job.spec.checkpoint.best is None:
            return
        self.coordinator.keeps_best(message.best, self._saving.facts.uri, message.trouble)

    def _worker_report(self, index: int, report: WorkerReport, now: float) -> None:
        if member := self.coordinator.members.get(index):
            member.times, member.phases = report.times, report.phases
            member.lane, member.phases_at = report.lane, now
        if report.buffers:
            self._commands.buffers[index] = report.buffers

    def tell_skipped(self, text: str) -> None:
        """A shard has passed over saves that are not whole: told once, although all shards may say so."""
        notices = self.coordinator.notices
        if text and all(notice.text != text for notice in notices.newest):
            notices.add(text, "checkpoint")

    def _shard_report(self, message: Beat, report: ShardReport, now: float) -> Fault | None:
        known = self.terms.get(message.index)
        if known is not None and message.incarnation < known:
            return Fault("fenced", f"there is a shard {message.index} of term {known}", self.shard.term)
        before, self.reports[message.index] = self.reports.get(message.index), report
        goes_back = before is not None and report.rollbacks > before.rollbacks
        if known is not None and message.incarnation > known and not goes_back:
            self.coordinator.restarts["server"] += 1
        self.terms[message.index] = message.incarnation
        self.tell_skipped(report.skipped)
        if report.ready:
            self.coordinator.shard_heard(message.index, now)
        for worker, count in report.suspects.items():
            told = before.suspects.get(worker, 0) if before else 0
            # NB: the first report to a shard 0 that was started anew is of pushes of before.
            if worker not in self.coordinator.suspects or (before and count > told):
                self.coordinator.suspect(worker, outliers.sentence(self.job.spec.outliers), now)
        if self.collecting:
            self.collecting.report(message.index, report)
            if report.leaving and not self.collecting.under_way:
                self.collecting.ask(now)
        return None

    def _failed(self, message: Failed) -> Message:
        coordinator = self.coordinator
        seats = set(range(coordinator.spec.workers.replicas)) | coordinator.members.keys()
        everybody = self._failures.failed(
            message.index, message.incarnation, message.place, seats, coordinator.seen
        )
        return Done(b"everybody" if everybody and not self.stop else b"")

    # -- time --------------------------------------------------------------------------------------

    def change(self, spec: JobSpec) -> None:
        """Live fields of the spec have changed."""
        self.job = msgspec.structs.replace(self.job, spec=spec)
        self.coordinator.change(spec)
        self._advising.spec = spec

    def back(self, now: float) -> tuple[int, int, str] | None:
        """Number of the rollback that is due, the save that the job goes back to, and why; None: there is none."""
        if self.collecting:
            others = max((report.rollbacks for report in self.reports.values()), default=0)
            return self.collecting.back(others, now)
        if self.coordinator.going_back:
            self.coordinator.stay(now)
        return None

    def tick(self, now: float) -> None:
        """Moves time on. A fresh model, and what a restart has lost, are saved as soon as they are there."""
        coordinator = self.coordinator
        if self._ticked is not None and now - self._ticked > PAUSE_SECONDS:
            coordinator.excuse(now - self._ticked, now)
        self._ticked = now
        for member in coordinator.tick(now):
            self.shard.leave(member.index, member.incarnation)
        self._commands.tick()
        if self.collecting:
            if self.collecting.newest is None and not self.collecting.under_way and not self.collecting.error:
                self.collecting.ask(now)
            self._save_losses(self.collecting, now)
            self.collecting.tick(now)
        elif coordinator.save_asked is not None:
            coordinator.saved(now)
        if now >= self._status_due:
            self._status_due = now + STATUS_SECONDS
            facts = self.facts(now)
            if coordinator.phase == "running" and not coordinator.stop_reason:
                self._advising.look(coordinator.members, facts, now)
            self._commands.rejected = facts.rejected
            self.told = build_status(coordinator, facts, now)
            self.status_json = msgspec.json.encode(self.told)

    def _save_losses(self, collecting: Collecting, now: float) -> None:
        """What a restart lost is known to memory alone until the next save: another death would forget it."""
        own = self.shard.losses.updates
        lost = own + sum(report.lost for report in self.reports.values())
        over = self.stop or self.coordinator.going_back
        free = self.shard.ready and not over and not collecting.under_way
        if lost > self._lost_saved and free and not self.remembers:
            self._lost_saved = lost
            self.coordinator.ask_save(now, 0)

    # -- what it looks like ------------------------------------------------------------------------

    def status(self, now: float) -> Status:
        """The job at this moment."""
        return build_status(self.coordinator, self.facts(now), now)

    def facts(self, now: float) -> JobFacts:
        """What is known beside the coordinator."""
        others = range(1, self.shard.shards)
        return JobFacts(
            job=self.job.name,
            shards=[
                shard_report(self.shard, self.traffic),
                *(self.reports.get(i) or ShardReport() for i in others),
            ],
            terms=[self.terms.get(index, 0) for index in range(self.shard.shards)],
            refused_messages=self.traffic.refused_by_reason,
            rejected=list(self.shard.state.facts.get("rejected", [])),
            ever_rejected=list(self.shard.state.facts.get("everRejected", [])),
            figures=self.shard.strategy.tells(self.shard.state),
            optimizer=sentence(self.shard.rule),
            save=self.collecting.facts(now) if self.collecting else None,
            save_error=self._save_error(now),
            serving=serving(self.traffic),
            staleness_of=self.shard.staleness_of,
            advice=self._advising.told,
        )

    def _save_error(self, now: float) -> str:
        if self._saving is None or self.collecting is None:
            return ""
        return save_error(self._saving.trouble(now), self.reports, self.collecting.error)
