"""A6: a warm start keeps a job alive where four stale workers would diverge from far outside the flat region."""

from __future__ import annotations

import numpy as np
import pytest

from tests.checks.harness import Cluster, asgd_spec
from tests.checks.problems import Quartic


def test_from_a_cold_start_four_workers_diverge_within_13_updates() -> None:
    cluster = Cluster(asgd_spec(0.2, workers=4), Quartic())
    cluster.round_robin(13)
    assert abs(float(cluster.centre[0])) > 1e3


def test_after_50_steps_of_one_worker_the_same_four_settle() -> None:
    spec = asgd_spec(0.2, workers=4, exchange={"warmStart": {"samples": 50}})
    cluster = Cluster(spec, Quartic())
    for update in range(50):
        assert [node.waiting for node in cluster.nodes] == [False, True, True, True], update
        cluster.round_robin(1)
    assert not any(node.waiting for node in cluster.nodes)
    assert set(cluster.shards[0].histogram) == {0}
    path = []
    for _ in range(400):
        cluster.round_robin(1)
        path.append(abs(float(cluster.centre[0])))
    assert max(path) <= 0.1951
    assert path[-1] == pytest.approx(0.0724, abs=2e-4)
    assert np.all(np.diff(path) <= 0)
    assert cluster.shards[0].histogram[3] > 390
