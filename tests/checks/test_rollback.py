"""A job that diverges goes back to its newest checkpoint by itself and trains on at a smaller rate.

In virtual time over all strategies: real cores, channels and workers, a store in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asgd.algorithms.registry import names
from asgd.drivers.virtual.faults.work import Bowl
from asgd.drivers.virtual.simulation import Simulation
from asgd.kernel import F32
from asgd.server.saves.in_process import MemoryStore
from asgd.spec.status import Status
from asgd.worker.reading.leased import LeasedBatch
from asgd.world.models import ComputeTime, Mishap, World
from tests.checks.test_one_nan import PERIODIC, PLAIN
from tests.checks.virtual import CONSTANT, job, simulation

RATES = {"downpour": 1e6, "fasgd": 20.0}
"""Too high for each; downpour's own optimizer bears more."""
SLOWED = {"downpour": 1e-6, "async-diloco": 0.01}


def prepared(
    name: str, work: Any = None, world: World = CONSTANT, **spec: Any
) -> tuple[Simulation, MemoryStore]:
    """A job at a rate far too high that may go back, and has not begun."""
    period = {"period": 8 if name == "streaming-diloco" else 4} if name in PERIODIC else {}
    whole = {
        "algorithm": {"name": name, **period},
        "optimizer": {"learningRate": RATES.get(name, 6.0), **({} if name in PLAIN else {"momentum": 0.5})},
        "workers": {"replicas": 5 if name == "krum" else 3},
        "batchSize": 4,
        "stopAfter": {"epochs": 20},
        "evaluation": {"everySeconds": 0},
        "checkpoint": {"everySeconds": 5},
        "divergence": {"factor": 50, "pushes": 6},
        "onDivergence": "Rollback",
        "rollback": {"rateFactor": SLOWED.get(name, 0.02)},
        **spec,
    }
    store = MemoryStore()
    return simulation(job(**whole), work or Bowl(), world, store), store


def trained(done: Simulation) -> tuple[Status, float]:
    """The last status, and the loss of the answer, which must be finite."""
    status, answer = done.run(), done.answer()
    assert np.isfinite(answer).all()
    return status, float(answer @ answer) / 2


def check(status: Status, loss: float) -> None:
    """It has gone back, and then it has trained to its end."""
    assert status.rollbacks >= 1 and status.stop_reason == "epochs", status.stop_detail
    assert loss < 1.9, "it starts at 2.4"
    assert status.lost_updates > 0
    assert status.restarts["server"] == 0, "going back is no restart"
    assert all(notice.about != "worker" for notice in status.notices), "no samples are held for nothing"
    assert "the job went back to update" in status.rollback_detail
    assert [notice.about for notice in status.notices].count("rollback") == status.rollbacks


@pytest.mark.parametrize("name", names())
def test_at_a_rate_too_high_each_strategy_goes_back_and_trains_on_at_a_smaller_one(name: str) -> None:
    done, _ = prepared(name)
    status, loss = trained(done)
    check(status, loss)
    factor = SLOWED.get(name, 0.02) ** status.rollbacks
    assert status.rate_factor == pytest.approx(factor)
    assert all(worker.core.rollbacks == status.rollbacks for worker in done.workers.values())
    rates = [server.shard.spec.optimizer.learning_rate for server in done.cluster.servers]
    assert rates == pytest.approx([RATES.get(name, 6.0) * factor])


WAYS: dict[str, dict[str, Any]] = {
    "two shards": {"parameterServer": {"shards": 2}},
    "ahead": {"exchange": {"ahead": 1}},
    "int8": {"codec": {"push": "int8", "pull": "int8"}},
    "schedule": {
        "optimizer": {"learningRate": 6.0, "schedule": {"name": "cosine", "length": 25, "unit": "epochs"}}
    },
}


CROSSED = [
    (name, way)
    for name in ("asgd", "sync", "local-sgd", "parle", "ssp")
    for way in WAYS
    # NB: this pair is refused by `asgd validate`, whatever becomes of a job that diverges.
    if (name, way) != ("sync", "ahead")
]


@pytest.mark.parametrize(("name", "way"), CROSSED)
def test_it_does_so_over_shards_codecs_schedules_and_with_ahead(name: str, way: str) -> None:
    check(*trained(prepared(name, **WAYS[way])[0]))


def test_without_being_told_so_a_job_that_diverged_ends() -> None:
    status = prepared("asgd", onDivergence="Fail")[0].run()
    assert (status.stop_reason, status.rollbacks, status.rollback_detail) == ("diverged", 0, "")


def test_after_so_many_times_as_the_job_allows_it_ends_and_says_so() -> None:
    done, _ = prepared("asgd", rollback={"limit": 2, "rateFactor": 1})
    status = done.run()
    assert (status.stop_reason, status.rollbacks) == ("diverged", 2)
    assert status.stop_detail.endswith(
        "it has gone back 2 times already, the most that rollback.limit allows"
    )
    assert status.diverged_by


def test_where_no_save_could_be_made_the_job_ends_and_says_so() -> None:
    done, store = prepared("asgd")
    store.refusal = "the store is away"
    status = done.run()
    assert (status.stop_reason, status.rollbacks) == ("diverged", 0)
    assert status.stop_detail.endswith("; there is no checkpoint yet that the job could go back to")


def test_a_first_save_that_takes_its_time_is_waited_for() -> None:
    done, store = prepared("asgd")
    store.seconds = 9.0
    status, loss = trained(done)
    check(status, loss)
    assert "went back to update 0 " in next(said.text for said in status.notices if said.about == "rollback")


class Poisoned(Bowl):
    """From its batch number `at` on, worker 1 is broken for `count` batches: its gradients are nan."""

    def __init__(self, at: int, count: int) -> None:
        super().__init__()
        self.bad, self.batches = range(at, at + count), 0

    def gradient(self, worker: int, weights: F32, item: LeasedBatch, out: F32) -> float:
        loss = super().gradient(worker, weights, item, out)
        self.batches += worker == 1
        if worker != 1 or self.batches not in self.bad:
            return loss
        out[:] = np.nan
        return float("nan")


def test_the_worker_whose_pushes_did_it_is_named_and_time_and_notices_do_not_go_back() -> None:
    work = Poisoned(30, 15)
    spec = {"optimizer": {"learningRate": 0.05}, "rollback": {"rateFactor": 1}, "workers": {"replicas": 2}}
    world = World(compute=ComputeTime("constant", 1.0), stragglers=((0, 200.0),))
    done, _ = prepared("asgd", work, world, **spec, stopAfter={"updates": 60})
    seconds: list[float] = []
    done._observe = lambda status: seconds.append(status.seconds)
    status = done.run()
    assert (status.rollbacks, status.stop_reason, status.rate_factor) == (1, "updates", 1.0)
    assert "those of worker 1; the job went back to update" in status.rollback_detail
    assert seconds == sorted(seconds)
    numbers = [notice.number for notice in status.notices]
    assert numbers == list(range(1, len(numbers) + 1)), "none is told twice, or never"
    assert status.suspects == [1]


@pytest.mark.parametrize("name", ["asgd", "elastic"])
def test_what_a_straggler_computed_from_weights_that_are_undone_is_refused(name: str) -> None:
    """It comes when the others have come further than it ever was, so its version alone says nothing."""
    world = World(compute=ComputeTime("constant", 1.0), stragglers=((2, 30.0),))
    done, _ = prepared(name, world=world, stopAfter={"epochs": 5})
    rollbacks, largest, looked = 0, 0.0, 0.0
    while done.advance():
        if done.clock.now < looked + 0.3:
            continue
        looked = done.clock.now
        if done.cluster.coordinator.rollbacks > rollbacks:
            rollbacks, largest = done.cluster.coordinator.rollbacks, 0.0
        elif rollbacks and all(worker.core.rollbacks == rollbacks for worker in done.workers.values()):
            largest = max(largest, float(np.abs(done.answer()).max()))
    status = done.cluster.status()
    check(status, float(done.answer() @ done.answer()) / 2)
    assert status.refused["rollback"] >= 1
    assert largest < 3.0, "nothing of the divergence has come back"


@pytest.mark.parametrize("shard", [0, 1])
@pytest.mark.parametrize("after", [0.0, 0.05, 0.3, 2.0])
def test_a_server_that_is_killed_right_after_it_goes_back_too(shard: int, after: float) -> None:
    done, _ = prepared("sync", parameterServer={"shards": 2})
    cluster, killed = done.cluster, False
    while done.advance():
        server = cluster.servers[shard]
        if not killed and server.core and server.shard.rollbacks == 1:
            killed = True

            def kill(server: Any = server) -> None:
                server.crash()
                done.clock.after(0.5, server.start)

            done.clock.after(after, kill)
    assert killed
    status = cluster.status()
    assert status.stop_reason == "epochs" and float(done.answer() @ done.answer()) / 2 < 1.9
    assert {server.shard.rollbacks for server in cluster.servers} == {status.rollbacks}
    assert status.restarts["server"] >= 1


def test_a_save_from_the_way_to_the_divergence_is_left_for_an_older_one() -> None:
    """The outer momentum in it throws the job off at any rate."""
    done, _ = prepared("diloco", rollback={"rateFactor": 0.01})
    status, loss = trained(done)
    check(status, loss)
    assert status.rollbacks == 2
    assert "went back to update 0 " in status.rollback_detail
    assert "went back to update 3 " in status.notices[0].text


def test_worker_deaths_and_late_joins_around_a_rollback_do_no_harm() -> None:
    world = World(
        compute=ComputeTime("uniform", 0.5, 1.5), deaths=(Mishap(1, 3.0, 2.0), Mishap(2, 6.0, 1.0)),
        joins=(Mishap(0, 9.0, 0.0),),
    )  # fmt: skip
    for name in ("asgd", "sync", "local-sgd"):
        status, loss = trained(prepared(name, world=world)[0])
        check(status, loss)


def test_before_the_initial_weights_are_saved_nobody_trains() -> None:
    for shards in (1, 3):
        done, store = prepared("asgd", parameterServer={"shards": shards})
        while not store.manifests and done.advance():
            pass
        parts = store.manifests[1].parts
        assert [part.version for part in parts] == [0] * shards
