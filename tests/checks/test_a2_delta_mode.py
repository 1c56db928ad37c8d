"""A2: one worker in delta mode moves the centre by its K local steps, up to the rounding of one difference."""

from __future__ import annotations

import numpy as np
import pytest

from asgd.kernel import F32
from tests.checks.harness import Cluster, asgd_spec
from tests.checks.problems import Digits, Quadratic

K, RATE = 5, 0.05
EXCHANGE = {"fetchEvery": K, "pushEvery": K}


class LocalSgd:
    """The reference: K steps of SGD with momentum from wherever the centre stands."""

    def __init__(self, momentum: float) -> None:
        self.momentum, self.problem = np.float32(momentum), Digits()
        self.rng = np.random.default_rng([0, 1])
        self.g = np.zeros_like(self.problem.start())
        self.v = self.g.copy()

    def from_(self, start: F32) -> F32:
        w = start.copy()
        for _ in range(K):
            self.problem.gradient(w, self.g, self.rng)
            self.v *= self.momentum
            self.v += self.g
            w += self.v * np.float32(-RATE)
        return w


@pytest.mark.parametrize(("momentum", "shards"), [(0.0, 2), (0.9, 1)])
def test_each_exchange_of_five_local_steps_is_sgd_to_within_4_ulp(momentum: float, shards: int) -> None:
    spec = asgd_spec(RATE, shards=shards, exchange=EXCHANGE, optimizer={"momentum": momentum})
    cluster, reference = Cluster(spec, Digits()), LocalSgd(momentum)
    moved = 0.0
    for _ in range(40):
        start = cluster.centre
        cluster.round_robin(1)
        expected = reference.from_(start)
        ulp = np.spacing(np.maximum(np.abs(start), np.abs(expected)))
        assert (np.abs(cluster.centre - expected) / ulp).max() <= 4
        moved = max(moved, float((np.abs(expected - start) / ulp).max()))
    assert moved > 1000  # the steps that were compared are far larger than the tolerance
    assert cluster.nodes[0].steps == 40 * K
    assert cluster.coordinator.samples == 40 * K * 32


def test_deltas_are_summed_and_deltascale_mean_divides_them_by_the_workers() -> None:
    """Two workers each go from 1 to 0.5^5 and push that difference before they have seen the other's."""
    moved = {}
    for scale in ("sum", "mean"):
        algorithm = {"name": "asgd", "mode": "auto", "deltaScale": scale}
        spec = asgd_spec(0.5, workers=2, exchange=EXCHANGE, algorithm=algorithm)
        cluster = Cluster(spec, Quadratic())
        for node in cluster.nodes:
            for _ in range(K):
                node.finish()
        moved[scale] = 1 - cluster.centre[0]
    assert moved["sum"] == pytest.approx(2 * (1 - 0.5**K), abs=1e-6)
    assert moved["mean"] == pytest.approx(1 - 0.5**K, abs=1e-6)


def test_local_steps_that_are_not_pushed_yet_survive_a_pull() -> None:
    """Pull after each step, push after three: the centre stands still meanwhile, and the worker goes on."""
    spec = asgd_spec(0.5, exchange={"fetchEvery": 1, "pushEvery": 3})
    cluster = Cluster(spec, Quadratic())
    node = cluster.nodes[0]
    positions = []
    for _ in range(3):
        node.finish()
        positions.append((float(node.weights[0]), float(cluster.centre[0])))
    assert positions == [(0.5, 1.0), (0.25, 1.0), (0.125, 0.125)]


def test_a_worker_whose_weights_became_inf_is_healed_by_its_next_pull() -> None:
    cluster = Cluster(asgd_spec(0.5, workers=2, exchange=EXCHANGE), Quadratic())
    sick, well = cluster.nodes
    for _ in range(K):
        well.finish()
    sick.weights[:] = np.inf
    sick.gradient[:] = np.inf
    for _ in range(K):
        sick.finish()
    assert cluster.shards[0].refused["nonfinite"] == 1
    assert sick.weights[0] == cluster.centre[0] == pytest.approx(0.5**K)
    for _ in range(K):
        sick.finish()
    assert cluster.updates == 2


def test_an_outer_optimizer_takes_the_deltas_as_its_gradients() -> None:
    """Nesterov on pseudo-gradients D = -delta with rate 1 and momentum 0.5: v1 = d, w += d + 0.5 v1."""
    outer = {"name": "sgd", "learningRate": 1.0, "momentum": 0.5, "nesterov": True}
    cluster = Cluster(asgd_spec(0.5, exchange=EXCHANGE, outerOptimizer=outer), Quadratic())
    delta = 0.5**K - 1
    cluster.round_robin(1)
    assert cluster.centre[0] == pytest.approx(1 + 1.5 * delta, abs=1e-6)


def test_local_steps_are_pushed_once_although_pulls_are_rarer_than_pushes() -> None:
    """Push after each step, pull after three: the centre follows the worker step by step."""
    spec = asgd_spec(0.5, exchange={"fetchEvery": 3, "pushEvery": 1})
    cluster = Cluster(spec, Quadratic())
    node = cluster.nodes[0]
    for step in range(1, 7):
        node.finish()
        assert float(node.weights[0]) == float(cluster.centre[0]) == 0.5**step
