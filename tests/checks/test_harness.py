"""The harness itself: its problems are what they say, and the same seed gives the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from tests.checks.harness import Cluster, asgd_spec
from tests.checks.problems import Digits, DoubleWell, Problem, Quadratic, Quartic


class Fixed(np.random.Generator):
    """Draws the same numbers every time."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(7))

    def integers(self, *args: object, **keywords: object) -> object:
        return np.random.Generator(np.random.PCG64(7)).integers(*args, **keywords)  # type: ignore[call-overload]


@pytest.mark.parametrize("problem", [Quadratic(3, h=0.7, x0=1.3), Quartic(1.3), DoubleWell(0.4), Digits()])
def test_a_problems_gradient_is_the_slope_of_its_loss(problem: Problem) -> None:
    w = problem.start()
    gradient, scratch = np.zeros_like(w), np.zeros_like(w)
    problem.gradient(w, gradient, Fixed())
    direction = np.random.default_rng(0).standard_normal(w.size).astype(np.float32)
    direction /= np.linalg.norm(direction)
    step = np.float32(1e-2)
    up, down = (problem.gradient(w + sign * step * direction, scratch, Fixed()) for sign in (1, -1))
    scale = 1 / w.size if isinstance(problem, Quadratic) else 1.0  # its loss is a mean over coordinates
    assert (up - down) / (2 * step) == pytest.approx(float(gradient @ direction) * scale, rel=2e-2, abs=2e-4)


def test_the_double_well_has_its_global_minimum_where_the_notes_say() -> None:
    cluster = Cluster(asgd_spec(0.05), DoubleWell(-2.0))
    cluster.round_robin(200)
    assert cluster.centre[0] == pytest.approx(-1.03558, abs=1e-5)
    assert cluster.nodes[0].loss == pytest.approx(-0.30543, abs=1e-5)


def digits_run(seed: int) -> tuple[bytes, float, dict[int, int]]:
    cluster = Cluster(asgd_spec(0.1, workers=3, shards=2), Digits(), seed=seed)
    rng = np.random.default_rng(seed)
    cluster.run(120, lambda node: rng.uniform(1, 1.2))
    return cluster.centre.tobytes(), cluster.now, dict(cluster.shards[0].histogram)


def test_a_run_in_virtual_time_repeats_itself_bit_for_bit_and_another_seed_does_not() -> None:
    first, again, other = digits_run(3), digits_run(3), digits_run(4)
    assert first == again
    assert first[0] != other[0]
    assert 40 < first[1] < 60  # 120 updates by 3 workers of 1 to 1.2 seconds a step
