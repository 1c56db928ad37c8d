"""Compressed pushes and pulls train as exact ones do, and take as many fewer bytes as they promise.

Four asynchronous workers in strict turns, staleness 3, on digits; medians of five seeds (`make test`: one).
"""

from __future__ import annotations

from functools import cache
from statistics import median
from typing import Any

import numpy as np
import pytest

from tests.checks.harness import Cluster, asgd_spec
from tests.checks.problems import Digits, Quadratic
from tests.effort import first

pytestmark = pytest.mark.timeout(300)

UPDATES = 1600


@cache
def trained(push: str, pull: str, seed: int) -> tuple[float, float]:
    """The (accuracy, share of fp32's bytes) of a run."""
    spec = asgd_spec(0.1, workers=4, shards=2, codec={"push": push, "pull": pull})
    problem = Digits(seed)
    cluster = Cluster(spec, problem, seed=seed)
    cluster.round_robin(UPDATES)
    plain = 8 * cluster.centre.size * UPDATES
    return problem.accuracy(cluster.centre), 1 - sum(shard.saved for shard in cluster.shards) / plain


@pytest.mark.parametrize(
    ("push", "pull", "fewer", "points", "seeds"),
    first(
        [
            ("int8", "int8", 3.9, 0.5, 1),
            ("int8", "int8", 3.9, 0.5, 5),
            ("bf16", "bf16", 2, 0.5, 5),
            ("topk", "topk", 18, 0.5, 5),
            ("topk", "int8", 7, 0.5, 5),
            ("onebit", "onebit", 20, 1, 5),
        ]
    ),
)
def test_a_codec_costs_no_more_accuracy_and_saves_as_many_bytes_as_it_promises(
    push: str, pull: str, fewer: float, points: float, seeds: int
) -> None:
    runs = [trained(push, pull, seed) for seed in range(seeds)]
    exact = median(trained("fp32", "fp32", seed)[0] for seed in range(seeds))
    assert exact > 0.95
    assert median(accuracy for accuracy, _ in runs) >= exact - points / 100
    assert median(share for _, share in runs) <= 1 / fewer


@pytest.mark.parametrize("name", ["int8", "topk", "onebit"])
def test_without_noise_both_ways_lead_to_the_minimum(name: str) -> None:
    codec: dict[str, Any] = {"push": name, "pull": name, "topRatio": 0.1, "blockSize": 64}
    cluster = Cluster(asgd_spec(0.05, workers=2, codec=codec), Quadratic(n=200))
    cluster.round_robin(2500)
    assert np.abs(cluster.centre).max() < 1e-3
    for node in cluster.nodes:
        assert np.abs(node.weights - cluster.centre).max() < 1e-3
