"""The loss that people see is a mean over time in which the first value counts no more than it should."""

from __future__ import annotations

import math

import pytest

from asgd.server.coordinator import Coordinator
from asgd.server.mean import Mean
from tests.checks.harness import job_spec

UNTRAINED, TRAINED = 100.0, 1.0


def pushed(chief: Coordinator, losses: list[float], index: int = 0) -> Coordinator:
    for now, loss in enumerate(losses):
        chief.pushed(index, [], 8, loss, "applied", float(now))
    return chief


def chief() -> Coordinator:
    found = Coordinator(job_spec(stopAfter={"updates": 1000}), "run")
    found.hello(0, 1, "", 0.0)
    return found


def test_a_mean_of_equal_values_is_that_value_from_the_first_one_on() -> None:
    mean = Mean()
    assert mean.value is None
    for _ in range(50):
        mean.add(3.0, 0.95)
        assert mean.value == pytest.approx(3.0, rel=1e-12)


def test_the_first_two_values_count_almost_alike() -> None:
    mean = Mean()
    mean.add(0.0, 0.95)
    mean.add(1.0, 0.95)
    assert mean.value == pytest.approx(1 / 1.95)


def test_the_loss_of_an_untrained_model_is_forgotten_at_the_pace_of_all_others() -> None:
    """After n pushes the first one weighs 0.05 x 0.95^(n-1) of what all weigh: it was 0.95^(n-1)."""
    job = pushed(chief(), [UNTRAINED] + [TRAINED] * 19)
    assert job.loss == pytest.approx(3.91, abs=0.01)
    assert job.members[0].loss == pytest.approx(2.52, abs=0.01)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_leaves_the_mean_as_it_is(loss: float) -> None:
    job = pushed(chief(), [2.0, loss])
    assert (job.loss, job.members[0].loss) == (2.0, 2.0)


def test_a_restart_of_shard_0_goes_on_with_the_mean_and_its_weight() -> None:
    """The next pushes count as much as they would have without it."""
    first, rest = [UNTRAINED, TRAINED, 5.0], [2.0, 1.0]
    before = pushed(chief(), first)
    after = Coordinator(before.spec, "run")
    after.load(before.state(3.0))
    assert after.loss == before.loss
    after.hello(0, 1, "", 3.0)
    assert pushed(after, rest).loss == pushed(before, rest).loss
