"""algorithms.md section 3: staleness-aware, delay compensation, FASGD, Downpour, SSP and the synchronous baseline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asgd.drivers.virtual.simulation import Simulation
from asgd.world.models import ComputeTime, Mishap, World
from tests.checks.virtual import Problem, digits, job, simulation, train


def bowl(size: int = 5) -> Problem:
    """f = x^2 / 2 a coordinate, seen by worker i through a slope of its own."""
    return Problem(np.linspace(1, 2, size), lambda w, i: w * np.float32(1 + 0.1 * i))


def weights(done: Simulation) -> np.ndarray[Any, Any]:
    return done.answer()


@pytest.mark.parametrize("workers", [1, 2])
def test_s1_staleness_aware_is_asgd_to_the_bit_while_staleness_is_at_most_one(workers: int) -> None:
    spec = {"stopAfter": {"updates": 60}, "workers": {"replicas": workers}}
    plain = train(bowl(), **spec)
    aware = train(bowl(), algorithm={"name": "staleness-aware"}, **spec)
    assert plain.cluster.status().staleness.max == workers - 1
    assert weights(plain).tobytes() == weights(aware).tobytes()


def test_s1_a_gradient_that_is_three_versions_old_moves_the_centre_by_a_third() -> None:
    slope = Problem([0.0], lambda w, i: np.ones(1, np.float32))
    done = train(
        slope, algorithm={"name": "staleness-aware"}, stopAfter={"updates": 8}, workers={"replicas": 4}
    )
    moved = -float(weights(done)[0])
    expected = {s: count * 0.1 / max(1, s) for s, count in done.cluster.servers[0].shard.histogram.items()}
    assert moved == pytest.approx(sum(expected.values()), rel=1e-5) and 3 in expected


@pytest.mark.slow
def test_s1_staleness_aware_trains_digits_where_plain_asgd_diverges() -> None:
    spec = {"optimizer": {"learningRate": 1.0}, "stopAfter": {"updates": 4000}, "workers": {"replicas": 8}}
    plain, _, _ = digits(**spec)
    aware, seconds, _ = digits(algorithm={"name": "staleness-aware"}, **spec)
    assert plain < 0.2 and aware >= 0.96 and seconds < 120


@pytest.mark.parametrize(("softsync", "count"), [(1, 4), (2, 2), (3, 1), (4, 1), (64, 1)])
def test_softsync_applies_the_mean_of_workers_by_n_gradients_at_once(softsync: int, count: int) -> None:
    from asgd.algorithms.base import Push, ShardState
    from asgd.algorithms.staleness import StalenessServer

    spec = job(
        algorithm={"name": "staleness-aware", "softsync": softsync}, optimizer={"learningRate": 1}
    ).spec
    zeros = np.zeros(1, np.float32)
    state = ShardState(zeros.copy(), {"gathered": zeros.copy()}, zeros.copy(), workers=4)
    server, path = StalenessServer(spec), []
    for number in range(1, 9):
        push = Push(number % 4, number, 0, 2 * count, number, 1, 1)
        server.admit(push, state)
        server.apply(state, slice(0, 1), push, np.array([-number], np.float32))
        path.append(float(state.weights[0]))
    # Each is 2 updates old, so it counts by half.
    steps = [0.5 * sum(range(k - count + 1, k + 1)) / count if k % count == 0 else 0 for k in range(1, 9)]
    assert path == pytest.approx(np.cumsum(steps).tolist())


def test_softsync_of_one_bears_a_rate_that_plain_asgd_does_not() -> None:
    spec = {"optimizer": {"learningRate": 0.6}, "stopAfter": {"updates": 800}, "workers": {"replicas": 8}}
    with np.errstate(over="ignore", invalid="ignore"):
        plain = weights(train(bowl(), **spec))
    soft = weights(train(bowl(), algorithm={"name": "staleness-aware", "softsync": 1}, **spec))
    assert np.abs(soft).max() < 1e-6 and not np.abs(plain).max() < 1


@pytest.mark.parametrize("centre", [1.0, 0.7, 0.2, -0.5])
def test_s2_the_compensated_gradient_is_exact_on_a_quadratic(centre: float) -> None:
    """h = 1, lambda = 1 and backup 1 (so g = 1): g + g*g*(x - 1) = x for every x."""
    from asgd.algorithms.base import Push, ShardState
    from asgd.algorithms.dcasgd import DcServer

    server = DcServer(job(algorithm={"name": "dc-asgd", "lambda": 1}, optimizer={"learningRate": 1}).spec)
    one = np.ones(1, np.float32)
    state = ShardState(one.copy(), {}, np.empty(1, np.float32))
    server.answer(state, slice(0, 1), 0)
    state.weights[:] = centre
    push = Push(0, 1, 0, 1, 2, 1, 1)
    server.admit(push, state)
    server.apply(state, slice(0, 1), push, one)
    # At rate 1 the centre lands where x - x = 0 is, up to the rounding of float32.
    assert abs(float(state.weights[0])) < 1e-7


def test_s2_without_strength_delay_compensation_is_asgd_to_the_bit() -> None:
    spec = {"stopAfter": {"updates": 60}, "workers": {"replicas": 4}}
    plain = train(bowl(), **spec)
    idle = train(bowl(), algorithm={"name": "dc-asgd", "lambda": 0}, **spec)
    active = train(bowl(), algorithm={"name": "dc-asgd"}, **spec)
    assert weights(plain).tobytes() == weights(idle).tobytes() != weights(active).tobytes()


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("ahead", [0, 1])
def test_s2_a_gradient_is_compensated_from_the_weights_that_it_was_computed_at(
    ahead: int, shards: int
) -> None:
    done = train(
        Problem(np.linspace(1, 2, 6), lambda w, _: w), algorithm={"name": "dc-asgd", "lambda": 1},
        stopAfter={"updates": 12}, workers={"replicas": 1}, exchange={"ahead": ahead},
        parameterServer={"shards": shards},
    )  # fmt: skip
    path = [np.linspace(1, 2, 6)]
    for step in range(done.cluster.status().updates):
        base = path[max(0, step - ahead)]
        g = base
        path.append(path[step] - 0.1 * (g + g * g * (path[step] - base)))
    assert weights(done) == pytest.approx(path[-1], rel=1e-5)


def test_fasgd_adds_weight_decay_to_the_gradient() -> None:
    spec = {"algorithm": {"name": "fasgd"}, "stopAfter": {"updates": 10}, "workers": {"replicas": 1}}
    added = train(Problem([1.0, 2.0], lambda w, _: w + w * np.float32(0.5)), **spec)
    decayed = train(
        Problem([1.0, 2.0], lambda w, _: w), optimizer={"learningRate": 0.1, "weightDecay": 0.5}, **spec
    )
    assert weights(decayed).tobytes() == weights(added).tobytes()


@pytest.mark.parametrize("rule", ["sync", "krum", "median", "geometric-median", "safeguard"])
def test_a_round_goes_at_the_rate_of_the_samples_before_it(rule: str) -> None:
    """As with torch's schedulers: the first step has the first rate."""
    schedule = {"name": "step", "unit": "samples", "every": 5, "gamma": 0.5}
    done = train(
        Problem([0.0], lambda w, _: np.ones(1, np.float32)), algorithm={"name": rule},
        optimizer={"learningRate": 1.0, "schedule": schedule}, stopAfter={"updates": 15}, workers={"replicas": 5},
    )  # fmt: skip
    assert weights(done)[0] == pytest.approx(-(1.0 + 0.5 + 0.25))


def test_s2_compensation_keeps_asgd_stable_beyond_its_limit() -> None:
    """Staleness 3 on f = x^2/2 diverges above 0.445; the compensated gradient near x = 1 is the true one."""
    problem = {"stopAfter": {"updates": 30}, "workers": {"replicas": 4}, "optimizer": {"learningRate": 0.6}}
    plain = train(Problem([1.0], lambda w, _: w), **problem)
    held = train(Problem([1.0], lambda w, _: w), algorithm={"name": "dc-asgd", "lambda": 1}, **problem)
    assert abs(weights(plain)[0]) > 1 > abs(weights(held)[0])


def gaps(done: Simulation) -> set[int]:
    """How far any worker's clock was ahead of the slowest, over a run that is stepped through event by event."""
    seen: set[int] = set()
    while done.advance():
        clocks = done.cluster.servers[0].shard.state.clocks
        if len(clocks) == done.job.spec.workers.replicas:
            seen.add(max(clocks.values()) - min(clocks.values()))
    return seen


@pytest.mark.parametrize(("bound", "ahead"), [(3, 4), (1, 2), (0, 1)])
def test_s3_fast_workers_stop_exactly_bound_plus_one_clocks_ahead(bound: int, ahead: int) -> None:
    world = World(compute=ComputeTime("constant", 1.0), stragglers=((0, 10.0),))
    ssp = job(algorithm={"name": "ssp", "bound": bound}, stopAfter={"updates": 60}, workers={"replicas": 3})
    assert max(gaps(simulation(ssp, bowl(), world))) == ahead
    free = job(stopAfter={"updates": 60}, workers={"replicas": 3})
    assert max(gaps(simulation(free, bowl(), world))) > 10


def test_s3_bound_zero_is_bulk_synchronous() -> None:
    """Each clock's gradients are all taken at the weights that the clock before left: the order of one step a round."""
    ssp = train(
        bowl(), algorithm={"name": "ssp", "bound": 0}, stopAfter={"updates": 30}, workers={"replicas": 3}
    )
    w = np.linspace(1, 2, 5).astype(np.float32)
    for _ in range(10):
        at = w.copy()
        for i in range(3):
            w += at * np.float32(1 + 0.1 * i) * np.float32(-0.1)
    assert np.allclose(weights(ssp), w, rtol=1e-5)


def test_s3_a_dead_worker_stalls_nobody() -> None:
    world = World(compute=ComputeTime("constant", 1.0), deaths=(Mishap(0, 5.0),))
    done = train(
        bowl(),
        world,
        algorithm={"name": "ssp", "bound": 2},
        stopAfter={"updates": 100},
        workers={"replicas": 3},
    )
    assert done.cluster.status().stop_reason == "updates"


def synchronous(rounds: int, workers: int) -> np.ndarray[Any, Any]:
    w = np.linspace(1, 2, 5).astype(np.float32)
    for _ in range(rounds):
        total = w * np.float32(1)
        for i in range(1, workers):
            total += w * np.float32(1 + 0.1 * i)
        total *= np.float32(1 / workers)
        total *= np.float32(-0.1)
        w += total
    return w


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_sync_is_sgd_on_the_mean_gradient_to_the_bit_over_any_number_of_shards(shards: int) -> None:
    world = World(compute=ComputeTime("lognormal", 1.0, 0.5), latency=0.01)
    done = train(
        bowl(), world, algorithm={"name": "sync"}, stopAfter={"updates": 40}, workers={"replicas": 4},
        parameterServer={"shards": shards},
    )  # fmt: skip
    assert weights(done).tobytes() == synchronous(10, 4).tobytes()
    assert done.cluster.status().versions == [40] * shards and done.cluster.status().staleness.max == 0


@pytest.mark.parametrize("shards", [1, 2])
def test_sync_goes_on_when_a_worker_dies_comes_back_or_joins(shards: int) -> None:
    world = World(
        compute=ComputeTime("lognormal", 0.1, 0.3), latency=0.01, joins=(Mishap(3, 3.0),),
        deaths=(Mishap(1, 2.0, 2.0), Mishap(2, 4.0)),
    )  # fmt: skip
    accuracy, _, done = digits(
        world=world, algorithm={"name": "sync"}, stopAfter={"epochs": 6}, workers={"replicas": 4},
        parameterServer={"shards": shards},
    )  # fmt: skip
    status = done.cluster.status()
    assert status.stop_reason == "epochs" and accuracy > 0.8
    assert len(set(status.versions)) == 1
