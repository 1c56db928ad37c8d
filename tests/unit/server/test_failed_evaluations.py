"""What shard 0 makes of evaluations that fail."""

from __future__ import annotations

import pytest

from tests.unit.server.test_coordinator import job, push


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
    chief.unevaluated("the evaluator has ended again and again, and is given up", 1.0)
    assert chief.stop_reason == "unevaluated"


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
