"""algorithms.md section 7: Zeno, its scores, and rounds whose oracle is there, away, or comes back."""

from __future__ import annotations

import numpy as np
import pytest

from asgd.algorithms.zeno import best, scores
from asgd.drivers.virtual.simulation import Simulation
from asgd.spec.types import Byzantine
from asgd.worker.shared import TorchWork
from asgd.world.models import ComputeTime, World
from tests.checks.virtual import CONSTANT, Problem, job, train

TEN = {"stopAfter": {"updates": 300}, "workers": {"replicas": 10}}


def liars(kind: str, *workers: int) -> World:
    return World(compute=ComputeTime("constant", 1.0), attacks=(Byzantine(kind, workers),))


def bowl() -> Problem:
    """f = |w|^2 / 2; worker i's gradient is 1 + i / 100 times the true one."""
    return Problem(
        np.linspace(1, 2, 64),
        lambda w, i: w * np.float32(1 + 0.01 * i),
        lambda w: float(w @ w) / 2,
    )


def test_a_score_is_the_descent_less_the_squared_length() -> None:
    found = scores(np.array([3.0, 2.0, 3.5, np.nan]), np.array([4.0, 1.0, 1.0]), 0.1)
    assert found.tolist() == [pytest.approx(0.6), pytest.approx(-0.6), -np.inf]


def test_the_worst_are_left_out_and_ties_go_to_the_lowest() -> None:
    assert best(np.array([1.0, 3.0, 1.0, -np.inf]), 2).tolist() == [0.5, 0.5, 0, 0]
    assert best(np.array([1.0, 3.0]), 5).tolist() == [0, 1]


def test_the_best_are_those_whose_gradients_lower_the_loss_most() -> None:
    # Longer steps down the bowl lower it more: the last six of ten are listened to, round after round.
    zeno = train(bowl(), algorithm={"name": "zeno", "byzantine": 4}, **TEN).answer()
    w = np.linspace(1, 2, 64).astype(np.float32)
    for _ in range(30):
        w = w * np.float32(1 - 0.1 * np.mean([1 + 0.01 * i for i in range(4, 10)]))
    assert zeno == pytest.approx(w, rel=1e-5)


@pytest.mark.parametrize("shards", [1, 3])
def test_while_the_oracle_is_away_rounds_close_by_the_geometric_median(shards: int) -> None:
    spec = {**TEN, "parameterServer": {"shards": shards}}
    alone = Simulation(job(algorithm={"name": "zeno", "byzantine": 4}, **spec), bowl(), CONSTANT)
    alone.cluster.oracle = None
    assert alone.run().stop_reason == "updates"
    other = train(bowl(), algorithm={"name": "geometric-median"}, **spec)
    assert alone.answer().tobytes() == other.answer().tobytes()
    assert alone.cluster.servers[0].shard.state.facts["unscored"] == 30


def test_an_oracle_that_comes_back_is_listened_to_again() -> None:
    run = Simulation(job(algorithm={"name": "zeno"}, **TEN), bowl(), CONSTANT)
    oracle, run.cluster.oracle = run.cluster.oracle, None
    facts = run.cluster.servers[0].shard.state.facts
    while run.advance() and facts.get("rounds", 0) < 10:
        pass
    run.cluster.oracle = oracle
    assert run.run().stop_reason == "updates" and facts["rounds"] == 30
    assert facts["unscored"] == 10


def test_the_bits_do_not_depend_on_the_number_of_shards() -> None:
    ends = [
        train(bowl(), algorithm={"name": "zeno"}, parameterServer={"shards": shards}, **TEN)
        .answer()
        .tobytes()
        for shards in (1, 3)
    ]
    assert ends[0] == ends[1]


def test_gradients_turned_round_and_blown_up_are_left_out_while_the_mean_is_lost() -> None:
    lying = liars("inner", 7, 8, 9)
    safe = train(bowl(), lying, algorithm={"name": "zeno", "byzantine": 3}, **TEN).answer()
    lost = train(bowl(), lying, algorithm={"name": "sync"}, **TEN).answer()
    assert np.linalg.norm(safe) < 1 < np.linalg.norm(lost)


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_digits_under_zeros_which_krum_and_the_median_do_not_bear() -> None:
    spec = job(
        algorithm={"name": "zeno", "byzantine": 4}, stopAfter={"updates": 6000}, workers={"replicas": 10},
        evaluation={"everySeconds": 100_000},
    )  # fmt: skip
    run = Simulation(spec, TorchWork(spec.spec), liars("zero", 6, 7, 8, 9))
    assert run.run().metrics["accuracy"] >= 0.94
