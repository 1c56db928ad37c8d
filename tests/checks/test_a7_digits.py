"""A7: with free communication four workers learn the digits as well as one, and more than three times as fast."""

from __future__ import annotations

import numpy as np
import pytest

from tests.checks.harness import Cluster, asgd_spec
from tests.checks.problems import Digits

GRADIENTS, SEEDS = 4000, 3


def learn(workers: int, seed: int) -> tuple[float, float]:
    """(time until 95 % were first reached, accuracy after all gradients); a gradient takes 1 to 1.2 seconds."""
    problem = Digits(seed)
    cluster = Cluster(asgd_spec(0.1, workers=workers), problem, seed=seed)
    clock = np.random.default_rng([seed, workers])
    reached: list[float] = []

    def watch() -> bool:
        if not reached and cluster.updates % 4 == 0 and problem.accuracy(cluster.centre) >= 0.95:
            reached.append(cluster.now)
        return False

    cluster.run(GRADIENTS, lambda node: clock.uniform(1.0, 1.2), watch)
    return reached[0], problem.accuracy(cluster.centre)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_four_workers_reach_95_percent_three_times_sooner_and_end_as_well_as_one() -> None:
    alone = [learn(1, seed) for seed in range(SEEDS)]
    together = [learn(4, seed) for seed in range(SEEDS)]
    assert np.mean([accuracy for _, accuracy in alone]) >= 0.96
    assert np.mean([accuracy for _, accuracy in together]) >= 0.96
    speed_up = np.mean([t95 for t95, _ in alone]) / np.mean([t95 for t95, _ in together])
    assert speed_up >= 3.0
