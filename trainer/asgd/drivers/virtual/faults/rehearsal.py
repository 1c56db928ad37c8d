"""One job under the faults of one seed: the real cores, channels and saves; what breaks is told in one sentence.

The job keeps its strategy, shards, workers, codec and exchange. Its task is replaced by a problem that costs nothing
(`work.py`), its end by `EPOCHS` epochs of that, and it saves often, so that one seed takes some hundredths of a second.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from asgd.drivers.virtual.clock import Clock
from asgd.drivers.virtual.faults.invariants import Broken, Ledger
from asgd.drivers.virtual.faults.network import FaultyNetwork
from asgd.drivers.virtual.faults.plan import Plan, make_plan
from asgd.drivers.virtual.faults.watch import WatchedStore, watch
from asgd.drivers.virtual.faults.work import BATCH, Bowl
from asgd.drivers.virtual.server import VirtualServer
from asgd.drivers.virtual.simulation import Simulation
from asgd.spec.types import Job, StopAfter
from asgd.wire.messages import Command
from asgd.world.models import Mishap

EPOCHS = 2
SAVE_SECONDS = 1.5
BOUND_SECONDS = 300.0
"""A job of some ten seconds that takes longer than this waits for what never comes."""
LOOK_SECONDS = 0.5
RESTART_SECONDS = 1.0
ENDED_SECONDS = 30.0
"""Whoever has started the workers ends a job of which shard 0 still says so long after all have ended that it runs."""
FRAMES = 4
"""Of a fault of this program, so many calls are named, innermost first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one seed. `broken`: the invariant that does not hold, in a sentence; empty: all hold."""

    seed: int
    broken: str
    seconds: float
    """Virtual."""
    updates: int
    lost: int
    revisited: int
    own_loops: bool = False
    """The seed was about workers that bring their own data."""
    helped: bool = False
    """Shard 0 did not know that all had ended, and was told from outside."""


def rehearse(job: Job, seed: int) -> Finding:
    """Runs `job` under the faults of `seed`."""
    spec = job.spec
    plan = make_plan(seed, spec.workers.replicas, spec.parameter_server.shards)
    return Rehearsal(_shortened(job, plan), plan).run()


def _shortened(job: Job, plan: Plan) -> Job:
    """NB: a job of own loops must have an end in its YAML, which must not come before theirs."""
    spec = job.spec
    end = StopAfter(updates=1_000_000) if plan.own_loops else StopAfter(epochs=EPOCHS)
    return replace(
        job,
        spec=replace(
            spec,
            batch_size=BATCH,
            stop_after=end,
            checkpoint=replace(spec.checkpoint, every_seconds=SAVE_SECONDS),
            evaluation=replace(spec.evaluation, every_seconds=0.0),
        ),
    )


class Rehearsal:
    """`job` under `plan`."""

    def __init__(self, job: Job, plan: Plan) -> None:
        self._plan, self._clock, self._ledger = plan, Clock(), Ledger()
        self._store = WatchedStore(self._ledger, plan.store_seconds)
        self._simulation = Simulation(
            job, Bowl(plan.own_loops), plan.world, clock=self._clock,
            network=FaultyNetwork(self._clock, plan), store=self._store,
            observe_core=lambda core: watch(self._ledger, self._store, core),
        )  # fmt: skip
        self._cluster = self._simulation.cluster
        self._working = 0.0
        """When there was a worker last."""
        self._helped = False
        for crash in plan.crashes:
            self._clock.after(crash.at, partial(self._crash, crash))
        for mishap in plan.replacements:
            self._clock.after(mishap.at, partial(self._replace, mishap))
        for refusal in plan.refusals:
            self._clock.after(refusal.at, lambda: self._refuse("the store refuses"))
            self._clock.after(refusal.at + refusal.seconds, lambda: self._refuse(""))

    def run(self) -> Finding:
        """Until the job is over, or can't be any more."""
        try:
            self._supervise()
            while not self._simulation.over and self._clock.now < BOUND_SECONDS:
                self._simulation.advance()
                if self._ledger.overstepped:
                    raise Broken(self._ledger.overstepped)
            self._check()
            broken = ""
        except Broken as error:
            broken = str(error)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
            where = " < ".join(f"{Path(at.filename).name}:{at.lineno} {at.name}" for at in reversed(frames))
            broken = f"no core fails: {type(error).__name__}: {error} ({where})"
        return self._finding(broken)

    # -- faults --------------------------------------------------------------------------------------

    def _crash(self, crash: Mishap) -> None:
        server = self._cluster.servers[crash.index]
        if server.core and not self._simulation.over:
            server.crash()
            self._clock.after(crash.seconds, lambda: self._start(server))

    def _start(self, server: VirtualServer) -> None:
        """Unless another one serves its shard by now."""
        if self._cluster.servers[server.index] is server and server.core is None:
            server.start()

    def _replace(self, mishap: Mishap) -> None:
        if not self._simulation.over:
            self._cluster.replace(mishap.index)

    def _refuse(self, why: str) -> None:
        self._store.refusal = why

    def _supervise(self) -> None:
        """Whoever has started the workers starts those again that could not go on, and ends a job that has none."""
        if self._simulation.over:
            return
        self._simulation.restart_failed(RESTART_SECONDS)
        if not all(worker.ended for worker in self._simulation.workers.values()):
            self._working = self._clock.now
        elif self._clock.now - self._working > ENDED_SECONDS and self._runs:
            self._cluster.servers[0].ask(Command("stop", "ended"))
            self._helped = True
        self._clock.after(LOOK_SECONDS, self._supervise)

    @property
    def _runs(self) -> bool:
        """Shard 0 is there and says that the job runs."""
        return self._cluster.servers[0].core is not None and not self._cluster.coordinator.stop_reason

    # -- the end -------------------------------------------------------------------------------------

    def _check(self) -> None:
        if not self._simulation.over:
            raise Broken(f"every waiting state ends: after {BOUND_SECONDS:.0f} s {self._who_waits()}")
        for server in self._cluster.servers:
            if server.core:
                self._ledger.check_lost(server.index, server.shard.losses.updates)
        coordinator = self._cluster.coordinator
        pool = coordinator.pool
        if pool and pool.limit and coordinator.stop_reason == "epochs":
            self._ledger.check_visits(pool.size, pool.limit, pool.visited, pool.revisited)
        expected = "ended" if self._plan.own_loops or self._helped else "epochs"
        if coordinator.stop_reason != expected:
            raise Broken(
                f"the job ends as it should: it stopped for {coordinator.stop_reason!r}, not {expected!r}"
            )
        if self._helped:
            self._check_help()

    def _check_help(self) -> None:
        """NB: goodbyes are said once, and a crash before the last save takes a job back behind its end."""
        knew = len(self._ledger.histories[0].ended) == len(self._simulation.workers)
        if knew if self._plan.own_loops else 0 not in self._ledger.rolled_back:
            raise Broken("every waiting state ends: shard 0 knows that all workers have ended, and waits")

    def _who_waits(self) -> str:
        down = [f"shard {server.index} is down" for server in self._cluster.servers if server.core is None]
        workers = [
            f"worker {index} {worker.waits}" for index, worker in sorted(self._simulation.workers.items())
        ]
        return ", ".join([*self._job_waits(), *down, *workers])

    def _job_waits(self) -> list[str]:
        if self._cluster.servers[0].core is None:
            return []
        chief = self._cluster.coordinator
        pool = f", {chief.pool.visited} of {chief.pool.limit} samples are visited" if chief.pool else ""
        members = f"members {sorted(chief.members)}"
        return [f"the job is {chief.phase}{pool}, {members}"]

    def _finding(self, broken: str) -> Finding:
        first = self._cluster.servers[0].core
        chief = first.primary.coordinator if first and first.primary else None
        lost = sum(s.core.shard.losses.updates for s in self._cluster.servers if s.core)
        revisited = chief.pool.revisited if chief and chief.pool else 0
        return Finding(
            self._plan.seed, broken, self._clock.now, chief.updates if chief else 0, lost, revisited,
            self._plan.own_loops, self._helped,
        )  # fmt: skip
