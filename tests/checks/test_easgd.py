"""algorithms.md section 4: elastic averaging, synchronous and asynchronous, with and without momentum."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from asgd.drivers.virtual.simulation import Simulation
from asgd.spec.types import Job
from tests.checks.virtual import Problem, digits, job, simulation, train
from tests.effort import first


def easgd(workers: int, beta: float, **spec: Any) -> Job:
    """An EASGD job with an exchange after every step; beta may lie outside what the API admits."""
    rules = {"name": "easgd", "period": 1, **spec.pop("algorithm", {})}
    made = job(algorithm=rules, workers={"replicas": workers, "maxReplicas": 256}, **spec)
    return Job(
        made.name,
        made.namespace,
        replace(made.spec, algorithm={**rules, "beta": beta}),
        made.document,
        made.given,
    )


def noisy(chains: int) -> Problem:
    """Q1 with h = 1, sigma = 1 in independent chains."""
    random = np.random.default_rng(0)

    def slope(w: Any, worker: int) -> Any:
        return w + random.standard_normal(chains, np.float32)

    return Problem(np.zeros(chains), slope)


def until(run: Simulation, updates: int) -> None:
    """Goes on until so many updates are in and everybody has its answer."""
    while run.cluster.coordinator.updates < updates or any(
        channel.busy for one in run.workers.values() for channel in one.channels
    ):
        assert run.advance()


@pytest.mark.parametrize(
    ("workers", "centre", "worker"),
    first(
        [
            (4, 0.010456, 0.024502),
            (8, 0.005767, 0.028934),
            (16, 0.003043, 0.035651),
            (64, 0.000794, 0.046571),
        ],
        2,
    ),
)
def test_e1_synchronous_variances_are_the_exact_ones(workers: int, centre: float, worker: float) -> None:
    rounds, chains = 120, 8_000
    made = easgd(workers, 0.9, algorithm={"synchronous": True}, stopAfter={"updates": (rounds + 2) * workers})
    run = simulation(made, noisy(chains))
    until(run, rounds * workers)
    assert float(np.var(run.answer())) == pytest.approx(centre, rel=0.05)
    spread = np.mean([np.var(one.weights) for one in run.workers.values()])
    assert float(spread) == pytest.approx(worker, rel=0.05)


@pytest.mark.parametrize(("workers", "rate"), first([(1, 0.1), (1, 1.0), (8, 0.1)]))
def test_e2_the_bound_of_round_robin_stability_is_sharp(workers: int, rate: float) -> None:
    bound = (4 - 2 * rate) / (4 - rate)
    ends = []
    for factor in (0.99, 1.01):
        made = easgd(
            workers,
            bound * factor * workers,
            optimizer={"learningRate": rate},
            stopAfter={"updates": 800 * workers},
        )
        run = simulation(made, Problem([1.0], lambda w, _: w))
        run.run()
        ends.append(
            max(abs(float(run.answer()[0])), *(abs(float(one.weights[0])) for one in run.workers.values()))
        )
    assert ends[0] < 1 < ends[1]


def test_e3_without_force_workers_are_independent_and_the_centre_stays() -> None:
    start = np.linspace(1, 2, 5)
    run = simulation(
        easgd(3, 0.0, stopAfter={"updates": 40}), Problem(start, lambda w, i: w * np.float32(i + 1))
    )
    until(run, 30)
    assert run.answer().tobytes() == start.astype(np.float32).tobytes()
    for index, one in run.workers.items():
        expected = start.astype(np.float32)
        for _ in range(10):
            expected = expected + expected * np.float32(index + 1) * np.float32(-0.1)
        assert np.allclose(one.weights, expected, rtol=1e-5)


@pytest.mark.parametrize("shards", [1, 2])
def test_e3_without_gradients_the_distance_shrinks_by_1_minus_2_alpha_and_the_sum_is_kept(
    shards: int,
) -> None:
    made = easgd(1, 0.225, stopAfter={"updates": 7}, parameterServer={"shards": shards})
    run = simulation(made, Problem([0.0, 4.0], lambda w, _: w * 0))
    moved: list[tuple[float, float]] = []
    pushed = 0
    while run.advance():
        updates = run.cluster.coordinator.updates
        worker = run.workers[0]
        if pushed == 0 and updates == 0 and worker.weights.any() and worker.rule.x[1] == 4.0:
            worker.rule.x[:] = [1.0, 2.0]  # drawn away from the centre
            worker.weights[:] = worker.rule.x
        if updates > pushed and not any(channel.busy for channel in worker.channels):
            pushed = updates
            moved.append((float((worker.rule.x - run.answer())[1]), float((worker.rule.x + run.answer())[1])))
    distances = [abs(distance) for distance, _ in moved]
    # The last answer comes with the word to stop and is not taken in.
    distances, moved = distances[:-1], moved[:-1]
    assert len(moved) >= 5
    for before, after in pairwise(distances):
        assert after == pytest.approx(0.55 * before, rel=1e-4)
    assert all(total == pytest.approx(6.0, rel=1e-5) for _, total in moved)


@pytest.mark.slow
@pytest.mark.parametrize("period", [10, 1, 64])
def test_e4_digits_at_every_period(period: int) -> None:
    accuracy, _, _ = digits(
        algorithm={"name": "easgd", "period": period},
        stopAfter={"updates": 8000 // period},
        workers={"replicas": 4},
    )
    assert accuracy >= 0.96


@pytest.mark.slow
def test_e4_eamsgd_is_faster_than_easgd() -> None:
    spec = {"stopAfter": {"updates": 800}, "workers": {"replicas": 4}}
    plain, slow, _ = digits(algorithm={"name": "easgd"}, **spec)
    accuracy, fast, _ = digits(
        algorithm={"name": "eamsgd"}, optimizer={"learningRate": 0.1, "momentum": 0.9}, **spec
    )
    assert accuracy >= 0.965 and plain >= 0.96 and fast < 100 < slow


def test_the_force_follows_the_number_of_live_workers() -> None:
    run = simulation(easgd(4, 0.9, stopAfter={"updates": 100}), Problem([1.0], lambda w, _: w))
    run.run()
    assert {one.rule.alpha for one in run.workers.values()} <= {0.9 / count for count in (1, 2, 3, 4)}
    alone = train(
        Problem([1.0], lambda w, _: w),
        algorithm={"name": "easgd"},
        stopAfter={"updates": 5},
        workers={"replicas": 1},
    )
    assert alone.workers[0].rule.alpha == 0.9
