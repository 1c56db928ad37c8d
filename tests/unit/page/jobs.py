"""A job as a page would be told of it, second by second: for tests of the model, and for a look at the page.

A small world of its own: workers compute, read, push and wait in shares that drift; one may be slow, die, hang or be
rejected. Everything follows from the seed.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from asgd.page.commands import Local
from asgd.page.model import About, Model
from asgd.server.view import staleness as staleness_view
from asgd.spec.phases import SLOT_SECONDS, letter
from asgd.spec.status import (
    CheckpointView,
    DataView,
    Notice,
    PhasesView,
    ServingView,
    ShardView,
    Status,
    WorkerView,
)
from asgd.spec.types import StopAfter

SPEC = """\
apiVersion: asgd.dev/v1alpha1
kind: AsgdJob
metadata:
  name: digits
spec:
  entrypoint: asgd.examples.digits:task
  optimizer:
    learningRate: 0.03
  workers:
    replicas: 6
"""


class Pretended:
    """`workers` that train for `seconds`. Happenings: {worker: (second, what)}, what: dies | hangs | wanders."""

    def __init__(
        self, workers: int = 6, shards: int = 2, *, seconds: float = 180.0, seed: int = 0,
        happenings: dict[int, tuple[float, str]] | None = None, away: float = 25.0, bound: int | None = None,
        rounds: bool = False, rising: bool = False, diverges: float = math.inf,
    ) -> None:  # fmt: skip
        self.random = random.Random(seed)
        self.workers, self.shards, self.seconds, self.bound = workers, shards, seconds, bound
        self.happenings, self.away, self.rounds, self.rising = happenings or {}, away, rounds, rising
        self.diverges = diverges
        """When the loss begins to grow; ten seconds later it is not finite."""
        self.updates = 0
        self.histogram: Counter[int] = Counter()
        self.pushes = [0] * workers
        self.staleness = [0] * workers
        self.samples: Counter[tuple[int, int]] = Counter()
        self.letters = [""] * workers
        self.told = [0] * workers
        self.refused: Counter[str] = Counter()
        self.measured: dict[int, int] = {}
        self.about = About(
            job="digits", folder="runs/digits", spec=SPEC, bound=bound, wall=1_764_500_000.0,
            commands=Local("runs/digits").told(),
        )  # fmt: skip

    def statuses(self) -> Iterator[tuple[float, Status]]:
        """(t, status), once a second."""
        for second in range(int(self.seconds) + 1):
            yield float(second), self.status(float(second))

    def model(self, until: float | None = None, over: bool = False) -> Model:
        """What has been told up to a moment."""
        model = Model(self.about)
        for t, status in self.statuses():
            if until is not None and t > until:
                break
            model.tell(status, t)
        model.over = over
        return model

    def status(self, t: float) -> Status:
        views = [view for worker in range(self.workers) for view in self._worker(worker, t)]
        over = t >= self.seconds
        trained = max(0.0, t - 2)
        decay = 2.3 * math.exp(-trained / 45) + 0.08
        loss = (0.4 + 0.01 * trained if self.rising else decay) + 0.03 * self.random.random()
        if t >= self.diverges:
            loss = math.nan if t >= self.diverges + 10 else loss * math.exp(0.9 * (t - self.diverges))
            self.refused["nonfinite"] += 20 * (t >= self.diverges + 8)
        measured = math.floor(min(trained, self.diverges) / 10) * 10
        return Status(
            job="digits", algorithm="ssp" if self.rounds else "asgd", phase="finished" if over else "running",
            workers=views, updates=self.updates, samples=32 * self.updates, epochs=32 * self.updates / 1437,
            seconds=trained, samples_per_second=sum(v.samples_per_second for v in views if v.alive),
            updates_per_second=sum(v.samples_per_second for v in views if v.alive) / 32, loss=loss,
            bytes_sent=19_000 * self.updates, bytes_received=19_000 * self.updates,
            metrics={"accuracy": 1 - 0.9 * math.exp(-measured / 40)} if measured else {},
            metrics_at_updates=self.measured.setdefault(measured, self.updates) if measured else 0,
            staleness=staleness_view(self.histogram), staleness_histogram=dict(self.histogram),
            refused=dict(self.refused), versions=[self.updates] * self.shards,
            terms=[1 + (self._server_back(t) and shard == 1) for shard in range(self.shards)],
            restarts={"worker": sum(v.incarnation > 1 for v in views), "server": int(self._server_back(t))},
            lost_updates=12 if self._server_back(t) else 0,
            checkpoint=self._checkpoint(t),
            progress=min(1.0, t / self.seconds), eta_seconds=max(0.0, self.seconds - t),
            stop_after=StopAfter(epochs=60),
            stop_reason="" if not over else "epochs" if self.diverges > t else "diverged",
            stop_detail="80 pushes in a row were not finite" if over and self.diverges <= t else "",
            guarantee="every sample once an epoch", workers_seen=self.workers,
            rejected_workers=self._wandered(t, self.away), ever_rejected=self._wandered(t, math.inf),
            notices=[Notice(1, "worker 3 has pushed nothing for 300 s: it has to end")] if self._hung(t) else [],
            serving=ServingView(2 * self.updates, 0.0002 * self.updates),
            shards=[self._shard(shard, t) for shard in range(self.shards)],
            data=DataView(1437, 32 * self.updates, 64 * sum(v.alive for v in views), 32 if self.happenings else 0),
        )  # fmt: skip

    def _checkpoint(self, t: float) -> CheckpointView | None:
        made = 1000 * int(t // 20)
        return CheckpointView(made, "runs/digits/checkpoints", t % 20, 81_240) if made else None

    def _wandered(self, t: float, away: float) -> list[int]:
        return [w for w, (at, what) in self.happenings.items() if what == "wanders" and at < t < at + away]

    def _shard(self, shard: int, t: float) -> ShardView:
        return ShardView(
            self.updates - shard, 1 + (self._server_back(t) and shard == 1), True, 9500 * self.updates,
            9500 * self.updates, 2 * self.updates, (0.3 + 0.1 * shard) * t, 3 if self.rounds else 0,
            12 if shard == 1 and self._server_back(t) else 0,
        )  # fmt: skip

    def _server_back(self, t: float) -> bool:
        return bool(self.happenings) and t > 0.8 * self.seconds

    def _hung(self, t: float) -> bool:
        return any(what == "hangs" and t > at + 20 for at, what in self.happenings.values())

    def _worker(self, worker: int, t: float) -> Iterator[WorkerView]:
        begins = 0.4 * (worker % 5)
        at, what = self.happenings.get(worker, (math.inf, ""))
        dead = what == "dies" and at <= t
        if t < begins:
            return
        incarnation = 1
        if dead:
            yield self._view(worker, 1, "lost", begins, at, t)
            if t < at + self.away:
                return
            incarnation, begins = 2, at + self.away
        state = "stalled" if what == "hangs" and at + 10 < t else "running"
        if what == "hangs" and t > at + 40:
            yield self._view(worker, 1, "hung", begins, at + 40, t)
            return
        over = t >= self.seconds
        if not over:
            self._live(worker, incarnation, t, silent=what == "hangs" and t > at)
        yield self._view(worker, incarnation, "left" if over else state, begins, t if over else None, t)

    def _live(self, worker: int, incarnation: int, t: float, *, silent: bool) -> None:
        while self.told[worker] < t / SLOT_SECONDS:
            self.letters[worker] = (self.letters[worker] + self._slot(worker, self.told[worker], silent))[
                -16:
            ]
            self.told[worker] += 1
        if silent:
            return
        slow = 3 if worker == 2 and self.workers > 2 else 1
        for _ in range(self.random.randint(8, 12) // slow):
            stale = max(
                0, min(self.bound or 10**9, round(self.random.gauss(self.workers - 1 + 2 * (slow > 1), 1.2)))
            )
            self.histogram[stale] += 1
            self.pushes[worker] += 1
            self.staleness[worker] += stale
            self.updates += 1
            self.samples[worker, incarnation] += 32
        if self.happenings and self.random.random() < 0.05:
            self.refused["stale"] += 3

    def _slot(self, worker: int, slot: int, silent: bool) -> str:
        if silent:
            return letter((1, 0, 0, 0))
        seconds = slot * SLOT_SECONDS
        data = (
            0.12
            + 0.1 * math.sin(seconds / 9 + worker)
            + (0.5 if worker == 4 and int(seconds) % 20 < 5 else 0)
        )
        wait = (0.0 if worker == 2 else 0.45) if self.rounds else 0.03
        push = 0.18 + 0.08 * math.sin(seconds / 5 + 2 * worker)
        jitter = self.random.random() * 0.15
        return letter(
            (max(0.05, 1 - data - wait - push + jitter), max(0.0, data - jitter), max(0.0, push), wait)
        )

    def _view(
        self, worker: int, incarnation: int, state: str, joined: float, ended: float | None, t: float
    ) -> WorkerView:
        alive = ended is None
        fields: dict[str, Any] = {}
        if self.rounds and alive and worker != 2:
            fields["waits"] = "others"
        if state == "stalled":
            fields["idle_seconds"] = t - self.happenings[worker][0]
        return WorkerView(
            index=worker, state=state, joined=joined - 2, ended=None if alive else ended - 2,
            incarnation=incarnation, samples=self.samples[worker, incarnation],
            samples_per_second=320.0 if alive else 0.0, loss=0.3 + worker / 100, node=f"node-{worker % 2 + 1}",
            samples_held=64 if alive else 0, lane="shm", pushes=self.pushes[worker],
            staleness_total=self.staleness[worker],
            phases=PhasesView(self.told[worker], 0.8, self.letters[worker]) if alive else PhasesView(), **fields,
        )  # fmt: skip
