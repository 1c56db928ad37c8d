"""Pushes that are refused and evaluations that fail: on the AsgdJob while it trains, and in its verdict."""

import pytest

from asgd.spec.status import CheckpointView, Notice
from asgd_operator.constants import Condition
from tests.unit.plan.builders import condition, make_job

ERROR = "evaluate raised KeyError: 'label_map' (tasks.py:12)"


def test_a_worker_whose_pushes_are_refused_degrades_the_job_by_name() -> None:
    scene = make_job().running().with_report(updates=1, suspects=[1, 4], refused_lately=[1])
    found = condition(scene.plan(), Condition.DEGRADED)
    assert (found["status"], found["reason"]) == ("True", "PushesRefused")
    assert found["message"].startswith("Pushes of worker 1 were refused")


def test_an_evaluation_that_fails_degrades_the_job_and_is_an_event() -> None:
    scene = make_job().running().with_report(updates=1).written().after(1)
    said = Notice(1, f"an evaluation failed: {ERROR}", "evaluation")
    plan = scene.with_report(updates=2, evaluation_error=ERROR, notices=[said]).plan()
    found = condition(plan, Condition.DEGRADED)
    assert (found["reason"], found["message"]) == (
        "EvaluationFailing",
        f"The newest evaluation failed: {ERROR}.",
    )
    assert [event.reason for event in plan.events] == ["EvaluationFailed"]


def test_a_job_that_only_a_metric_could_end_fails_when_its_evaluations_do() -> None:
    scene = make_job().running().with_report(updates=9, stop_reason="unevaluated", stop_detail=ERROR)
    found = condition(scene.plan(), Condition.FAILED)
    assert (found["status"], found["reason"]) == ("True", "EvaluationFailed")
    assert ERROR in found["message"]


SPENT = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
BY_POLICY = ("PodFailurePolicy", "Container asgd for pod x failed with exit code 2 matching FailJob rule")


def test_an_evaluator_that_is_not_started_again_degrades_the_job() -> None:
    scene = make_job().running().with_report(updates=1).with_evaluator(failure=SPENT)
    found = condition(scene.plan(), Condition.DEGRADED)
    assert (found["status"], found["reason"]) == ("True", "EvaluationFailing")
    assert found["message"].startswith("The evaluator has failed more often than it is started again")


def test_a_task_that_evaluates_nothing_has_an_evaluator_that_ends_at_once_and_is_no_trouble() -> None:
    scene = make_job().running().with_report(updates=1).with_evaluator(failure=BY_POLICY)
    assert condition(scene.plan(), Condition.DEGRADED)["status"] == "False"
    assert condition(scene.plan(), Condition.FAILED)["status"] == "False"


@pytest.mark.parametrize("failure", [SPENT, BY_POLICY])
@pytest.mark.parametrize("others", [{}, {"updates": 100}])
def test_a_job_that_only_a_metric_could_end_fails_with_its_evaluator(
    failure: tuple[str, str], others: dict[str, int]
) -> None:
    rule = {"metric": {"name": "accuracy", "atLeast": 0.9}, **others}
    scene = make_job().having(stopAfter=rule).running().with_report(updates=1).with_evaluator(failure=failure)
    found = condition(scene.plan(), Condition.FAILED)
    assert found["status"] == ("False" if others else "True")
    if not others:
        assert found["reason"] == "EvaluationFailed" and failure[1] in found["message"]


def test_a_job_that_diverged_says_whose_pushes_did_it() -> None:
    why = "in the last 10 pushes the loss was not finite: those of worker 1"
    scene = make_job().running().with_report(updates=9, stop_reason="diverged", stop_detail=why)
    found = condition(scene.plan(), Condition.FAILED)
    assert (found["reason"], found["message"]) == ("Diverged", f"Training diverged after 9 updates: {why}.")


def test_a_job_that_went_back_to_a_checkpoint_says_so_in_its_status_a_condition_and_an_event() -> None:
    why = "in the last 10 pushes the loss was not finite: those of worker 1; the job went back to update 5"
    scene = make_job().running().with_report(updates=9).written().after(1)
    told = {
        "rollbacks": 1,
        "rate_factor": 0.5,
        "rollback_detail": why,
        "notices": [Notice(1, why, "rollback")],
    }
    plan = scene.with_report(updates=5, **told).plan()
    found = condition(plan, Condition.DEGRADED)
    assert (found["status"], found["reason"]) == ("True", "RolledBack")
    assert found["message"] == f"I{why[1:]}."
    assert [(event.reason, event.message) for event in plan.events] == [("RolledBack", f"I{why[1:]}.")]
    training = plan.status["training"]
    assert (training["rollbacks"], training["rateFactor"]) == (1, 0.5)


def test_a_job_that_went_back_is_as_expected_again_when_it_has_saved_what_lies_beyond() -> None:
    told = {"rollbacks": 1, "rollback_detail": "it went back", "diverged_at": 9}
    scene = make_job().running().with_report(updates=5, **told).written()
    reasons = []
    for saved in (5, 9, 10):
        view = CheckpointView(updates=saved, seconds_ago=1.0)
        scene = scene.after(60).with_report(updates=saved + 5, checkpoint=view, **told).written()
        reasons.append(next(c for c in scene.seen.status["conditions"] if c["type"] == "Degraded")["reason"])
    assert reasons == ["RolledBack", "RolledBack", "AsExpected"]
    assert scene.seen.status["training"]["rollbacks"] == 1


def test_the_job_is_as_expected_again_when_no_push_was_refused_lately_and_the_counts_remain() -> None:
    refused = {"outlier": 2, "stale": 0}
    scene = make_job().running().with_report(updates=1, suspects=[1], refused_lately=[1], refused=refused)
    later = scene.written().after(400).with_report(updates=900, suspects=[1], refused=refused)
    assert condition(later.plan(), Condition.DEGRADED)["reason"] == "AsExpected"
    training = later.written().seen.status["training"]
    assert (training["suspects"], training["refused"]) == ([1], {"outlier": 2})
    again = later.written().after(60).with_report(updates=950, suspects=[1], refused_lately=[1]).plan()
    assert condition(again, Condition.DEGRADED)["reason"] == "PushesRefused"
