"""A1: one worker in gradient mode is plain SGD bit for bit, however the vector is cut into shards."""

from __future__ import annotations

import numpy as np
import pytest

from asgd.kernel import F32
from tests.checks.harness import Cluster, asgd_spec
from tests.checks.problems import Digits

RATE = 0.1


def plain_sgd(steps: int, seed: int = 0) -> F32:
    """The reference: a loop of twelve lines in the fixed arithmetic, two roundings an element."""
    problem = Digits()
    w = problem.start()
    g = np.zeros_like(w)
    rng = np.random.default_rng([seed, 1])
    for _ in range(steps):
        problem.gradient(w, g, rng)
        t = g * np.float32(-RATE)
        w += t
    return w


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_one_worker_equals_plain_sgd_bit_for_bit_over_200_steps(shards: int) -> None:
    cluster = Cluster(asgd_spec(RATE, shards=shards, stopAfter={"updates": 200}), Digits())
    cluster.round_robin(200)
    assert cluster.coordinator.stop_reason == "updates"
    assert np.array_equal(cluster.centre, plain_sgd(200))
    assert not np.array_equal(cluster.centre, plain_sgd(199))
    assert all(dict(shard.histogram) == {0: 200} for shard in cluster.shards)


def test_a_model_smaller_than_its_shards_trains_all_the_same() -> None:
    from tests.checks.problems import Quadratic

    cluster = Cluster(asgd_spec(0.5, shards=3), Quadratic(2))
    cluster.round_robin(3)
    assert cluster.centre.tolist() == [0.125, 0.125]
    assert [shard.state.version for shard in cluster.shards] == [3, 3, 3]
