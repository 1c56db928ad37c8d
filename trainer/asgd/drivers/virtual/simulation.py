"""One job in virtual time: servers, workers, mishaps and the clock that drives them.

The same inputs give the same bits: no clock of the machine, no threads, all random numbers seeded. Evaluation takes
no virtual time. `observe` is called with each status worth writing down. Another `network` (with its `clock`) may
lose or hold back what it is given, and with a `store` servers may crash and come back. `scaled` is told why the number
of workers changes (`workers.autoscale`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from asgd.algorithms.attacks import Attack, Eavesdropper
from asgd.drivers.virtual.clock import Clock
from asgd.drivers.virtual.network import Network
from asgd.drivers.virtual.server import Cluster
from asgd.drivers.virtual.worker import VirtualWorker
from asgd.kernel import F32
from asgd.server.core import TICK_SECONDS, ServerCore
from asgd.server.improving import improves
from asgd.server.saves.in_process import MemoryStore
from asgd.spec.autoscaling import begin, decide
from asgd.spec.status import BestView, Status
from asgd.spec.types import AVERAGE_PREFIX, Job
from asgd.worker.shared import Work
from asgd.world.models import Mishap, World

OBSERVE_SECONDS = 0.5
ASK_SECONDS = 10.0
"""So often the operator asks shard 0, and may scale by what it hears."""


class Simulation:
    """`job` with its own number of workers, on `world`."""

    def __init__(
        self, job: Job, work: Work, world: World, observe: Callable[[Status], None] = lambda _: None, *,
        clock: Clock | None = None, network: Network | None = None, store: MemoryStore | None = None,
        observe_core: Callable[[ServerCore], None] = lambda core: None,
        scaled: Callable[[str], None] = lambda why: None,
    ) -> None:  # fmt: skip
        self.job, self.work, self.world, self._observe, self._scaled = job, work, world, observe, scaled
        self.clock = clock or Clock()
        self.cluster = Cluster(job, world, self.clock, store, network, observe_core)
        self.cluster.oracle = work.losses
        self.workers: dict[int, VirtualWorker] = {}
        self._heard = Eavesdropper()
        self._liars = {
            index: how for how in (*job.spec.chaos.byzantine, *world.attacks) for index in how.workers
        }
        self._incarnations: dict[int, int] = {}
        # NB: workers of a later simulation of the job are others; servers remember what the former have pushed.
        self._former = round(1000 * self.clock.now)
        self._observed = -1.0
        self._measured = -1
        self._due = 0
        """The newest evaluation by updates or epochs that was made."""
        self.best: tuple[BestView, F32] | None = None
        """The best evaluation, and the weights that were evaluated."""
        self.over = False
        """The job has ended."""
        late = {mishap.index for mishap in world.joins}
        rule, replicas = job.spec.workers.autoscale, job.spec.workers.replicas
        self.scale = begin(rule, replicas) if rule else None
        self.cluster.resize(self.scale.workers if self.scale else replicas)
        for index in range(self.cluster.job.spec.workers.replicas):
            if index not in late:
                self._start(index)
        for mishap in world.joins:
            self.clock.after(mishap.at, partial(self._start, mishap.index))
        self._plan(world.deaths, self._kill)
        self._plan(world.pauses, lambda worker, mishap: worker.pause(mishap.seconds))
        self._plan(world.hangs, lambda worker, mishap: worker.hang())
        self._tick()
        self._evaluate_often()
        if self.scale:
            self.clock.after(ASK_SECONDS, self._rescale)

    # -- workers -----------------------------------------------------------------------------------------------------

    def _plan(self, mishaps: Iterable[Mishap], strikes: Callable[[VirtualWorker, Mishap], None]) -> None:
        """Each strikes its worker, if that has come by then."""

        def strike(mishap: Mishap) -> None:
            if worker := self.workers.get(mishap.index):
                strikes(worker, mishap)

        for mishap in mishaps:
            self.clock.after(mishap.at, partial(strike, mishap))

    def _start(self, index: int) -> None:
        if self.scale and index >= self.scale.workers:
            return  # it was to come back, and is not wanted any more
        self._incarnations[index] = self._incarnations.get(index, self._former) + 1
        factor = dict(self.world.stragglers).get(index, 1.0)
        how = self._liars.get(index)
        attack = Attack(how, index, self._heard) if how else None
        worker = self.workers[index] = VirtualWorker(
            self.cluster, self.work, index, self._incarnations[index], factor, heard=self._heard, attack=attack,
            ended=lambda: self.clock.after(self.world.detect_seconds, lambda: self._start(index)),
        )  # fmt: skip
        self.clock.after(0.0, worker.start)

    def _kill(self, worker: VirtualWorker, mishap: Mishap) -> None:
        if worker.alive:
            worker.die()
            self._notice(worker, mishap.seconds)

    def _notice(self, worker: VirtualWorker, seconds: float) -> None:
        """Whoever has started the worker tells of its end, and starts it again in so many seconds."""
        noticed = self.world.detect_seconds
        self.clock.after(noticed, lambda: self.cluster.lost(worker.index, worker.incarnation))
        if seconds != float("inf"):
            self.clock.after(max(seconds, noticed), lambda: self._start(worker.index))

    def _rescale(self) -> None:
        """As the operator does."""
        rule = self.job.spec.workers.autoscale
        if self.over or rule is None or self.scale is None:
            return
        self.clock.after(ASK_SECONDS, self._rescale)
        up = self.cluster.servers[0].core is not None
        if not up or self.cluster.coordinator.stop_reason:
            return
        before, advice = self.scale.workers, self.cluster.status().advice
        self.scale = decide(rule, self.job.spec.workers.replicas, self.scale, advice, self.clock.now)
        now = self.scale.workers
        if now == before:
            return
        self._scaled(f"workers {before} -> {now}: {self.scale.reason}")
        self.cluster.resize(now)
        for index in range(before, now):
            self._start(index)
        for index in range(now, before):
            if worker := self.workers.get(index):
                worker.leave()

    def restart_failed(self, seconds: float) -> None:
        """Starts workers that could not go on again, in so many seconds."""
        for worker in self.workers.values():
            if worker.failed:
                worker.failed = False
                self._notice(worker, seconds)

    # -- time --------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self.over:
            return
        self.cluster.tick()
        self.clock.after(TICK_SECONDS, self._tick)
        if self.cluster.servers[0].core is None:
            return
        coordinator = self.cluster.coordinator
        # NB: what no store keeps is over with its workers.
        working = self.cluster.store or any(worker.alive for worker in self.workers.values())
        if coordinator.stop_reason and (not working or coordinator.phase in ("evaluating", "finished")):
            self._end()
        if self.clock.now - self._observed >= OBSERVE_SECONDS:
            self._record()

    def _end(self) -> None:
        """The job is over; who has not left by now is ended, as `asgd run` would."""
        self.over = True
        for worker in self.workers.values():
            worker.die()

    def _record(self) -> None:
        self._observed = self.clock.now
        self._observe(self.cluster.status())

    def _evaluate_often(self) -> None:
        if self.over:
            return
        every = self.job.spec.evaluation.seconds
        up = self.cluster.servers[0].core is not None
        if every and up and self.cluster.coordinator.updates and not self.cluster.coordinator.stop_reason:
            self.measure()
        self.clock.after(every or 1.0, self._evaluate_often)

    def _evaluate_at_counts(self) -> None:
        """By updates or epochs: right after the push that made the multiple full."""
        if self.over or not self.job.spec.evaluation.counted or self.cluster.servers[0].core is None:
            return
        coordinator = self.cluster.coordinator
        if coordinator.evaluation_due not in (0, self._due) and not coordinator.stop_reason:
            self._due = coordinator.evaluation_due
            self.measure()

    def measure(self, final: bool = False) -> None:
        """Evaluates the job's answer as it is now; at the end in any case, for what workers leave is no update."""
        at = self.cluster.coordinator.counts
        if at.updates == self._measured and not final:
            return
        self._measured = at.updates
        averaged = {}
        if self.job.spec.evaluation.ema is not None:
            found = self.work.evaluate(self.cluster.average())
            averaged = {AVERAGE_PREFIX + name: value for name, value in found.items()}
        metrics = self.work.evaluate(self.answer()) | averaged
        if metrics:
            self.cluster.coordinator.evaluated(at.updates, metrics, False, self.clock.now, epochs=at.epochs)
            self._keep_best(metrics, at.updates)
            self._record()

    def _keep_best(self, metrics: dict[str, float], updates: int) -> None:
        """As the evaluator does."""
        rule, coordinator = self.job.spec.checkpoint.best, self.cluster.coordinator
        value = metrics.get(rule.metric) if rule else None
        if (
            rule
            and value is not None
            and improves(rule.mode, value, self.best[0].value if self.best else None)
        ):
            view = BestView(rule.metric, value, updates, coordinator.samples, "memory:")
            of_average = rule.metric.startswith(AVERAGE_PREFIX)
            self.best = view, (self.cluster.average() if of_average else self.answer()).copy()
            coordinator.best = view

    def answer(self) -> F32:
        """The (N,) weights that are the job's answer."""
        return self.cluster.pull()

    def advance(self) -> bool:
        """Lets the next thing happen; False when nothing is left to happen: the job is over."""
        going = self.clock.step()
        self._evaluate_at_counts()
        return going

    def run(self) -> Status:
        """The whole job; returns its last status."""
        while self.advance():
            pass
        self.measure(final=True)
        coordinator = self.cluster.coordinator
        coordinator.phase = "finished"
        self._record()
        return self.cluster.status()
