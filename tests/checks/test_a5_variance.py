"""A5: the stationary variance of noisy SGD on a quadratic grows with staleness exactly as theory says."""

from __future__ import annotations

import numpy as np
import pytest

from tests.checks.harness import Cluster, asgd_spec
from tests.checks.problems import Quadratic

CHAINS, STEPS = 4000, 600


@pytest.mark.parametrize(("staleness", "variance"), [(0, 0.052632), (3, 0.071579), (8, 0.132914)])
def test_the_variance_of_4000_chains_is_within_5_percent_of_theory(staleness: int, variance: float) -> None:
    spec = asgd_spec(0.1, workers=staleness + 1, shards=2)
    cluster = Cluster(spec, Quadratic(CHAINS, sigma=1.0, x0=0.0), seed=1)
    cluster.round_robin(STEPS)
    assert np.var(cluster.centre) == pytest.approx(variance, rel=0.05)
    assert max(cluster.shards[0].histogram) == staleness
