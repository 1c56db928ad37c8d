"""Whatever server is started again, whenever: what it goes on from is what its store holds, and nothing is counted
twice, lost in silence or waited for without end.

Real cores, channels and workers in virtual time; between any two of their steps any server may crash, with what it had
not saved and what was on its way, and come back in its next term.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from asgd.drivers.virtual.clock import Clock
from asgd.drivers.virtual.simulation import Simulation
from asgd.kernel import F32
from asgd.server.saves.in_process import MemoryStore
from asgd.world.models import ComputeTime, Mishap, World
from tests.checks.virtual import job
from tests.effort import examples
from tests.unit.server.ledger import MARKS, Ledger, Witness

WORKERS = 3
DATASET = 120
PATIENCE_SECONDS = 400.0
"""Virtual time in which every job must have ended once nothing goes wrong any more."""
STEPS = st.integers(1, 150)


class Restarts(RuleBasedStateMachine):
    """A job of three workers over data of a known size."""

    dataset: int | None = DATASET
    lossy = True
    """Messages may be lost: on their way, and those to a server that is down."""
    stop: ClassVar[dict[str, Any]] = {"epochs": 2}
    patience = PATIENCE_SECONDS

    @initialize(
        shards=st.integers(1, 3),
        algorithm=st.sampled_from(["asgd", "sync"]),
        latency=st.sampled_from([0.001, 0.04]),
        seconds=st.sampled_from([0.0, 0.05, 0.4]),
        death=st.one_of(st.none(), st.integers(1, 40)),
    )
    def begin(self, shards: int, algorithm: str, latency: float, seconds: float, death: int | None) -> None:
        self.algorithm, self.dies = algorithm, death is not None
        deaths = () if death is None else (Mishap(1, death / 10, 0.5),)
        world = World(ComputeTime("uniform", 0.1, 0.2), latency=latency, deaths=deaths)
        given = job(
            algorithm={"name": algorithm},
            optimizer={"learningRate": 1.0},
            batchSize=4,
            stopAfter=self.stop,
            parameterServer={"shards": shards},
            workers={"replicas": WORKERS},
            checkpoint={"everySeconds": 0.2},
            evaluation={"everySeconds": 0},
        )
        clock = Clock()
        self.network, self.store = Witness(clock, world), MemoryStore(seconds)
        self.work = Ledger(shards, self.dataset)
        self.run = Simulation(given, self.work, world, clock=clock, network=self.network, store=self.store)
        self.servers = self.run.cluster.servers
        self.begun = {(shard, 1): (0, 0) for shard in range(shards)}
        """{(shard, term): version and samples that it began with}"""

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.run.advance()

    @rule(count=STEPS)
    def goes_on(self, count: int) -> None:
        self.steps(count)

    @property
    def over(self) -> bool:
        """The stop rule is met: workers leave, and nobody would start them again for a server that forgot it."""
        core = self.servers[0].core
        return core is not None and core.stop != ""

    @precondition(lambda self: not self.over)
    @rule(data=st.data(), down=st.integers(0, 40))
    def a_server_is_started_again(self, data: st.DataObject, down: int) -> None:
        shard = data.draw(st.integers(0, len(self.servers) - 1), "shard")
        self.before_a_crash()
        if self.over:
            return
        self.servers[shard].crash()
        self.steps(down if self.lossy else 0)
        self.start(shard)

    @precondition(lambda self: not self.over)
    @rule(data=st.data())
    def all_servers_are_started_again(self, data: st.DataObject) -> None:
        self.before_a_crash()
        if self.over:
            return
        for server in self.servers:
            server.crash()
        for index in data.draw(st.permutations(range(len(self.servers))), "order"):
            self.start(index)

    def before_a_crash(self) -> None:
        """Nothing need be saved before."""

    def start(self, shard: int) -> None:
        server = self.servers[shard]
        server.start()
        state = server.shard.state
        self.begun[shard, server.shard.term] = state.version, state.samples

    @precondition(lambda self: self.lossy)
    @rule(every=st.sampled_from([0, 0, 3, 7]))
    def messages_are_lost_from_now_on(self, every: int) -> None:
        self.network.loses_every = every

    @rule()
    def the_store_refuses_for_a_while(self) -> None:
        self.store.refusal = "the disk is full"
        self.steps(100)
        self.store.refusal = ""

    # -- what holds ----------------------------------------------------------------------------------------------

    def ledger(self, shard: int) -> F32:
        """What each row of a shard's ledger counts."""
        weights: F32 = self.servers[shard].shard.state.weights
        return weights if weights.size else np.zeros(self.work.rows, np.float32)

    @invariant()
    def no_push_is_applied_twice(self) -> None:
        for shard in range(len(self.servers)):
            marks = self.ledger(shard)[-MARKS:]
            assert marks.max() <= 1, f"gradient {int(marks.argmax())} on shard {shard}"

    @invariant()
    def versions_count_what_is_in_the_weights(self) -> None:
        if self.algorithm == "asgd":
            for shard, server in enumerate(self.servers):
                assert self.ledger(shard)[-MARKS:].sum() == server.shard.state.version

    def teardown(self) -> None:
        if hasattr(self, "run"):
            self.network.loses_every = 0
            self.the_job_ends()
            self.every_sample_is_visited()
            self.what_was_acknowledged_is_there_or_counted_as_lost()

    def the_job_ends(self) -> None:
        until = self.run.clock.now + self.patience
        while self.run.advance():
            assert self.run.clock.now < until, f"it waits for ever: {self.run.cluster.status()}"
        self.no_push_is_applied_twice()
        self.versions_count_what_is_in_the_weights()

    def every_sample_is_visited(self) -> None:
        coordinator = self.run.cluster.coordinator
        assert coordinator.stop_reason == "epochs"
        if self.algorithm == "asgd":
            times = self.ledger(0)[:DATASET]
            pool = coordinator.pool
            assert times.min() >= 2, f"sample {int(times.argmin())} was left out"
            assert pool is not None and times.sum() - 2 * DATASET <= pool.revisited

    def what_was_acknowledged_is_there_or_counted_as_lost(self) -> None:
        """NB: what one worker had seen dies with it; a loss that is in no save yet is forgotten by another crash."""
        if self.algorithm != "asgd" or self.dies:
            return
        for shard, server in enumerate(self.servers):
            terms = [term for index, term in self.begun if index == shard]
            if len(terms) > 2:
                continue
            told = [(self.network.told.get((shard, term)), self.begun[shard, term]) for term in terms]
            updates = sum(reply.version - begun[0] for reply, begun in told if reply)
            assert server.shard.state.version + server.shard.losses.updates >= updates
            if shard == 0 and self.dataset is not None:
                samples = sum(reply.samples - begun[1] for reply, begun in told if reply)
                pool = self.run.cluster.coordinator.pool
                assert pool is not None and samples - 2 * DATASET <= pool.revisited


class OwnLoops(Restarts):
    """Every worker ends its own loop; the job ends when all have, also when shard 0 comes back meanwhile."""

    dataset = None
    lossy = False  # a goodbye is said once
    stop: ClassVar[dict[str, Any]] = {"updates": 100_000}
    patience = PATIENCE_SECONDS + 1800
    """A goodbye that a crash has lost is waited for as long as the status says: the deadline of a start."""

    def before_a_crash(self) -> None:
        """A goodbye is said once: what is in no save yet is lost with the server that heard it."""
        before, there = -1, self.there
        while before != there:
            # NB: the number after the newest may be that of a part which is being written, and was copied before.
            before, begun, until = there, self.store.newest_begun + 1, self.run.clock.now + 20
            while max(self.store.manifests, default=0) <= begun and self.run.clock.now < until:
                if not self.run.advance():
                    return
            there = self.there

    @property
    def there(self) -> int:
        """Workers whose loop has not ended."""
        return sum(worker.alive for worker in self.run.workers.values())

    def every_sample_is_visited(self) -> None:
        assert self.run.cluster.coordinator.stop_reason == "ended"


RUNS = settings(
    max_examples=examples(150),
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


@pytest.mark.hypothesis
def test_a_job_survives_restarts_of_any_server_between_any_two_steps() -> None:
    run_state_machine_as_test(Restarts, settings=RUNS)


@pytest.mark.slow
@pytest.mark.hypothesis
def test_a_job_of_own_loops_ends_whatever_server_is_started_again() -> None:
    run_state_machine_as_test(OwnLoops, settings=RUNS)
