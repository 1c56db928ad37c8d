"""What shard 0 decides for the whole job: members, leases of data, save rounds, evaluation, and when to stop.

Pure: it is told what happened and what time it is (seconds, monotonic) and changes its state. The core asks it.
The life of a job: starting -> running -> stopping (no more leases, workers finish their push and leave) -> saving
(final checkpoint) -> evaluating -> finished. A finished coordinator keeps answering Stop until its process is removed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from asgd.errors import UserError
from asgd.server.pool import Pool, Span
from asgd.server.rates import Rates
from asgd.spec.status import WorkerTimes
from asgd.spec.types import JobSpec
from asgd.wire.messages import Granted

MEMBER_TIMEOUT_SECONDS = 10.0
"""Heartbeats come once a second from a thread of their own; a compile or a long step does not silence them."""

EVALUATOR_TIMEOUT_SECONDS = 15.0
PAUSE_SECONDS = 2.0
"""Time moves on in steps of at most this; a longer one means that this process did not run."""
DIVERGED_LEAST = 10
"""So many non-finite pushes in a row (and at least 3 for each worker) end the job as diverged."""
LOSS_EXPLODED = 1e4
"""So many times the first loss (at least 1), push after push, is diverged before anything is non-finite."""
LOSS_HIGH, HIGH_LEAST = 100.0, 200
"""So many times the first loss in most of so many pushes is diverged too: dead units and Adam's bounded steps can keep
a ruined model's loss finite for ever. A spike that training recovers from is shorter."""


@dataclass(slots=True)
class Member:
    """A worker that joined; kept after its end for the report."""

    index: int
    incarnation: int
    joined: float
    heard: float
    node: str = ""
    ended: float | None = None
    state: str = "running"
    samples: int = 0
    loss: float | None = None
    resting: bool = False
    """No data for it now: it neither computes nor pushes, and nobody must wait for it."""
    times: WorkerTimes = field(default_factory=WorkerTimes)
    number: int = 0
    """Memberships are numbered within a term of shard 0: a worker that was given up begins another."""
    asked: int = 0
    granted: Granted | None = None
    """The answer to its newest request for a lease: a request that is repeated gets no second one."""


class Coordinator:
    """Decides for one job. `now` is seconds on a monotonic clock that starts when this object is made."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.members: dict[int, Member] = {}
        self.past: list[Member] = []
        self.pool: Pool | None = None
        self.dataset: int | None = None
        self.tensors = b""
        self.guarantee = ""
        self.phase = "starting"
        self.stop_reason = ""
        self.updates = 0
        self.samples = 0
        self.seconds_before = 0.0
        self.first_push: float | None = None
        self.last_push = 0.0
        self.loss: float | None = None
        self.first_loss: float | None = None
        self.metrics: dict[str, float] = {}
        self.metrics_at = -1
        self.rates = Rates()
        self.evaluator_heard: float | None = None
        self.evaluator_awaited = False
        """Workers say that the task has an evaluation, and no evaluator has joined or left yet."""
        self.save_round = 0
        self.save_at = 0
        self.save_asked: float | None = None
        self.saved_round = 0
        self.last_save = 0.0
        self._evaluator_came = False
        self._finished: set[int] = set()
        self._memberships = 0
        self._bad = 0
        self._spoiled: set[int] = set()
        """Workers whose newest push was accepted, and then turned out not to be finite."""
        self._exploded = 0
        self._high = 0
        self._stopping_since = 0.0
        self._evaluating_since = 0.0
        self.restarts: dict[str, int] = {"worker": 0, "server": 0}

    # -- members -----------------------------------------------------------------------------------

    def hello(self, index: int, incarnation: int, node: str, now: float) -> None:
        """A worker joined or came back."""
        known = self.members.get(index)
        if known and known.incarnation >= incarnation:
            # An older one is a zombie: the shard refuses it.
            known.heard = now if known.incarnation == incarnation else known.heard
            return
        if known:
            self._end(known, "lost", now)
        if any(member.index == index for member in self.past):
            self.restarts["worker"] += 1
        before = next(
            (m for m in reversed(self.past) if (m.index, m.incarnation) == (index, incarnation)), None
        )
        self._memberships += 1
        self.members[index] = Member(
            index, incarnation, now, now, node, number=self._memberships, asked=before.asked if before else 0
        )

    def describe_data(self, dataset: int | None, guarantee: str, tensors: bytes) -> None:
        """The first worker tells the data's size and the model's layout."""
        self.guarantee, self.tensors = guarantee or self.guarantee, tensors or self.tensors
        if dataset is None or self.pool is not None:
            return
        self.dataset = dataset
        self.pool = Pool(dataset, self.spec.batch_size, self.spec.stop_after.epochs)

    def bye(self, index: int, incarnation: int, lost: bool, now: float) -> None:
        """A worker left, or its parent says that it died."""
        member = self.members.get(index)
        if member and member.incarnation == incarnation:
            self._end(member, "lost" if lost else "left", now)

    def finished(self, index: int, now: float) -> None:
        """A worker's own loop or stream came to its end; when all have, and nobody is left, so has the job."""
        self._finished.add(index)
        self._check_stop(now)

    def _end(self, member: Member, state: str, now: float) -> None:
        member.state, member.ended = state, now
        self.past.append(self.members.pop(member.index))
        if self.pool:
            self.pool.release(member.index)

    def heard(self, index: int, incarnation: int, now: float) -> bool:
        """A worker's heartbeat; False when it is not a member (it was given up) and must say hello again."""
        member = self.members.get(index)
        if member is None or member.incarnation != incarnation:
            return False
        member.heard = now
        return True

    # -- data and pushes ---------------------------------------------------------------------------

    def lease(self, index: int, request: int) -> Granted:
        """The next range of samples for a worker; the same one again when its request number `request` is repeated."""
        member = self.members.get(index)
        if self.stop_reason or member is None:
            return Granted(over=bool(self.stop_reason), wait=not self.stop_reason)
        if self.pool is None:
            raise UserError("leases are for map-style datasets; this job's data is a stream")
        if request < member.asked:
            # NB: it was overtaken on its way, and nobody waits for its answer: what it got would never be visited.
            return Granted(wait=True)
        if member.granted is None or member.asked != request:
            span = self.pool.lease(index, len(self.members))
            over = span is None and self.pool.done
            member.granted = Granted(*span) if span else Granted(wait=not over, over=over)
            member.asked, member.resting = request, member.granted.wait
        return member.granted

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
        self, index: int, visits: list[Span], samples: int, loss: float | None, verdict: str, now: float
    ) -> None:
        """Shard 0 gave a push its verdict; whatever that is, it is a sign of life."""
        if member := self.members.get(index):
            member.heard = now
        if verdict == "refused:nonfinite":
            self._bad += 1
        if verdict != "applied":
            if self.pool:
                self.pool.refuse(index, visits)
            self._check_bad(now)
            return
        if index in self._spoiled:
            self._spoiled.discard(index)
        else:
            self._bad = 0
        self.updates += 1
        self.samples += samples
        self.first_push = now if self.first_push is None else self.first_push
        self.last_push = now
        self.rates.add(now, samples)
        if self.pool and visits:
            self.pool.visit(index, visits)
        if member:
            member.samples += samples
            member.loss = _smooth(member.loss, loss, 0.9)
        if loss is not None:
            self._note_loss(loss, now)
        self._check_stop(now)

    def spoiled(self, index: int, now: float) -> None:
        """A push that was accepted turned out to be non-finite in a later chunk (pushes that leave during backward).

        NB: its first chunk was good, and so will that of the next one be: it does not end the row.
        """
        self._spoiled.add(index)
        self._bad += 1
        self._check_bad(now)

    def _check_bad(self, now: float) -> None:
        if self._bad >= max(DIVERGED_LEAST, 3 * len(self.members)):
            self.stop("diverged", now)

    def _note_loss(self, loss: float, now: float) -> None:
        self.loss = _smooth(self.loss, loss, 0.95)
        if self.first_loss is None and math.isfinite(loss):
            self.first_loss = loss
        times = loss / max(abs(self.first_loss or 0.0), 1.0) if math.isfinite(loss) else math.inf
        self._exploded = self._exploded + 1 if times > LOSS_EXPLODED else 0
        self._high = self._high + 1 if times > LOSS_HIGH else max(0, self._high - 2)
        workers = len(self.members)
        exploded = self._exploded >= max(2 * DIVERGED_LEAST, 5 * workers)
        if exploded or self._high >= max(HIGH_LEAST, 20 * workers):
            self.stop("diverged", now)

    def rolled_back(self, samples: int) -> None:
        """A restart of shard 0 has lost updates: their samples are visited again."""
        if self.pool:
            self.pool.revisited += samples

    @property
    def epochs(self) -> float:
        """Passes over the data, as visited samples / size; for streams 0."""
        return self.pool.visited / self.pool.size if self.pool else 0.0

    def trained_seconds(self, now: float) -> float:
        """Seconds since the first accepted push, earlier starts included."""
        if self.first_push is None:
            return self.seconds_before
        end = self.last_push if self.stop_reason else now
        return self.seconds_before + end - self.first_push

    # -- stop --------------------------------------------------------------------------------------

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
        elif self._finished and not self.members and len(self._finished) >= self.spec.workers.replicas:
            self.stop("ended", now)

    def stop(self, reason: str, now: float) -> None:
        """Ends the job; the first reason stays."""
        if not self.stop_reason:
            self.stop_reason, self.phase, self._stopping_since = reason, "stopping", now

    def evaluated(self, version: int, metrics: dict[str, float], final: bool, now: float) -> None:
        """The evaluator's result."""
        self.metrics, self.metrics_at = dict(metrics), version
        if final and self.phase == "evaluating":
            self.phase = "finished"
        rule = self.spec.stop_after.metric
        if rule is None or rule.name not in metrics:
            return
        value = metrics[rule.name]
        if (rule.at_least is not None and value >= rule.at_least) or (
            rule.at_most is not None and value <= rule.at_most
        ):
            self.stop("metric", now)

    # -- time --------------------------------------------------------------------------------------

    def excuse(self, seconds: float, now: float) -> None:
        """This process itself stood still for so long (a frozen machine, a stopped process): nobody was silent then."""
        for member in self.members.values():
            member.heard = min(now, member.heard + seconds)
        if self.evaluator_heard is not None:
            self.evaluator_heard = min(now, self.evaluator_heard + seconds)

    def tick(self, now: float) -> list[Member]:
        """Moves time on; returns workers that were given up."""
        gone = [m for m in self.members.values() if now - m.heard > MEMBER_TIMEOUT_SECONDS]
        for member in gone:
            self._end(member, "lost", now)
        if self.phase == "starting" and self.updates:
            self.phase = "running"
        if not self.stop_reason:
            self._check_stop(now)
            self._check_save(now)
        if self.phase == "stopping" and self._drained(now):
            self._finish(now)
        if self.phase == "saving" and self.saved_round == self.save_round:
            self.phase, self._evaluating_since = "evaluating", now
        if self.phase == "evaluating" and not self._evaluator_alive(now):
            self.phase = "finished"
        return gone

    def _finish(self, now: float) -> None:
        """Workers are gone: a final checkpoint, except of weights that diverged (nobody wants those back)."""
        if self.stop_reason == "diverged" or not self.updates:
            self.phase = "finished"
            return
        self.ask_save(now, self.updates)
        self.phase = "saving"

    def _drained(self, now: float) -> bool:
        return not self.members or now - self._stopping_since > self.spec.workers.drain_seconds

    def _evaluator_alive(self, now: float) -> bool:
        """Also of one that is still starting: a job may be over before it has joined."""
        heard = self._evaluating_since if self.evaluator_awaited else self.evaluator_heard
        return heard is not None and now - heard < EVALUATOR_TIMEOUT_SECONDS

    def meet_evaluator(self, now: float | None) -> None:
        """The evaluator joined, was heard of, or (None) left."""
        self.evaluator_heard, self.evaluator_awaited, self._evaluator_came = now, False, True

    def await_evaluator(self) -> None:
        """A worker says that the task has an evaluation."""
        self.evaluator_awaited = not self._evaluator_came

    def _check_save(self, now: float) -> None:
        if (
            self.save_asked is None
            and self.updates
            and now - self.last_save >= self.spec.checkpoint.every_seconds
        ):
            ahead = math.ceil(self.rates.updates_per_second(now) * 0.6) + 1
            self.ask_save(now, self.updates + ahead)

    def ask_save(self, now: float, version: int) -> None:
        """Starts a save round: every shard saves when it reaches `version`."""
        self.save_round += 1
        self.save_at, self.save_asked = version, now

    def saved(self, now: float) -> None:
        """The manifest of the newest round was written."""
        self.saved_round, self.save_asked, self.last_save = self.save_round, None, now

    # -- checkpoint --------------------------------------------------------------------------------

    def state(self, now: float) -> dict[str, Any]:
        """What shard 0's checkpoint keeps of the job."""
        return {
            "dataset": self.dataset,
            "stopReason": self.stop_reason,
            "tensors": self.tensors.decode(),
            "guarantee": self.guarantee,
            "updates": self.updates,
            "samples": self.samples,
            "seconds": self.trained_seconds(now),
            "loss": self.loss,
            "firstLoss": self.first_loss,
            "metrics": self.metrics,
            "metricsAt": self.metrics_at,
            "restarts": self.restarts,
            "finished": sorted(self._finished),
            "pool": self.pool.state() if self.pool else None,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a checkpoint's state; leases that were out are open again."""
        self.tensors, self.guarantee = state["tensors"].encode(), state["guarantee"]
        self.updates, self.samples = state["updates"], state["samples"]
        self.seconds_before, self.loss = state["seconds"], state["loss"]
        self.first_loss = state["firstLoss"]
        self.metrics, self.metrics_at = state["metrics"], state["metricsAt"]
        self.restarts = dict(state["restarts"])
        # NB: whose own loops had ended will not come back; a coordinator that forgot them would wait for ever.
        self._finished = set(state["finished"])
        self.describe_data(state["dataset"], self.guarantee, self.tensors)
        if self.pool and state["pool"]:
            self.pool.load(state["pool"])


def _smooth(mean: float | None, value: float | None, keep: float) -> float | None:
    """The running mean with one more value; one that is no number would stay in it for ever, and is left out."""
    if value is None or not math.isfinite(value):
        return mean
    return value if mean is None else keep * mean + (1 - keep) * value
