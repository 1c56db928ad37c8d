"""What shards other than 0 do beside serving their slice: they report to shard 0 and learn from it who is a member,
which save is due and when to stop.

Pure. They never wait for shard 0: while it is away they go on serving with what they know.
"""

from __future__ import annotations

from msgspec.structs import replace

from asgd.server.facts import shard_report
from asgd.server.manifest import Manifest
from asgd.server.saving import KeepOwn, Saving
from asgd.server.shard import Shard
from asgd.server.traffic import Traffic
from asgd.spec.types import Job, JobSpec
from asgd.wire.limits import TEXT_MOST
from asgd.wire.messages import Beat, Beaten
from asgd.wire.partition import named_tensors

GRACE_SECONDS = 3.0
"""A worker that said hello here is not dropped at once when shard 0 does not list it yet."""


class Participant:
    """The duties of `shard`; `saving` is None where there is no checkpoint store."""

    def __init__(self, job: Job, run: str, shard: Shard, saving: Saving | None, traffic: Traffic) -> None:
        self._job, self._run = job, run
        self._shard, self._saving, self._traffic = shard, saving, traffic
        self._heard = Beaten()
        self._missing: dict[int, float] = {}
        self._leaving_after: int | None = None
        self._kept = 0
        self.skipped = ""
        """Which saves this start has passed over, and why."""

    @property
    def stop(self) -> str:
        """Why the job stops; empty while it runs."""
        return self._heard.stop

    def change(self, spec: JobSpec) -> None:
        """Live fields of the spec have changed."""
        self._job = replace(self._job, spec=spec)

    def hear(self, message: Beaten) -> None:
        """Shard 0 has answered a report."""
        self._heard = message
        if message.dataset is not None:
            self._shard.state.dataset = message.dataset
        for index in message.resting:
            self._shard.rest(index)

    # -- leaving -----------------------------------------------------------------------------------

    def leave(self) -> None:
        """This server was told to end: shard 0 is asked for a save first."""
        if self._leaving_after is None:
            saved = self._heard.stop and self._unchanged
            self._leaving_after = self._heard.saved - (1 if saved else 0)

    @property
    def _unchanged(self) -> bool:
        part = self._saving.part if self._saving else None
        return part is not None and part.version == self._shard.state.version

    @property
    def all_saved(self) -> bool:
        """A save that began after `leave` is complete, or the job is over and its last save too, well or not."""
        later = self._leaving_after is not None and self._heard.saved > self._leaving_after
        return later or self._heard.final

    def back(self, now: float) -> tuple[int, int, str] | None:
        """As `Primary.back`: shard 0 has gone back to a save, and this shard has not."""
        heard = self._heard
        behind = self._saving is not None and heard.rollbacks > self._shard.rollbacks
        return (heard.rollbacks, heard.back_to, "") if behind else None

    # -- time --------------------------------------------------------------------------------------

    def tick(self, now: float) -> Beat:
        """The report to shard 0. Takes up the save that it announced, and drops workers that it does not know."""
        if self._saving:
            if self._heard.save and not self.back(now):
                self._saving.order(self._heard.save, self._heard.save_at, now)
            self._keep_own(self._saving)
        self._forget(now)
        return self.beat(now)

    def beat(self, now: float) -> Beat:
        """The report of this moment."""
        report, saving = shard_report(self._shard, self._traffic), self._saving
        report.leaving = self._leaving_after is not None
        report.skipped = self.skipped[:TEXT_MOST]
        if saving:
            report.save, report.part = saving.number, saving.part
            report.error, report.store_trouble = saving.error[:TEXT_MOST], saving.trouble(now)[:TEXT_MOST]
        return Beat("shard", self._shard.index, self._shard.term, report)

    def _keep_own(self, saving: Saving) -> None:
        """The newest save is complete; in a store of its own (a pod's volume) this shard keeps its part itself."""
        number, part, shard = saving.number, saving.part, self._shard
        if part is None or not self._kept < number == self._heard.saved:
            return
        self._kept = number
        own = Manifest(
            job=self._job.name,
            save=number,
            term=shard.term,
            size=shard.size or 0,
            layout=shard.layout,
            tensors=named_tensors(shard.tensors) if shard.strategy.whole and shard.tensors else [],
            algorithm=str(self._job.spec.algorithm["name"]),
            updates=part.version,
            samples=shard.state.samples,
            parts=[part],
            time=0.0,
            run=self._run,
            rollbacks=shard.rollbacks,
        )
        # NB: shard 0 may spare one that the job may go back to yet.
        saving.ask(KeepOwn(own, shard.index, self._job.spec.checkpoint.keep + shard.rollbacks))

    def _forget(self, now: float) -> None:
        for index, incarnation in list(self._shard.members.items()):
            if self._heard.members.get(index, 0) >= incarnation or not self._heard.workers:
                self._missing.pop(index, None)
            elif now - self._missing.setdefault(index, now) > GRACE_SECONDS:
                self._shard.leave(index, incarnation)
                self._missing.pop(index, None)
