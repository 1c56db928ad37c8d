"""When shard 0 calls a job diverged, and what is no sign of it."""

from __future__ import annotations

import math

import pytest

from asgd.server.divergence import DIVERGED_LEAST, HELD_MOST
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


@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_a_loss_that_stays_inf_or_nan_ends_the_job_as_diverged(loss: float) -> None:
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
    assert chief.stop_detail == "in the last 20 pushes the loss was not finite: those of worker 0"


@pytest.mark.parametrize("loss", [150.0, 1e9])
def test_a_loss_that_rises_and_stays_there_ends_no_job(loss: float) -> None:
    chief = job(stopAfter={"updates": 100_000})
    for at in range(500):
        push(chief, now=at * 0.1, loss=0.02)
    for at in range(1500):
        push(chief, now=50 + at * 0.1, loss=loss + at % 50)
    assert chief.stop_reason == ""


def test_a_job_may_say_how_far_above_the_best_loss_it_goes_on() -> None:
    chief = job(workers=2, stopAfter={"updates": 1000}, divergence={"factor": 10, "pushes": 5})
    for loss in (4.0, 0.5, 0.5, 0.5):
        for _ in range(50):
            push(chief, loss=loss)
    best = chief.divergence.best
    assert best is not None and best == pytest.approx(0.5, abs=0.01)
    for _ in range(4):
        push(chief, worker=1, loss=5.2)
    push(chief, loss=4.9)
    for _ in range(4):
        push(chief, worker=1, loss=5.2)
    assert chief.stop_reason == ""
    push(chief, loss=5.2)
    assert chief.stop_reason == "diverged"
    assert chief.diverged_by == [1, 0]
    assert "above divergence.factor (10) times the best, 0.5" in chief.stop_detail
    assert chief.stop_detail.endswith("those of worker 1 first, then of 0")


def test_a_best_loss_below_zero_counts_by_its_size() -> None:
    chief = job(divergence={"factor": 2, "pushes": 1})
    push(chief, loss=-3.0)
    push(chief, loss=-0.1)
    assert chief.stop_reason == ""
    push(chief, loss=0.1)
    assert chief.stop_reason == "diverged"


def test_one_loss_that_is_no_number_does_not_stay_in_the_mean() -> None:
    chief = job(stopAfter={"updates": 1000})
    push(chief, loss=math.nan)
    push(chief, loss=2.0)
    push(chief, loss=math.inf)
    assert chief.loss == 2.0
    assert chief.members[0].loss == 2.0
    assert chief.divergence.best == 2.0


def test_a_job_that_diverged_names_the_workers_whose_pushes_did_it() -> None:
    chief = job(workers=3)
    for at in range(DIVERGED_LEAST):
        push(chief, worker=2 if at < 4 else at % 3, verdict="refused:nonfinite")
    assert chief.stop_reason == "diverged"
    assert chief.diverged_by == [2, 1, 0]
    assert chief.stop_detail.startswith("in the last 10 pushes the pushes were refused")
    assert chief.stop_detail.endswith("those of worker 2 first, then of 1, 0")


def test_a_worker_that_pushes_what_is_refused_is_named_while_the_others_train_on() -> None:
    chief = job(workers=2, stopAfter={"updates": 1000})
    for _ in range(20):
        push(chief, worker=1, verdict="refused:nonfinite")
        push(chief, worker=0)
    assert chief.stop_reason == ""
    assert [notice.text for notice in chief.notices.newest] == [
        "worker 1: 3 batches in a row had a loss or gradient that is not finite"
    ]
    assert chief.suspects == {1}
    assert chief.members[1].unusable == 20


@pytest.mark.parametrize("sign", ["push", "loss", "rule", "explosion"])
def test_no_checkpoint_is_made_of_weights_that_look_ruined(sign: str) -> None:
    chief = job(
        stopAfter={"updates": 10_000}, divergence={"factor": 100, "pushes": 500} if sign == "rule" else {}
    )
    chief.tick(0.0)
    push(chief, loss=0.5)
    chief.tick(70.0)
    assert chief.save_asked is not None
    chief.saved(71.0)
    verdict = "refused:nonfinite" if sign == "push" else "applied"
    push(chief, verdict=verdict, loss={"loss": math.nan, "rule": 60.0, "explosion": 2e4}.get(sign, 0.5))
    chief.tick(140.0)
    assert chief.save_asked is None
    push(chief, loss=0.5)
    chief.tick(140.1)
    assert chief.save_asked is not None


def test_a_loss_that_stays_up_is_saved_in_the_end() -> None:
    chief = job(stopAfter={"updates": 10_000})
    push(chief, loss=0.5)
    for _ in range(HELD_MOST):
        push(chief, loss=2e4)
    assert chief.divergence.suspected
    push(chief, loss=2e4)
    assert not chief.divergence.suspected


def test_a_job_that_may_go_back_asks_to_once_and_is_not_saved_meanwhile() -> None:
    chief = job(onDivergence="Rollback", stopAfter={"updates": 1000})
    push(chief)
    for _ in range(DIVERGED_LEAST):
        push(chief, verdict="refused:nonfinite")
    asked = chief.going_back
    assert asked.startswith("in the last 10 pushes the pushes were refused") and chief.stop_reason == ""
    push(chief)
    assert not chief.divergence.suspected
    chief.tick(100.0)
    assert chief.save_asked is None and chief.going_back == asked


def test_a_job_that_is_stopping_does_not_go_back_any_more() -> None:
    chief = job(onDivergence="Rollback", stopAfter={"updates": 1})
    push(chief)
    for _ in range(DIVERGED_LEAST):
        push(chief, verdict="refused:nonfinite")
    assert (chief.stop_reason, chief.going_back) == ("updates", "")
