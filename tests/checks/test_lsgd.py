"""algorithms.md section 5: Leader SGD with one leader and with many, in rounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from asgd.algorithms.base import NOTHING, Contribution, Push, ShardState
from asgd.algorithms.easgd import EasgdWorker
from asgd.algorithms.lsgd import LsgdServer
from asgd.drivers.virtual.simulation import Simulation
from asgd.worker.reading.leased import LeasedBatch, NextLease
from asgd.worker.shared import Batches
from asgd.world.models import ComputeTime, Mishap, World
from tests.checks.virtual import CONSTANT, Problem, digits, job, simulation, train

QUIET = {"everySeconds": 100_000}
"""Nobody asks for the answer before the end."""
SIZE = 100


def still(size: int = 1) -> Problem:
    """No gradient; who is nearer to zero has the lower loss."""
    return Problem(np.full(size, 9.0), lambda w, _: w * 0, lambda w: abs(float(w[0])))


def lsgd(updates: int, workers: int = 4, shards: int = 1, evaluation: Any = None, **own: Any) -> Any:
    rules = {"name": "lsgd", "period": 1, "prox": 0, "globalProx": 0} | own
    return job(
        algorithm=rules, stopAfter={"updates": updates}, workers={"replicas": workers},
        parameterServer={"shards": shards}, evaluation=evaluation or QUIET,
    )  # fmt: skip


def apart(run: Simulation, points: Sequence[float]) -> None:
    """Goes on until all workers compute their first gradient, of a second, and puts worker i at points[i]."""
    while len(run.workers) < len(points) or run.clock.now < 0.5:
        assert run.advance()
    for index, one in run.workers.items():
        one.weights[:] = points[index]
        if isinstance(one.rule, EasgdWorker):
            one.rule.x[:] = points[index]


def places(run: Simulation) -> list[float]:
    return [float(one.weights[0]) for _, one in sorted(run.workers.items())]


@pytest.mark.parametrize("shards", [1, 3])
def test_l1_without_gradients_followers_come_nearer_by_a_tenth_a_pull_and_the_leader_stays(
    shards: int,
) -> None:
    run = simulation(lsgd(4 * 24, shards=shards), still(5))
    apart(run, [3, 1, 2, 4])
    seen = [places(run)]
    while run.advance():
        now = places(run)
        if now[0] != seen[-1][0] and all(a != b for a, b in zip(now, seen[-1], strict=True) if a != 1):
            seen.append(now)
    assert len(seen) >= 23
    for pulls in (10, 22):
        assert seen[pulls][1] == 1.0
        for worker, distance in ((0, 2), (2, 1), (3, 3)):
            assert seen[pulls][worker] - 1 == pytest.approx(distance * 0.9**pulls, rel=1e-4)
    assert pytest.approx(0.348678, abs=1e-6) == 0.9**10 and pytest.approx(0.098477, abs=1e-6) == 0.9**22


def double_well() -> Problem:
    """DW, every gradient exact: Leader SGD is LGD here."""
    return Problem(
        [0.475],
        lambda w, _: 4 * w * (w * w - 1) + np.float32(0.3),
        lambda w: float((w[0] ** 2 - 1) ** 2 + 0.3 * w[0]),
    )


@pytest.mark.parametrize(
    ("algorithm", "end"),
    [
        ({"name": "lsgd", "prox": 0}, -1.03558),
        pytest.param({"name": "lsgd"}, -1.03558, marks=pytest.mark.slow),
        ({"name": "easgd", "beta": 0.9}, 0.96015),
    ],
    ids=["lsgd", "lsgd-prox", "easgd"],
)
@pytest.mark.slow
def test_l2_the_leader_draws_all_to_the_global_minimum_and_the_centre_draws_them_away(
    algorithm: Any, end: float
) -> None:
    made = job(
        algorithm={"period": 4} | algorithm, optimizer={"learningRate": 0.01}, stopAfter={"updates": 4000},
        workers={"replicas": 4}, evaluation=QUIET,
    )  # fmt: skip
    run = simulation(made, double_well())
    apart(run, [1.2, 0.9, 1.0, -1.2])
    run.run()
    assert places(run) == pytest.approx([end] * 4, abs=1e-4)
    assert float(run.answer()[0]) == pytest.approx(end, abs=1e-4)


def by_second(run: Simulation, look: Callable[[Simulation], Any], until: float = math.inf) -> list[Any]:
    """What is seen at the end of each second; a gradient takes one."""
    ends: dict[int, Any] = {}
    while run.clock.now < until and run.advance():
        ends[int(run.clock.now)] = look(run)
    return [ends[second] for second in sorted(ends)]


def payloads(run: Simulation) -> tuple[float, float]:
    """Models of SIZE parameters that went up and down so far."""
    servers = [server.traffic for server in run.cluster.servers]
    sizes = [sum(server.received for server in servers), sum(server.sent for server in servers)]
    return sizes[0] / (4 * SIZE), sizes[1] / (4 * SIZE)


def traffic(run: Simulation) -> list[tuple[float, float]]:
    """What went up and down in each round but the first second's, in which everybody joins."""
    return [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(by_second(run, payloads))]


@pytest.mark.parametrize("shards", [1, 3])
def test_l4_a_round_carries_one_model_up_and_three_down(shards: int) -> None:
    run = simulation(lsgd(40, shards=shards), still(SIZE))
    rounds = traffic(run)
    # The last round is not answered any more, and then everybody leaves its weights for the answer.
    assert rounds[:9] == [(1, 3)] * 9 and rounds[9][0] == 4


def test_l4_an_evaluation_costs_a_model_a_worker_in_the_round_after_it_was_asked_for() -> None:
    rounds = traffic(simulation(lsgd(80, evaluation={"everySeconds": 5}), still(SIZE)))[:19]
    assert set(rounds) == {(1, 3), (4, 3)} and rounds.count((4, 3)) == 3


@pytest.mark.parametrize(("rule", "wide"), [("beside", (2, 4)), ("instead", (1, 3))])
@pytest.mark.parametrize(("groups", "nodes"), [(2, 1), ("node", 2)])
def test_l4_groups_exchange_nothing_with_each_other_between_global_rounds(
    groups: Any, nodes: int, rule: str, wide: tuple[int, int]
) -> None:
    world = World(compute=ComputeTime("constant", 1.0), nodes=nodes)
    made = lsgd(64, groups=groups, globalPeriod=4, globalLeader=rule)
    run = simulation(made, still(SIZE), world)
    apart(run, [1, 100, 2, 101])
    seen = by_second(run, places)
    for row in seen[1:4]:
        assert row[0] == 1 and row[1] == 100 and 1 < row[2] < 2 and 100 < row[3] < 101
    assert seen[4][0] == 1 and seen[4][1] == pytest.approx(1 + 99 * 0.9, rel=1e-5)
    again = traffic(simulation(made, still(SIZE), world))
    # A follower of the best takes one model for both moves.
    assert again[:8] == [(2, 2), (2, 2), (2, 2), wide] * 2


@pytest.mark.slow
@pytest.mark.parametrize("period", [16, 4, 64])
def test_l5_digits(period: int) -> None:
    accuracy, _, _ = digits(
        algorithm={"name": "lsgd", "period": period}, stopAfter={"updates": 8000 // period},
        workers={"replicas": 4},
    )  # fmt: skip
    assert accuracy >= 0.96


@pytest.mark.parametrize("shards", [1, 3])
def test_asynchronous_followers_come_nearer_a_pull_and_only_the_leader_sends(shards: int) -> None:
    run = simulation(lsgd(80, shards=shards, asynchronous=True), still(SIZE))
    apart(run, [3, 1, 2, 4])
    seen = by_second(run, lambda run: (places(run), payloads(run)))
    for (_, before), (_, after) in pairwise(seen[3:18]):
        assert (after[0] - before[0], after[1] - before[1]) == (1, 3)
    (first, _), (last, _) = seen[3], seen[13]
    for worker in (0, 2, 3):
        assert last[worker] - 1 == pytest.approx((first[worker] - 1) * 0.9**10, rel=1e-4)
    assert first[1] == last[1] == 1


def test_asynchronous_groups_meet_every_global_period_only() -> None:
    run = simulation(lsgd(200, groups=2, globalPeriod=40, asynchronous=True), still(SIZE))
    apart(run, [1, 100, 2, 101])
    seen = by_second(run, places)
    assert 1 <= seen[38][2] < 2 and 100 <= seen[38][3] < 101
    assert seen[42][1] == pytest.approx(1 + 99 * 0.9, rel=1e-3)


def test_asynchronous_workers_do_not_wait_for_a_slow_one_nor_for_a_leader_that_is_gone() -> None:
    world = World(
        compute=ComputeTime("constant", 1.0), stragglers=((3, 10.0),), deaths=(Mishap(1, 10.5),),
    )  # fmt: skip
    run = simulation(lsgd(100, asynchronous=True), still(SIZE), world)
    apart(run, [3, 1, 2, 4])
    run.run()
    steps = {index: one.core.steps for index, one in run.workers.items()}
    assert min(steps[0], steps[2]) >= 8 * steps[3] and run.cluster.status().updates >= 100
    leaders = run.cluster.servers[0].shard.state.facts["leaders"]
    assert leaders["0"][0] in (0, 2)


@pytest.mark.slow
def test_asynchronous_digits() -> None:
    accuracy, _, run = digits(
        algorithm={"name": "lsgd", "period": 10, "asynchronous": True}, stopAfter={"updates": 800},
        workers={"replicas": 4},
    )  # fmt: skip
    assert accuracy >= 0.96
    assert run.answer() == pytest.approx(
        np.mean([one.weights for one in run.workers.values()], axis=0), rel=1e-5, abs=1e-6
    )


def test_the_answer_is_the_mean_of_the_workers_as_they_were_when_the_job_ended() -> None:
    bowl = Problem(np.linspace(1, 2, 5), lambda w, i: w * np.float32(1 + 0.1 * i), lambda w: float(w[0]))
    run = train(bowl, algorithm={"name": "lsgd", "period": 3}, stopAfter={"updates": 40})
    assert run.answer() == pytest.approx(
        np.mean([one.weights for one in run.workers.values()], axis=0), rel=1e-6
    )


class Short(Problem):
    """Worker 0 has data for six steps, the others without end."""

    def open(self, worker: int, lease: NextLease) -> Batches:
        return Six() if worker == 0 else super().open(worker, lease)


class Six:
    def __init__(self) -> None:
        self.left = 6

    def next(self) -> LeasedBatch | None:
        self.left -= 1
        return LeasedBatch(None, 1, ()) if self.left >= 0 else None

    def load(self, item: LeasedBatch) -> LeasedBatch:
        return item


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_worker_whose_data_ended_long_before_the_job_is_not_in_the_mean(asynchronous: bool) -> None:
    hill = Short(np.zeros(5), lambda w, i: np.full_like(w, -1), lambda w: float(-w[0]))
    seen: list[float] = []
    made = job(
        algorithm={"name": "lsgd", "period": 3, "asynchronous": asynchronous}, stopAfter={"updates": 60},
        workers={"replicas": 3}, evaluation={"everySeconds": 5},
    )  # fmt: skip
    run = simulation(made, hill)
    hill.evaluate = lambda weights: {"height": seen.append(float(weights[0])) or 0.0}  # type: ignore[method-assign]
    run.run()
    ends = places(run)
    assert ends[0] < 1 and min(ends[1:]) > 4, "worker 0 stands where it was after six steps"
    assert run.answer() == pytest.approx(np.mean(ends[1:]), rel=1e-6)
    assert seen[-2] > 3, "and evaluations before the end did not stay with it"


def test_nobody_waits_for_a_leader_that_died_before_it_sent_its_weights() -> None:
    run = simulation(lsgd(60), still(SIZE), CONSTANT)
    apart(run, [3, 1, 2, 4])
    leader = run.workers[1]
    leader.rule.follow = lambda: run._kill(leader, Mishap(1, 0.0)) or NOTHING
    run.run()
    status = run.cluster.status()
    assert not leader.alive and status.stop_reason == "updates" and status.updates >= 60
    assert places(run)[2] == 2.0 and places(run)[0] < 3 and places(run)[3] < 4


@pytest.mark.parametrize("asynchronous", [False, True])
def test_with_overlapped_exchanges_the_leader_still_sends_and_is_followed(asynchronous: bool) -> None:
    made = job(
        algorithm={"name": "lsgd", "period": 3, "prox": 0, "asynchronous": asynchronous},
        stopAfter={"updates": 200}, workers={"replicas": 4}, exchange={"ahead": 1}, evaluation=QUIET,
    )  # fmt: skip
    run = simulation(made, still(SIZE))
    apart(run, [3, 1, 2, 4])
    run.run()
    assert places(run)[1] == 1 and max(places(run)) < 1.1


def test_a_worker_whose_weights_are_no_numbers_goes_on_from_the_leader() -> None:
    problem = Problem(np.full(3, 5.0), lambda w, _: w * 0, lambda w: abs(float(w[0])))
    run = simulation(lsgd(300, workers=3), problem)
    apart(run, [1, 2, float("nan")])
    run.run()
    assert np.isfinite(run.answer()).all() and places(run)[2] == pytest.approx(1, abs=0.01)
    assert run.cluster.status().refused["nonfinite"] >= 1


def test_nobody_waits_for_a_leader_that_rests_without_having_sent_its_weights() -> None:
    server = LsgdServer(lsgd(10).spec)
    state = ShardState(np.ones(4, np.float32), {"leader": np.zeros(4, np.float32)}, np.empty(4, np.float32))
    state.clocks, state.nodes = {0: 1, 1: 1}, {0: "", 1: ""}
    pushes = [Push(worker, 1, 0, 0, 1, 8, 1, loss=float(worker), bare=True) for worker in (0, 1)]
    given = [Contribution(push, np.empty(0, np.float32), complete=True) for push in pushes]
    server.close(state, given, server.decide(state, pushes, {}))
    assert server.notes(state, 0)["send"] == 1 and not server.may_pull(state, 1)
    del state.clocks[0]
    assert server.may_pull(state, 1) and server.answer(state, slice(0, 4), 1) is None


def test_other_strategies_refuse_pushes_without_payload() -> None:
    from asgd.errors import ProtocolError
    from tests.unit.server.peers import push, ready_shard

    with pytest.raises(ProtocolError, match="has no payload, which asgd cannot use"):
        push(ready_shard(4), 0, 1, np.zeros(4, np.float32), bare=True)
