"""What shard 0 makes of evaluations that fail."""

from __future__ import annotations

from typing import Any

import pytest

from asgd.server.coordinator import Coordinator
from asgd.server.evaluation import FINAL_SECONDS
from tests.unit.server.test_coordinator import job, push

ONLY_METRIC = {"metric": {"name": "accuracy", "atLeast": 0.9}}
PATIENCE = 1800 + 1800
"""Seconds for a first evaluation that hangs, and another evaluator that takes as long as a start."""


def test_an_evaluation_that_fails_is_counted_and_told_and_a_good_one_ends_that() -> None:
    chief = job(stopAfter={"updates": 1000})
    chief.evaluated(1, {"accuracy": 0.5}, False, 1.0)
    for _ in range(2):
        chief.evaluated(2, {}, False, 2.0, "evaluate failed: KeyError: 'label_map' (tasks.py:13)")
    assert (chief.evaluations_failed, chief.metrics, chief.metrics_at) == (2, {"accuracy": 0.5}, 1)
    said = "an evaluation failed: evaluate failed: KeyError: 'label_map' (tasks.py:13)"
    assert [(n.text, n.about) for n in chief.notices.newest] == [(said, "evaluation")], "told once"
    assert "KeyError" in chief.evaluation_error
    chief.evaluated(3, {"accuracy": 0.6}, False, 3.0)
    assert (chief.evaluations_failed, chief.evaluation_error, chief.stop_reason) == (2, "", "")


@pytest.mark.parametrize("others", [{}, {"epochs": 3}])
def test_evaluations_that_fail_again_and_again_end_a_job_that_only_a_metric_can_end(
    others: dict[str, int],
) -> None:
    chief = job(stopAfter={"metric": {"name": "accuracy", "atLeast": 0.9}} | others)
    for at in range(3):
        assert chief.stop_reason == ""
        chief.evaluated(at, {}, False, float(at), "evaluate failed: it does")
    assert chief.stop_reason == ("" if others else "unevaluated")
    assert chief.stop_detail == ("" if others else "evaluate failed: it does")


def test_an_evaluator_that_is_given_up_ends_a_job_that_only_a_metric_can_end() -> None:
    chief = job(stopAfter={"metric": {"name": "accuracy", "atLeast": 0.9}})
    chief.leave_evaluator(True, 1.0)
    assert chief.stop_reason == "unevaluated"
    why = "the evaluator has ended again and again, and is given up"
    assert (chief.stop_detail, chief.evaluation_error, chief.evaluations_failed) == (why, why, 1)


def test_the_final_evaluation_may_fail_too_and_the_job_is_finished_then() -> None:
    chief = job(stopAfter={"updates": 1})
    chief.meet_evaluator(0.5)
    push(chief)
    chief.bye(0, 1, False, 1.1)
    chief.tick(1.2)
    chief.saved(1.3)
    chief.tick(1.4)
    assert chief.phase == "evaluating"
    chief.evaluated(1, {}, True, 1.5, "evaluate failed: it does")
    assert (chief.phase, chief.evaluation_error) == ("finished", "evaluate failed: it does")


# -- an evaluator that dies for good, where nobody says so ----------------------------------------------


def training(chief: Coordinator, until: float, *, dies: bool) -> None:
    """Trains until then, in steps of 10 s; the evaluator never tells anything, and `dies` before it joins, or again and
    again after it has."""
    for at in range(10, int(until), 10):
        push(chief, float(at))
        chief.heard(0, 1, float(at))
        if not dies:
            chief.meet_evaluator(float(at), incarnation=at // 60)
        chief.tick(float(at))


def wanting(**fields: Any) -> Coordinator:
    chief = job(**fields)
    chief.await_evaluator()
    return chief


@pytest.mark.parametrize("dies", [True, False], ids=["before it joins", "again and again"])
def test_a_job_that_only_a_metric_can_end_does_not_wait_for_ever_for_an_evaluator_that_dies(
    dies: bool,
) -> None:
    chief = wanting(stopAfter=ONLY_METRIC)
    training(chief, PATIENCE, dies=dies)
    assert chief.stop_reason == "" and not chief.evaluation_error
    training(chief, PATIENCE + 60, dies=dies)
    assert chief.stop_reason == "unevaluated"
    assert "the evaluator is not there, or ends again and again" in chief.stop_detail
    assert chief.evaluations_failed == 1


def test_a_job_that_others_end_trains_on_and_says_that_no_evaluation_comes() -> None:
    chief = wanting(stopAfter={"updates": 10_000})
    training(chief, PATIENCE + 60, dies=True)
    assert (chief.stop_reason, chief.evaluations_failed) == ("", 1)
    assert [notice.about for notice in chief.notices.newest] == ["evaluation"]
    chief.meet_evaluator(4000.0, 9)
    chief.evaluated(1, {"accuracy": 0.5}, False, 4001.0)
    assert chief.evaluation_error == "", "one that comes back mends it"


def test_a_job_without_an_evaluation_waits_for_none_and_fails_none() -> None:
    chief = job(stopAfter={"updates": 10_000})
    training(chief, PATIENCE + 60, dies=True)
    assert not chief.evaluation_error


def saved(chief: Coordinator) -> None:
    """The job is over and saved at 1.3."""
    push(chief)
    chief.bye(0, 1, False, 1.1)
    chief.tick(1.2)
    chief.saved(1.3)
    chief.tick(1.4)


def test_a_final_evaluation_that_nobody_makes_counts_as_failed_once() -> None:
    chief = wanting(stopAfter={"updates": 1})
    saved(chief)
    chief.tick(1.3 + FINAL_SECONDS)
    assert chief.phase == "evaluating"
    chief.tick(1.5 + FINAL_SECONDS)
    assert (chief.phase, chief.evaluations_failed) == ("finished", 1)
    assert chief.evaluation_error == "the evaluator was not there for the final one"


def test_an_evaluator_that_was_given_up_is_not_waited_for_at_the_end_and_counts_once() -> None:
    chief = wanting(stopAfter={"updates": 1})
    chief.leave_evaluator(True, 0.5)
    saved(chief)
    assert (chief.phase, chief.evaluations_failed) == ("finished", 1)
    assert "given up" in chief.evaluation_error
    chief.leave_evaluator(True, 2.0)
    assert chief.evaluations_failed == 1, "what happens to it after the end is nobody's loss"


def test_one_that_was_told_to_leave_is_expected_back_for_the_final_evaluation() -> None:
    chief = wanting(stopAfter={"updates": 1})
    chief.meet_evaluator(0.2, 1)
    chief.leave_evaluator(False, 0.5)
    saved(chief)
    assert chief.phase == "evaluating"
    chief.meet_evaluator(9.0, 2)
    chief.tick(9.1)
    chief.evaluated(1, {"accuracy": 0.9}, True, 9.2)
    assert (chief.phase, chief.evaluation_error) == ("finished", "")
    assert chief.restarts["evaluator"] == 1
