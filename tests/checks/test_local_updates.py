"""algorithms.md section 9: local SGD, DiLoCo, and delayed Nesterov without rounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asgd.algorithms.asyncdiloco import AsyncDilocoServer
from asgd.algorithms.base import Push, ShardState
from asgd.world.models import ComputeTime, World
from tests.checks.virtual import Problem, job, train


def bowl() -> Problem:
    return Problem(np.linspace(1, 2, 5), lambda w, i: w * np.float32(1 + 0.1 * i))


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("shards", [1, 3])
def test_d1_one_plain_step_a_round_is_synchronous_sgd(workers: int, shards: int) -> None:
    spec = {
        "stopAfter": {"updates": 20 * workers}, "workers": {"replicas": workers}, "parameterServer": {"shards": shards}
    }  # fmt: skip
    sync = train(bowl(), algorithm={"name": "sync"}, **spec).answer()
    plain = {"name": "diloco", "period": 1, "outerLearningRate": 1, "outerMomentum": 0}
    diloco = train(bowl(), algorithm=plain, **spec).answer()
    local = train(bowl(), algorithm={"name": "local-sgd", "period": 1}, **spec).answer()
    # A difference of rounded weights is not the rounded step: 4 units in the last place a round.
    assert np.all(np.abs(diloco - sync) <= 20 * 4 * np.spacing(np.float32(2.0)))
    assert diloco.tobytes() == local.tobytes()


def delayed(pushes: list[float], mu: float = 0.9) -> list[float]:
    """theta after each push of D, N = 4, eps = 0.7."""
    rule = {"name": "async-diloco", "outerLearningRate": 0.7, "outerMomentum": mu, "buffer": 4}
    server = AsyncDilocoServer(job(algorithm=rule).spec)
    zeros = lambda: np.zeros(1, np.float32)  # noqa: E731
    state = ShardState(zeros(), {"momentum": zeros(), "buffer": zeros()}, zeros())
    ends = []
    for count, value in enumerate(pushes):
        push = Push(count % 4, 1, 0, 0, count + 1, 1, 1)
        assert server.admit(push, state) == ""
        server.apply(state, slice(0, 1), push, np.array([-value], np.float32))
        server.finish(state, push)
        ends.append(float(state.weights[0]))
    return ends


def test_d2_delayed_nesterov_at_constant_differences() -> None:
    ends = delayed([1.0] * 8)
    assert ends[:4] == pytest.approx([-0.175, -0.35, -0.525, -1.33], rel=1e-6)
    assert ends[7] == pytest.approx(-3.227, rel=1e-6)


def test_d2_after_every_n_pushes_it_is_nesterov_on_their_means() -> None:
    values = np.random.default_rng(3).standard_normal(40)
    ends = delayed(values.tolist())
    theta = m = 0.0
    for block in range(10):
        d = values[4 * block : 4 * block + 4].mean()
        m = 0.9 * m + d
        theta -= 0.7 * (d + 0.9 * m)
        assert ends[4 * block + 3] == pytest.approx(theta, rel=1e-4, abs=1e-5)


def test_a_slow_worker_sends_after_fewer_steps() -> None:
    world = World(compute=ComputeTime("constant", 1.0), stragglers=((0, 4.0),))
    spec: dict[str, Any] = {"stopAfter": {"updates": 120}, "workers": {"replicas": 3}}
    run = train(bowl(), world, algorithm={"name": "async-diloco", "period": 16}, **spec)
    fixed = train(
        bowl(), world, algorithm={"name": "async-diloco", "period": 16, "dynamicSteps": False}, **spec
    )
    assert run.cluster.status().staleness.max < fixed.cluster.status().staleness.max
