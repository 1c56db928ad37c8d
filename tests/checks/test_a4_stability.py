"""A4: the learning rate at which a fixed staleness of 3 turns from stable to unstable (the table of section 2e)."""

from __future__ import annotations

import math

import pytest

from tests.checks.harness import Cluster, asgd_spec
from tests.checks.problems import Quadratic


def far_end(rate: float, momentum: float, updates: int, workers: int = 4) -> tuple[float, float]:
    """Largest |x| in the first and in the last 200 updates of `updates`, from x = 1, h = 1, no noise."""
    spec = asgd_spec(rate, workers=workers, optimizer={"momentum": momentum})
    cluster = Cluster(spec, Quadratic())
    ends = []
    for count in (200, updates - 400, 200):
        largest = 0.0
        for _ in range(count):
            cluster.round_robin(1)
            largest = max(largest, abs(float(cluster.centre[0])))
        ends.append(largest)
    return ends[0], ends[2]


def test_the_limit_for_staleness_3_is_the_closed_form() -> None:
    assert 2 * math.sin(math.pi / (2 * (2 * 3 + 1))) == pytest.approx(0.44504, abs=1e-5)


@pytest.mark.parametrize(("rate", "momentum"), [(0.44, 0.0), (0.034, 0.9)])
def test_just_below_the_limit_it_converges(rate: float, momentum: float) -> None:
    early, late = far_end(rate, momentum, 1600)
    assert late < 0.5 * early


@pytest.mark.parametrize(("rate", "momentum"), [(0.45, 0.0), (0.036, 0.9)])
def test_just_above_the_limit_it_diverges(rate: float, momentum: float) -> None:
    early, late = far_end(rate, momentum, 1600)
    assert late > 2 * early


def test_without_staleness_the_same_rates_are_far_from_any_limit() -> None:
    assert far_end(0.45, 0.0, 600, workers=1)[1] < 1e-30
    assert far_end(0.036, 0.9, 600, workers=1)[1] < 1e-9
