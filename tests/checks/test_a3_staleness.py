"""A3: with p equally fast workers taking turns the staleness of every push after the first p is exactly p-1."""

from __future__ import annotations

import pytest

from tests.checks.harness import Cluster, asgd_spec
from tests.checks.problems import Quadratic


@pytest.mark.parametrize(("workers", "shards"), [(1, 1), (2, 1), (4, 3), (9, 2)])
def test_turns_of_p_workers_give_a_staleness_of_p_minus_1(workers: int, shards: int) -> None:
    cluster = Cluster(asgd_spec(0.01, workers=workers, shards=shards), Quadratic(6))
    cluster.round_robin(workers)
    ramp = dict.fromkeys(range(workers), 1)
    assert [dict(shard.histogram) for shard in cluster.shards] == [ramp] * shards
    cluster.round_robin(10 * workers)
    ramp[workers - 1] += 10 * workers
    assert [dict(shard.histogram) for shard in cluster.shards] == [ramp] * shards


def test_workers_of_unequal_speed_are_stale_by_what_the_others_did_meanwhile() -> None:
    """While the slow worker takes one step the fast one takes ten: its pushes are ten versions old."""
    cluster = Cluster(asgd_spec(0.001, workers=2), Quadratic())
    cluster.run(220, lambda node: 10.0 if node.index else 1.0001)
    by_the_slow_one = {s: n for s, n in cluster.shards[0].histogram.items() if s > 1}
    assert by_the_slow_one == {9: 1, 10: 19}
    assert [node.steps for node in cluster.nodes] == [200, 20]
