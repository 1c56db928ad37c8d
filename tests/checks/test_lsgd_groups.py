"""algorithms.md section 5: Leader SGD of several groups, against the paper's rule computed in double precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from asgd.algorithms.lsgd import LsgdServer
from asgd.drivers.virtual.faults.rehearsal import rehearse
from asgd.drivers.virtual.simulation import Simulation
from asgd.server.shard import Shard
from asgd.world.models import ComputeTime, Mishap, World
from tests.checks.test_lsgd import QUIET, apart, by_second, lsgd, places, still
from tests.checks.virtual import CONSTANT, Problem, job, simulation
from tests.unit.server.peers import bring, hello, push, verdict

STARTS = [3.0, -2.0, 0.5, 1.8, 2.4, -0.7]
RATE, PERIOD, WIDE_PERIOD = 0.02, 3, 6
LAMBDA, GLOBAL_LAMBDA, PROX, GLOBAL_PROX = 0.2, 0.35, 0.3, 0.25
RULES = {
    "period": PERIOD, "globalPeriod": WIDE_PERIOD, "lambda": LAMBDA, "globalLambda": GLOBAL_LAMBDA, "groups": 2,
}  # fmt: skip
Doubles = npt.NDArray[np.float64]


def slope(w: Any, worker: int) -> Any:
    """A bowl of another steepness for each worker, with ripples in which the leaders change."""
    return w * (0.3 + 0.2 * worker) + 2 * np.cos(3 * w)


def loss(w: Any) -> float:
    return float(w[0] ** 2 + np.sin(5 * w[0]))


def paper(steps: int, workers: int, beside: bool, prox: float, wide_prox: float) -> list[Doubles]:
    """Where all workers are after each step, (workers, 2), by the rules as algorithms.md has them."""
    x = np.array([[STARTS[i], -0.5 * STARTS[i]] for i in range(workers)])
    near: dict[int, Doubles] = {}
    wide: dict[int, Doubles] = {}
    told, ends = np.zeros(workers), []
    for step in range(1, steps + 1):
        for i in range(workers):
            told[i] += loss(x[i]) / PERIOD
            x[i] -= RATE * slope(x[i], i)
            if i in near:
                x[i] -= prox / PERIOD * (x[i] - near[i])
            if i in wide:
                x[i] -= wide_prox / WIDE_PERIOD * (x[i] - wide[i])
        if step % PERIOD == 0:
            reaches_all = workers > 1 and step % WIDE_PERIOD == 0
            best = int(np.argmin(told))
            if beside or not reaches_all:
                leaders = [min(range(i % 2, workers, 2), key=lambda k: told[k]) for i in range(workers)]
                _pull(x, leaders, LAMBDA, near)
            if reaches_all:
                _pull(x, [best] * workers, GLOBAL_LAMBDA, wide)
            told[:] = 0
        ends.append(x.copy())
    return ends


def _pull(x: Doubles, leaders: Sequence[int], share: float, stored: dict[int, Doubles]) -> None:
    there = {leader: x[leader].copy() for leader in leaders}
    for i, leader in enumerate(leaders):
        if leader == i:
            stored.pop(i, None)
        else:
            stored[i] = there[leader]
            x[i] -= share * (x[i] - there[leader])


def started(workers: int, shards: int = 1, **own: Any) -> Simulation:
    made = job(
        algorithm={"name": "lsgd"} | RULES | own, optimizer={"learningRate": RATE}, workers={"replicas": workers},
        stopAfter={"updates": 10_000}, parameterServer={"shards": shards}, evaluation=QUIET,
    )  # fmt: skip
    run = simulation(made, Problem([9.0, 9.0], slope, loss))
    while len(run.workers) < workers or run.clock.now < 0.5:
        assert run.advance()
    for i, one in run.workers.items():
        one.weights[:] = [STARTS[i], -0.5 * STARTS[i]]
    return run


def walked(run: Simulation, steps: int) -> list[Doubles]:
    """Where all workers are after each of the first steps; a gradient takes a second."""
    ends: dict[int, Doubles] = {}
    while run.clock.now < steps + 0.5:
        assert run.advance()
        ends[int(run.clock.now)] = np.array(
            [one.weights for _, one in sorted(run.workers.items())], np.float64
        )
    return [ends[second] for second in range(1, steps + 1)]


@pytest.mark.parametrize(("prox", "wide_prox"), [(0.0, 0.0), (PROX, GLOBAL_PROX)])
@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("rule", ["beside", "instead", None])
def test_six_workers_in_two_groups_walk_as_the_rules_computed_in_double_precision(
    rule: str | None, shards: int, prox: float, wide_prox: float
) -> None:
    chosen = {"globalLeader": rule} if rule else {}
    seen = walked(started(6, shards, prox=prox, globalProx=wide_prox, **chosen), 60)
    expected = paper(60, 6, rule != "instead", prox, wide_prox)
    for step, (ours, theirs) in enumerate(zip(seen, expected, strict=True), 1):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4), f"after step {step}"


def test_the_two_rules_differ_where_a_global_round_ends_and_nowhere_before() -> None:
    both, one = paper(12, 6, True, 0, 0), paper(12, 6, False, 0, 0)
    assert all((a == b).all() for a, b in zip(both[:5], one[:5], strict=True))
    assert np.abs(both[5] - one[5]).max() > 0.05


@pytest.mark.parametrize("own", [{}, {"globalLeader": "instead"}, {"asynchronous": True}])
def test_one_worker_leads_itself_and_is_plain_sgd_to_the_bit(own: dict[str, Any]) -> None:
    seen = walked(started(1, prox=PROX, globalProx=GLOBAL_PROX, **own), 40)
    x = np.array([STARTS[0], -0.5 * STARTS[0]], np.float32)
    for ours in seen:
        x -= np.float32(RATE) * slope(x, 0).astype(np.float32)
        assert (ours == x).all()


def test_both_leaders_pull_between_rounds_and_nobody_is_drawn_to_an_old_copy_of_itself() -> None:
    run = started(6, prox=PROX, globalProx=GLOBAL_PROX)
    walked(run, WIDE_PERIOD)
    held = {i: set(one.rule.leaders) for i, one in run.workers.items()}
    server: Any = run.cluster.servers[0].shard.strategy
    best = server.decision["best"]
    for i, names in held.items():
        leads = server.leaders[i] == i
        assert names == ({"near"} if not leads else set()) | ({"wide"} if i != best else set())


@pytest.mark.parametrize(("rule", "moves"), [("beside", 2), ("instead", 1)])
def test_overlapped_exchanges_make_both_moves_too(rule: str, moves: int) -> None:
    made = job(
        algorithm={"name": "lsgd", "prox": 0, "globalProx": 0, "globalLeader": rule} | RULES, evaluation=QUIET,
        stopAfter={"updates": 10_000}, workers={"replicas": 4}, exchange={"ahead": 1},
    )  # fmt: skip
    run = simulation(made, still())
    apart(run, [3, 5, 0.5, 4])
    by_second(run, places, until=WIDE_PERIOD + 2.5)
    kept, wide = (1 - LAMBDA) ** moves, 1 - GLOBAL_LAMBDA
    ends = [0.5 + wide * kept * 2.5, 0.5 + wide * (3.5 + kept), 0.5, 0.5 + wide * 3.5]
    assert places(run) == pytest.approx(ends, rel=1e-5)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(("rule", "near"), [("beside", 0.9), ("instead", 1.0)])
def test_asynchronous_workers_move_to_their_leader_and_then_to_the_best_of_all(
    rule: str, near: float, shards: int
) -> None:
    run = simulation(
        lsgd(200, shards=shards, groups=2, globalPeriod=20, asynchronous=True, globalLeader=rule), still(50)
    )
    apart(run, [1, 100, 2, 101])
    seen = by_second(run, places)
    jump = next(second for second in range(1, len(seen)) if seen[second][1] < 95)
    before, after = seen[jump - 1], seen[jump]
    assert after[0] == 1 and after[1] == pytest.approx(1 + 99 * 0.9, rel=1e-5)
    assert after[3] == pytest.approx(1 + 0.9 * (99 + near * (before[3] - 100)), rel=1e-5)
    # The best leads the group of worker 2 as well: beside is two moves to the same leader.
    assert after[2] == pytest.approx(1 + 0.9 * near * (before[2] - 1), rel=1e-5)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_leader_that_dies_before_it_sends_its_weights_costs_its_followers_that_move_alone(
    victim: int,
) -> None:
    run = simulation(lsgd(80, groups=2, globalPeriod=4), still(50), CONSTANT)
    apart(run, [1, 100, 2, 101])
    dead = run.workers[victim]

    def follow() -> Any:
        if dead.rule.notes.get("wide") or dead.rule.notes.get("more") or dead.rule.notes.get("best"):
            run._kill(dead, Mishap(victim, 0.0))
        return type(dead.rule).follow(dead.rule)

    dead.rule.follow = follow
    run.run()
    status = run.cluster.status()
    assert not dead.alive and (status.stop_reason, status.updates >= 80) == ("updates", True)
    assert all(np.isfinite(places(run)))


def test_a_jump_to_the_best_that_a_new_server_does_not_know_of_is_refused_and_harms_nobody() -> None:
    spec = job(algorithm={"name": "lsgd", "groups": 2}).spec
    shard = Shard(spec, LsgdServer(spec), 0, 1, 1)
    hello(shard, 0, 1, 4)
    bring(shard, 0, 1, np.ones(4, np.float32))
    reply = push(shard, 0, 1, np.zeros(4, np.float32), bare=True, steps=0, meta={"onward": 1.0})
    assert verdict(reply) == "refused:late" and shard.state.version == 0


def test_slow_workers_and_several_shards_change_nothing_but_the_time() -> None:
    made = lsgd(240, 4, 2, **RULES | {"prox": PROX})
    ends = []
    for stragglers in ((), ((3, 4.0),)):
        world = World(compute=ComputeTime("constant", 1.0), stragglers=stragglers)
        run = simulation(made, Problem([2.0, 1.0], lambda w, i: slope(w, i).astype(np.float32), loss), world)
        run.run()
        ends.append(run.answer().tolist())
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("own", "shards", "seeds"),
    [
        ({}, 1, range(6)),
        ({}, 3, range(6)),
        ({"asynchronous": True}, 1, (5, 36)),
        ({"asynchronous": True}, 3, (7, 25)),
    ],
)
def test_groups_go_on_when_messages_are_lost_workers_die_and_servers_come_back_with_less(
    own: dict[str, Any], shards: int, seeds: Sequence[int]
) -> None:
    made = job(
        algorithm={"name": "lsgd", "period": 2, "globalPeriod": 4, "groups": 2} | own, workers={"replicas": 4},
        parameterServer={"shards": shards}, optimizer={"learningRate": 0.1}, stopAfter={"epochs": 2},
    )  # fmt: skip
    assert [(seed, rehearse(made, seed).broken) for seed in seeds] == [(seed, "") for seed in seeds]
