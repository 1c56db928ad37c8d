"""What shard 0 decides for the whole job: members, leases of data, save rounds, evaluation, and when to stop.

Pure: it is told what happened and what time it is (seconds, monotonic) and changes its state; shard 0's server asks
it and sends. The life of a job: starting -> running -> stopping (no more leases, workers finish their push and leave)
-> saving (final checkpoint) -> evaluating -> finished. Each of these ends by itself (docs/reference/waiting.md). A
finished coordinator keeps answering Stop until its process is removed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from asgd.errors import UserError
from asgd.server import kept
from asgd.server.agreement import Agreement
from asgd.server.divergence import BAD
from asgd.server.diverging import Diverging
from asgd.server.mean import Mean
from asgd.server.members import Member
from asgd.server.pool import ANY, Pool, Span, Wanted
from asgd.server.rates import Rates
from asgd.server.rhythm import Counts, next_update, passed
from asgd.spec.types import JobSpec
from asgd.wire.limits import FIGURES_MOST
from asgd.wire.messages import Granted

RETURN_SECONDS = 2.0
"""Within so long after a restart every worker that lives has said hello: it repeats it each second."""
LOSS_KEEPS, MEMBER_KEEPS = 0.95, 0.9
"""How much of its weight a loss keeps with each further push in the mean of the job, and of one worker."""
PAUSE_SECONDS = 2.0
"""Time moves on in steps of at most this; a longer one means that this process did not run."""


class Coordinator(Diverging):
    """Decides for one job. `now` is seconds on any monotonic clock; `run` names this start of the job."""

    def __init__(self, spec: JobSpec, run: str = "") -> None:
        super().__init__(spec)
        self.run = run
        self.dataset: int | None = None
        self.tensors = b""
        self.guarantee = ""
        self.updates = 0
        self.samples = 0
        self.seconds_before = 0.0
        self.last_push = 0.0
        self.mean_loss = Mean()
        self.mean_scalars: dict[str, Mean] = {}
        """Of what the loss function returns beside the loss."""
        self.agreement = Agreement()
        self.rates = Rates()
        self.save_round = 0
        self.save_at = 0
        self.save_asked: float | None = None
        self.saved_round = 0
        self.last_save = 0.0
        self.saved_at = Counts()
        """How far the job was, or is to be, in the newest save that fell due by updates or epochs."""
        self.by_rounds = False
        """Versions count rounds, and not updates."""
        self.returning_until = 0.0
        """After a restart: workers of the earlier start may still say hello, and tell what they have seen of it."""
        self._saved_changes = 0

    # -- data and pushes ---------------------------------------------------------------------------

    def describe_data(self, dataset: int | None, guarantee: str, tensors: bytes) -> None:
        """The first worker tells the data's size and the model's layout."""
        self.tensors = tensors or self.tensors
        if dataset is not None or self.pool is None:
            # NB: a loop of its own that has not told its data yet promises nothing.
            self.guarantee = guarantee or self.guarantee
        if dataset is None or self.pool is not None:
            return
        self.dataset = dataset
        self.pool = Pool(dataset, self.spec.batch_size, self.spec.stop_after.epochs)

    def agree(self, who: str, digest: bytes) -> None:
        """Member `who` has told what its data and model are like: the first one speaks for the job."""
        if said := self.agreement.meet(who, digest):
            self.notices.add(said, "data")
        self.changes += bool(said)

    def lease(self, index: int, request: int, now: float, wanted: Wanted = ANY) -> Granted:
        """The next range of samples for a worker; the same one again when its request number `request` is repeated.

        NB: requests that were overtaken on their way do not come here: `admission.py` refuses them.
        """
        member = self.members.get(index)
        if self.stop_reason or member is None:
            return Granted(over=bool(self.stop_reason), wait=not self.stop_reason)
        if self.pool is None:
            raise UserError("leases are for map-style datasets; this job's data is a stream")
        if member.granted is None or member.asked != request:
            member.granted = self._grant(self.pool, index, wanted, now)
            member.asked, member.resting = request, member.granted.wait
        if not (member.resting and self.held(index)):
            # NB: who asks again and again, and never pushes what it holds, makes no progress.
            self._progressed(member, now)
        return member.granted

    def _grant(self, pool: Pool, index: int, wanted: Wanted, now: float) -> Granted:
        if wanted.skipped:
            pool.visit(index, wanted.skipped)
            self._check_stop(now)
        if span := pool.lease(index, len(self.members), wanted.batch, wanted.until):
            return Granted(*span)
        passed = wanted.until >= 0 and pool.more
        return Granted(wait=not pool.done and not passed, over=pool.done, passed=passed)

    @property
    def requests(self) -> dict[int, int]:
        """{worker: number of its newest request for a lease}"""
        return {member.index: member.asked for member in self.members.values()}

    def change(self, spec: JobSpec) -> None:
        """Live fields of the spec have changed."""
        self.spec = spec
        if self.pool:
            self.pool.end_after(spec.stop_after.epochs)

    def pushed(
        self, index: int, visits: list[Span], samples: int, loss: float | None, verdict: str, now: float,
        scalars: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        """Shard 0 gave a push its verdict; whatever that is, it is a sign of life and of progress."""
        self.first_push = now if self.first_push is None else self.first_push
        self.last_push = now
        if member := self.members.get(index):
            member.heard = now
            self.active(index, now)
            member.debt.pace.pushed(now - member.joined)
        if verdict in BAD:
            self.divergence.refuse(index)
            self._unusable(index, visits, now, verdict)
            self._check_bad(now)
            self._check_stop(now)
            return
        if verdict != "applied":
            if self.pool:
                self.pool.refuse(index, visits)
            return
        self.divergence.accepted(index)
        self.updates += 1
        self.samples += samples
        self.rates.add(now, samples)
        if self.pool and visits:
            self.pool.visit(index, visits)
        if member:
            member.unusable_in_a_row = 0
            member.samples += samples
            member.mean_loss.add(loss, MEMBER_KEEPS)
        for name, value in (scalars or {}).items():
            if name in self.mean_scalars or len(self.mean_scalars) < FIGURES_MOST:
                self.mean_scalars.setdefault(name, Mean()).add(value, LOSS_KEEPS)
        if loss is not None:
            self._note_loss(index, loss, now)
        self._check_stop(now)

    def dropped(self, index: int, visits: list[Span], now: float) -> None:
        """A worker has left out one batch that was not finite, and goes on: no sign of divergence."""
        if member := self.members.get(index):
            member.heard = now
            self.active(index, now)
        self._unusable(index, visits, now)
        self._check_stop(now)

    def _note_loss(self, index: int, loss: float, now: float) -> None:
        self.mean_loss.add(loss, LOSS_KEEPS)
        if self.divergence.loss(index, loss, self.loss, self.spec.divergence, len(self.members)):
            self._diverge(now)

    def rolled_back(self, samples: int) -> None:
        """A restart of shard 0 has lost updates: their samples are visited again."""
        if self.pool:
            self.pool.revisited += samples

    @property
    def loss(self) -> float | None:
        """The mean over the newest pushes."""
        return self.mean_loss.value

    @property
    def epochs(self) -> float:
        """Passes over the data, as visited samples / size; for streams 0."""
        return self.pool.visited / self.pool.size if self.pool else 0.0

    @property
    def counts(self) -> Counts:
        """How far the job is."""
        return Counts(self.updates, self.epochs)

    def trained_seconds(self, now: float) -> float:
        """Seconds since the first push, accepted or not, earlier starts included."""
        if self.first_push is None:
            return self.seconds_before
        end = self.last_push if self.stop_reason else now
        return self.seconds_before + end - self.first_push

    # -- stop --------------------------------------------------------------------------------------

    def finished(self, index: int, now: float) -> None:
        """A worker's own loop or stream came to its end; when all have, so has the job."""
        self.finished_loops.add(index)
        self.changes += 1
        self._check_stop(now)

    def _check_stop(self, now: float) -> None:
        rule = self.spec.stop_after
        if self.pool and self.pool.done:
            self.stop("epochs", now)
        elif rule.updates is not None and self.updates >= rule.updates:
            self.stop("updates", now)
        elif rule.samples is not None and self.samples >= rule.samples:
            self.stop("samples", now)
        elif rule.seconds is not None and self.trained_seconds(now) >= rule.seconds:
            self.stop("seconds", now)
        elif self.finished_loops and not self.members and not self.unfinished(now):
            self.stop("ended", now)

    # -- time --------------------------------------------------------------------------------------

    def excuse(self, seconds: float, now: float) -> None:
        """This process itself stood still for so long (a frozen machine, a stopped process): nobody was silent then."""
        super().excuse(seconds, now)
        self.evaluator.excuse(seconds, now)
        self.phase_since = min(now, self.phase_since + seconds)
        if self.save_asked is not None:
            self.save_asked = min(now, self.save_asked + seconds)

    def tick(self, now: float) -> list[Member]:
        """Moves time on; returns workers that were given up."""
        gone = self._look_at_members(now)
        if self.phase == "starting":
            self._start(now)
        if not self.stop_reason:
            self._check_stop(now)
            self._check_save(now)
            self._look_at_evaluator(now)
        if self.phase == "stopping" and self._drained(now):
            self._finish(now)
        if self.phase == "saving" and self.save_asked is None:
            self._enter("evaluating", now)
        if self.phase == "evaluating":
            self._end_evaluation(now)
        return gone

    def _start(self, now: float) -> None:
        if self.stop_reason:
            # NB: shard 0 was restarted while the job was ending.
            self._enter("stopping", now)
        elif self.updates:
            self._enter("running", now)

    def _finish(self, now: float) -> None:
        """Workers are gone: a final checkpoint, except of weights that diverged (nobody wants those back)."""
        if self.stop_reason == "diverged" or not self.updates:
            self._enter("finished", now)
            return
        self.ask_save(now, self.updates)
        self._enter("saving", now)

    def _drained(self, now: float) -> bool:
        if not self.members:
            # NB: a job that ends at once after a restart would miss updates in its count of lost ones.
            return now >= self.returning_until
        return now - self.phase_since > self.spec.workers.drain_seconds

    # -- saves -------------------------------------------------------------------------------------

    def _check_save(self, now: float) -> None:
        if self.save_asked is not None or not self.updates or self.divergence.suspected or self.going_back:
            return
        ahead = 0 if self.by_rounds else math.ceil(self.rates.updates_per_second(now) * 0.6) + 1
        seconds = self.spec.checkpoint.seconds
        if self._check_counted_save(now, ahead):
            return
        if seconds and now - self.last_save >= seconds:
            self.ask_save(now, self.updates + ahead)
        elif self.changes > self._saved_changes:
            self.ask_save(now, self.updates)

    def _check_counted_save(self, now: float, ahead: int) -> bool:
        """Whether a save by updates or epochs was asked for. One by updates is announced ahead."""
        rhythm = self.spec.checkpoint
        target = next_update(rhythm, self.saved_at)
        if target is not None and self.updates + ahead >= target:
            version = max(target, self.updates)
            self.saved_at = Counts(version, self.epochs)
        elif passed(rhythm, self.saved_at, self.counts):
            version, self.saved_at = self.updates, self.counts
        else:
            return False
        self.ask_save(now, 0 if self.by_rounds else version)
        return True

    def ask_save(self, now: float, version: int) -> None:
        """Starts a save round: every shard saves when it reaches `version`."""
        self.save_round += 1
        self.save_at, self.save_asked = version, now
        self._saved_changes = self.changes

    def saved(self, now: float) -> None:
        """The newest save has ended: its manifest was written, or it was given up (`collecting.py` bounds it)."""
        self.saved_round, self.save_asked, self.last_save = self.save_round, None, now

    def state(self, now: float) -> dict[str, Any]:
        """What shard 0's checkpoint keeps of the job (`kept.py`), as JSON-able values."""
        return kept.capture(self, now)

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a checkpoint's state; leases that were out are open again. Raises UserError when it is none."""
        kept.take_over(self, state)
