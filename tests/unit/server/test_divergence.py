"""When shard 0 calls a job diverged, and what is no sign of it."""

from __future__ import annotations

import math

import pytest

from asgd.server.divergence import DIVERGED_LEAST
from tests.unit.server.test_coordinator import job, push


def test_non_finite_pushes_in_a_row_end_the_job_as_diverged_and_one_good_one_forgives_them() -> None:
    chief = job(stopAfter={"updates": 1000})
    for _ in range(DIVERGED_LEAST - 1):
        push(chief, verdict="refused:nonfinite")
    push(chief)
    for _ in range(DIVERGED_LEAST - 1):
        push(chief, verdict="refused:nonfinite")
    assert chief.stop_reason == ""
    push(chief, verdict="refused:nonfinite")
    assert chief.stop_reason == "diverged"
    assert chief.updates == 1


def test_many_workers_must_agree_that_the_job_diverged() -> None:
    chief = job(workers=20)
    for _ in range(59):
        push(chief, verdict="refused:nonfinite")
    assert chief.stop_reason == ""
    push(chief, verdict="refused:nonfinite")
    assert chief.stop_reason == "diverged"


def test_stale_pushes_are_no_sign_of_divergence() -> None:
    chief = job()
    for _ in range(100):
        push(chief, verdict="refused:stale")
    assert chief.stop_reason == ""


@pytest.mark.parametrize("loss", [1e9, math.inf, math.nan])
def test_a_loss_that_explodes_and_stays_there_ends_the_job_as_diverged(loss: float) -> None:
    chief = job(stopAfter={"updates": 1000})
    push(chief, loss=2.0)
    for _ in range(19):
        push(chief, loss=loss)
    push(chief, loss=2.0)
    for _ in range(19):
        push(chief, loss=loss)
    assert chief.stop_reason == ""
    push(chief, loss=loss)
    assert chief.stop_reason == "diverged"


def test_one_loss_that_is_no_number_does_not_stay_in_the_mean() -> None:
    chief = job(stopAfter={"updates": 1000})
    push(chief, loss=math.nan)
    push(chief, loss=2.0)
    push(chief, loss=math.inf)
    assert chief.loss == 2.0
    assert chief.members[0].loss == 2.0
    assert chief.first_loss == 2.0
