"""One push that is far too large ruins nothing: what a shard takes for usual, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from asgd.server.outliers import Outliers
from asgd.server.pool import Pool
from asgd.spec.types import OutlierRule
from tests.unit.server.test_coordinator import job, push


def fed(rule: OutlierRule, *largest: float) -> Outliers:
    found = Outliers(rule)
    for value in largest:
        found.told(value)
    return found


def test_nothing_is_refused_before_enough_was_seen_and_then_what_is_far_above_the_usual() -> None:
    rule = OutlierRule(factor=100.0, least=0.0, after=5)
    assert fed(rule, 1.0, 1.0, 1.0, 1.0).judge(1e30) == ""
    known = fed(rule, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert (known.judge(50.0), known.judge(200.0)) == ("", "outlier")
    assert (known.judge(math.inf), fed(rule).judge(math.inf)) == ("nonfinite", "nonfinite")


def test_what_never_was_large_in_itself_is_never_refused_by_default() -> None:
    """A value loss of reinforcement learning: gradients of nothing but a weight penalty, then a reward."""
    quiet = fed(OutlierRule(), *[1e-9] * 1000)
    assert quiet.judge(999_999.0) == ""
    assert quiet.judge(1e30) == "outlier"


def test_pushes_of_zeros_say_nothing_of_what_is_usual() -> None:
    assert fed(OutlierRule(), *[0.0] * 100).judge(1e30) == ""


def test_a_training_whose_gradients_shrink_and_grow_a_millionfold_is_left_alone() -> None:
    rule = OutlierRule(least=0.0)
    found = Outliers(rule)
    rng = np.random.default_rng(0)
    sizes = np.concatenate([np.geomspace(1e3, 1e-6, 400), np.geomspace(1e-6, 1e3, 400)])
    for size in sizes * rng.lognormal(0.0, 1.0, 800):
        assert found.judge(float(size)) == ""
        found.told(float(size))


def test_a_worker_that_sends_rubbish_for_ever_does_not_become_the_usual() -> None:
    found = fed(OutlierRule(least=0.0), *[1.0] * 50)
    for _ in range(500):
        assert found.judge(1e30) == "outlier"
        found.refused(1, 1e30)
        for _ in range(3):
            assert found.judge(2.0) == ""
            found.told(1.0)
    assert found.workers == {1: 500}


def test_a_lasting_change_of_size_is_learnt() -> None:
    found = fed(OutlierRule(factor=100.0, least=0.0, after=5), *[1.0] * 50)
    refused = 0
    while found.judge(1e4) and refused < 100:
        found.refused(0, 1e4)
        refused += 1
    assert 0 < refused < 30


def test_factor_0_refuses_nothing() -> None:
    assert fed(OutlierRule(factor=0.0), *[1.0] * 100).judge(1e38) == ""


def test_what_is_usual_outlives_a_restart() -> None:
    known = fed(OutlierRule(least=0.0), *[1.0] * 30)
    known.refused(2, 1e30)
    again = Outliers(OutlierRule(least=0.0))
    again.load(known.state())
    assert (again.limit, again.workers, again.usual) == (known.limit, {2: 1}, known.usual)


def test_a_worker_whose_push_is_out_of_all_bounds_is_named_at_once() -> None:
    chief = job(workers=2)
    push(chief, worker=1, verdict="refused:outlier")
    said = "worker 1: pushes of more than outliers.factor (1e+06) times the usual are refused"
    assert [(notice.text, notice.about) for notice in chief.notices.newest] == [(said, "pushes")]


@pytest.mark.parametrize("verdict", ["refused:outlier", "refused:nonfinite", "refused:stale"])
def test_samples_whose_pushes_are_bad_twice_are_left_out_so_that_the_epoch_ends(verdict: str) -> None:
    chief = job(dataset=8, stopAfter={"epochs": 1})
    for request in (1, 2):
        granted = chief.lease(0, request, 0.1)
        assert not granted.wait
        span = (granted.epoch, granted.start, granted.stop)
        push(chief, verdict=verdict, visits=[span])
        assert isinstance(chief.pool, Pool)
        assert chief.pool.done is (request == 2 and verdict != "refused:stale")


def test_a_save_of_an_earlier_version_names_whose_pushes_were_refused() -> None:
    again = Outliers(OutlierRule(least=0.0))
    again.load({"usual": 1.0, "seen": 30, "workers": [2, 3]})
    assert again.workers == {2: 1, 3: 1}


def test_who_was_refused_is_told_for_five_minutes_after_the_last_time_and_stays_a_suspect() -> None:
    chief = job(workers=3)
    push(chief, now=10.0, worker=1, verdict="refused:outlier")
    for at in (20.0, 21.0, 22.0):
        push(chief, now=at, worker=2, verdict="refused:nonfinite")
    assert chief.refused_lately(22.0) == [1, 2]
    assert chief.refused_lately(309.0) == [1, 2]
    push(chief, now=309.0, worker=2, verdict="refused:nonfinite")
    assert chief.refused_lately(311.0) == [2]
    assert chief.refused_lately(610.0) == []
    assert chief.suspects == {1, 2}
