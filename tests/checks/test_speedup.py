"""With free communication A-SGD reaches 95 % on digits nearly as many times sooner as it has workers.

Virtual time, so the figures are the same on every machine. The rate must leave room for staleness: at 0.1 eight workers
gain 5.4 times only, for the rate and not communication is their limit.
"""

from __future__ import annotations

from statistics import median

import pytest

from tests.checks.virtual import digits
from tests.effort import first


def seconds_to_95_percent(workers: int, seeds: range) -> float:
    """Median over the seeds; a gradient takes 1 to 1.2 seconds."""
    goal = {"metric": {"name": "accuracy", "atLeast": 0.95}, "epochs": 200}
    given = {"workers": {"replicas": workers}, "optimizer": {"learningRate": 0.03}, "stopAfter": goal}
    return median(digits(seed, **given)[1] for seed in seeds)


@pytest.mark.timeout(600)
@pytest.mark.slow
@pytest.mark.parametrize("seeds", first([range(1), range(5)]))
def test_four_workers_are_three_and_a_half_times_as_fast_as_one_and_eight_six_and_a_half_times(
    seeds: range,
) -> None:
    alone = seconds_to_95_percent(1, seeds)
    assert alone / seconds_to_95_percent(4, seeds) >= 3.5
    assert alone / seconds_to_95_percent(8, seeds) >= 6.5
