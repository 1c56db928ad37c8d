"""Learning-rate schedules count the whole job's samples and go where their formula says."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgd.algorithms.schedule import learning_rate
from asgd.errors import UserError
from asgd.spec.types import Optimizer

SIZE = 1000


def rate(samples: int, dataset: int | None = SIZE, **schedule: Any) -> float:
    spec = msgspec.convert({"learningRate": 0.4, "schedule": schedule}, Optimizer)
    return learning_rate(spec, samples, dataset)


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        ({}, {0: 0.4, 10**9: 0.4}),
        ({"name": "constant", "warmup": 2}, {0: 0, 500: 0.1, 1000: 0.2, 2000: 0.4, 9000: 0.4}),
        ({"name": "step", "every": 2, "gamma": 0.5}, {0: 0.4, 1999: 0.4, 2000: 0.2, 3999: 0.2, 4000: 0.1}),
        ({"name": "exponential", "every": 2, "gamma": 0.25}, {0: 0.4, 1000: 0.2, 2000: 0.1}),
        ({"name": "linear", "length": 4}, {0: 0.4, 1000: 0.3, 3000: 0.1, 4000: 0, 9000: 0}),
        ({"name": "linear", "length": 4, "final": 0.5}, {0: 0.4, 2000: 0.3, 4000: 0.2, 9000: 0.2}),
        ({"name": "cosine", "length": 4}, {0: 0.4, 2000: 0.2, 4000: 0, 9000: 0}),
        (
            {"name": "cosine", "length": 5, "warmup": 1, "final": 0.1},
            {500: 0.2, 1000: 0.4, 3000: 0.22, 5000: 0.04},
        ),
        ({"name": "step", "unit": "samples", "every": 100, "gamma": 0.1}, {99: 0.4, 100: 0.04}),
    ],
)
def test_a_schedule_gives_the_rate_of_its_formula(schedule: dict[str, Any], points: dict[int, float]) -> None:
    assert {at: rate(at, **schedule) for at in points} == pytest.approx(points, abs=1e-12)


@given(
    st.sampled_from(["constant", "linear", "cosine", "step", "exponential"]),
    st.floats(0, 3),
    st.floats(0, 1),
    st.lists(st.integers(0, 20_000), min_size=2, max_size=20),
)
def test_after_its_warmup_no_schedule_ever_rises_and_none_leaves_its_bounds(
    name: str, warmup: float, final: float, places: list[int]
) -> None:
    how = {"name": name, "warmup": warmup, "length": warmup + 4, "every": 2.0, "gamma": 0.5, "final": final}
    rates = [rate(at, **how) for at in sorted(places) if at / SIZE >= warmup]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(rates))
    assert all(0 <= found <= 0.4 + 1e-12 and math.isfinite(found) for found in rates)


def test_epochs_of_a_stream_are_refused_in_one_sentence_and_samples_are_not() -> None:
    with pytest.raises(UserError, match=r"spec.optimizer.schedule.unit: epochs .*allowed here: samples"):
        rate(0, None, name="step", every=1)
    assert rate(50, None, name="step", every=100, unit="samples") == 0.4
    assert rate(50, None) == 0.4
