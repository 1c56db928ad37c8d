"""algorithms.md section 6: Entropy-SGD, Elastic-SGD, Parle, and how they reduce to each other."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from asgd.algorithms.parle import ElasticWorker, EntropyWorker, ParleWorker
from asgd.server.saves.in_process import MemoryStore
from asgd.world.models import ComputeTime, Mishap, World
from tests.checks.virtual import Problem, digits, job, simulation, train
from tests.effort import first


def bowl() -> Problem:
    return Problem(np.linspace(1, 2, 5), lambda w, i: w * np.float32(1 + 0.1 * i))


@pytest.mark.parametrize("shards", [1, 2])
def test_p1_one_replica_without_scopes_is_sgd_to_the_bit(shards: int) -> None:
    spec = {"stopAfter": {"updates": 40}, "workers": {"replicas": 1}, "parameterServer": {"shards": shards}}
    made = job(algorithm={"name": "parle", "period": 1, "average": 0}, **spec)
    free = replace(made.spec, algorithm={**made.spec.algorithm, "gamma": math.inf, "rho": math.inf})
    run = simulation(type(made)(made.name, made.namespace, free, made.document, made.given), bowl())
    run.run()
    assert run.answer().tobytes() == train(bowl(), **spec).answer().tobytes()


@pytest.mark.parametrize("period", [1, 7])
def test_p1_parle_of_one_replica_is_entropy_sgd(period: int) -> None:
    spec = {"stopAfter": {"updates": 20}, "workers": {"replicas": 1}}
    parle = train(bowl(), algorithm={"name": "parle", "period": period, "gamma": 2}, **spec)
    entropy = train(bowl(), algorithm={"name": "entropy", "period": period, "gamma": 2}, **spec)
    assert parle.answer().tobytes() == entropy.answer().tobytes()


def test_p1_parle_of_one_step_without_gamma_is_elastic_sgd() -> None:
    """What they send is equal where gradients do not change; else Parle's are taken after the pull, not before it."""
    elastic = job(algorithm={"name": "elastic", "rho": 0.5}).spec
    made = job(algorithm={"name": "parle", "rho": 0.5, "period": 1, "average": 0}).spec
    parle = replace(made, algorithm={**made.algorithm, "gamma": math.inf})
    slopes = np.array([[1, -2], [3, 0], [-5, 1]], np.float32)
    sent = []
    for spec, kind in ((elastic, ElasticWorker), (parle, ParleWorker)):
        workers, points = [kind(spec) for _ in slopes], np.zeros_like(slopes)
        for worker, w in zip(workers, points, strict=True):
            worker.joined(w)
        for _ in range(20):
            for worker, w, slope in zip(workers, points, slopes, strict=True):
                worker.step(w, slope.copy(), 0.1)
            replicas = [worker.outgoing(w, w).copy() for worker, w in zip(workers, points, strict=True)]
            for worker, w in zip(workers, points, strict=True):
                worker.incoming(w, np.mean(replicas, axis=0))
        sent.append(np.array(replicas))
    assert sent[1] == pytest.approx(sent[0], rel=1e-5)
    assert np.ptp(sent[0], axis=0).min() > 0.5


@pytest.mark.parametrize(
    ("gamma", "y", "z"),
    [(0.1, 0.909091, 0.909157), (1, 0.501889, 0.506427), (10, 0.140267, 0.168950), (100, 0.079032, 0.113798)],
)
def test_p2_the_inner_loop_tends_to_the_proximal_point(gamma: float, y: float, z: float) -> None:
    worker = EntropyWorker(job(algorithm={"name": "entropy", "gamma": gamma, "period": 25}).spec)
    w = np.ones(1, np.float32)
    worker.joined(w)
    for _ in range(25):
        worker.step(w, w.copy(), 0.1)
    assert float(w[0]) == pytest.approx(y, abs=2e-6) and float(worker.z[0]) == pytest.approx(z, abs=2e-6)


def flat(run: Any) -> tuple[float, float]:
    """(spread of the replicas' outer points, their mean)."""
    points = [float(one.rule.x[0]) for one in run.workers.values()]
    return max(points) - min(points), sum(points) / len(points)


def test_p3_without_gradients_the_spread_shrinks_by_a_tenth_an_exchange_and_the_mean_is_kept() -> None:
    made = job(algorithm={"name": "parle", "period": 5}, stopAfter={"updates": 40}, workers={"replicas": 4})
    run = simulation(made, Problem([1.0], lambda w, _: w * 0))
    seen: list[tuple[float, float]] = []
    pulled_apart = False
    while run.advance():
        if (
            not pulled_apart
            and len(run.workers) == 4
            and run.clock.now > 0.5  # all compute their first gradient, of a second
        ):
            pulled_apart = True
            for index, one in run.workers.items():
                for vector in (one.weights, one.rule.x, one.rule.z):
                    vector[:] = index
        rounds = {one.rule.rounds for one in run.workers.values()}
        if pulled_apart and len(rounds) == 1 and len(seen) == rounds.copy().pop():
            seen.append(flat(run))
    assert len(seen) >= 8
    for before, after in pairwise(seen):
        assert after[0] == pytest.approx(0.9 * before[0], rel=1e-4)
    assert [mean for _, mean in seen] == pytest.approx([1.5] * len(seen), rel=1e-5)


@pytest.mark.parametrize(
    ("algorithm", "optimizer", "workers", "updates", "least"),
    first(
        [
            ({"name": "parle"}, {"learningRate": 0.1}, 3, 450, 0.96),
            ({"name": "entropy"}, {"learningRate": 0.2}, 4, 600, 0.96),
            ({"name": "parle"}, {"learningRate": 0.1}, 4, 600, 0.96),
            ({"name": "parle"}, {"learningRate": 0.02, "momentum": 0.9, "nesterov": True}, 4, 600, 0.965),
            ({"name": "elastic"}, {"learningRate": 0.1}, 4, 8000, 0.96),
        ],
        0,
    ),
    ids=["parle-3", "entropy", "parle-4", "parle-nesterov", "elastic"],
)
def test_p4_digits(algorithm: Any, optimizer: Any, workers: int, updates: int, least: float) -> None:
    accuracy, _, _ = digits(
        algorithm=algorithm,
        optimizer=optimizer,
        stopAfter={"updates": updates},
        workers={"replicas": workers},
    )
    assert accuracy >= least


def rounds(run: Any) -> dict[int, int]:
    return {index: one.rule.rounds for index, one in run.workers.items() if one.alive or one.ended}


@pytest.mark.parametrize("name", ["parle", "entropy", "elastic"])
def test_who_comes_late_or_back_has_the_scopes_of_the_others(name: str) -> None:
    """Gamma and rho shrink with the job's rounds, not with those that a worker has seen itself."""
    world = World(
        compute=ComputeTime("constant", 1.0), joins=(Mishap(2, 40.0),), deaths=(Mishap(1, 60.0, 5.0),)
    )  # fmt: skip
    made = job(
        algorithm={"name": name, "period": 2}, stopAfter={"updates": 150}, workers={"replicas": 3},
        checkpoint={"everySeconds": 5},
    )  # fmt: skip
    run = simulation(made, bowl(), world, store=MemoryStore())
    crashed = False
    while run.advance():
        if not crashed and run.clock.now > 50:
            crashed = True
            run.cluster.servers[0].crash()
            run.cluster.replace(0)
    facts = run.cluster.servers[0].shard.state.facts
    assert crashed and run.cluster.status().restarts["server"] == 1 and facts["rounds"] > 40
    # The last round ends the job, and nobody pulls it.
    assert list(rounds(run).values()) == [facts["rounds"] - 1] * 3
