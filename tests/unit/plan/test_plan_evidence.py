"""The evidence of a failure stays: in the status, as an event, and until the Job controller has counted it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from asgd_operator.constants import Condition, EventReason, Role
from asgd_operator.plan.actions import DeleteSelf, Plan
from asgd_operator.plan.evidence import COUNTED_SECONDS
from asgd_operator.plan.model import End
from tests.unit.plan.builders import START, Scene, condition, make_job, names, pod

LINES = "Traceback (most recent call last):\nValueError: no such file: train.csv"


def end(code: int = 1, seconds: float = 5, **fields: Any) -> End:
    values = {"container": "asgd", "reason": "Error", "message": LINES} | fields
    return End(exit_code=code, finished=START + timedelta(seconds=seconds), **values)


def failing(**fields: Any) -> Scene:
    """A job whose worker 3 has failed, by exit code 1 unless told."""
    values: dict[str, Any] = {"phase": "Failed", "exit_code": 1, "end": end()} | fields
    return make_job().running().with_report(updates=1).written().changing_pod("x-worker-3", **values)


def messages(found: Plan, reason: EventReason) -> list[str]:
    return [event.message for event in found.events if event.reason == reason]


def test_the_last_lines_of_the_failing_container_stand_in_the_status_and_in_one_event() -> None:
    found = failing().plan()
    assert found.status is not None
    assert found.status["lastFailure"] == {
        "pod": "x-worker-3",
        "role": "worker",
        "node": "node-1",
        "container": "asgd",
        "exitCode": 1,
        "reason": "Error",
        "message": LINES,
        "finishedAt": "2026-11-01T12:00:05Z",
    }
    said = f"x-worker-3 ended with exit code 1 on node node-1. Its last lines:\n{LINES}"
    assert messages(found, EventReason.WORKER_FAILED) == [said]
    written = failing().written()
    assert written.seen.workers is not None
    counted = written.seeing(workers=replace(written.seen.workers, failed=1)).plan()
    assert counted.status is not None and counted.status["workers"]["restarts"] == 1
    assert messages(counted, EventReason.WORKER_FAILED) == []


def test_it_stays_when_the_pod_is_gone_and_gives_way_to_a_newer_one() -> None:
    gone = failing().written().seeing(pods=())
    assert gone.plan().status["lastFailure"]["message"] == LINES  # type: ignore[index]  # a status is planned
    older = gone.with_pods(pod(Role.WORKER, 1, phase="Failed", exit_code=9, end=end(9, seconds=4)))
    assert older.plan().status["lastFailure"]["exitCode"] == 1  # type: ignore[index]  # a status is planned
    newer = gone.with_pods(pod(Role.SERVER, 1, end=end(137, 6, reason="OOMKilled", message="")))
    found = newer.plan()
    assert messages(found, EventReason.SERVER_FAILED) == [
        "x-server-1 ended with exit code 137 (OOMKilled) on node node-1."
    ]


@pytest.mark.parametrize(
    "fields", [{"disrupted": True}, {"deletion": START}, {"end": None}], ids=["evicted", "deleted", "no end"]
)
def test_pods_that_end_by_somebodys_will_are_no_failures(fields: dict[str, Any]) -> None:
    found = failing(**fields).plan()
    assert found.status is not None and "lastFailure" not in found.status


def test_what_ends_after_the_verdict_ends_because_of_it() -> None:
    over = failing().having(runPolicy={"activeDeadlineSeconds": 1}).after(10).written()
    assert over.seen.finished
    late = over.changing_pod("x-server-0", end=end(1, seconds=30))
    assert late.plan().status["lastFailure"]["pod"] == "x-worker-3"  # type: ignore[index]  # a status is planned


def test_a_verdict_by_a_spent_budget_says_how_the_last_worker_ended() -> None:
    spent = failing().with_workers(ready=0, active=0, failed=7, failed_indexes=4)
    spent = spent.with_pods(pod(Role.WORKER, 3, phase="Failed", exit_code=1, end=end()))
    message = condition(spent.plan(), Condition.FAILED)["message"]
    assert message.endswith(
        "The last one: x-worker-3 ended with exit code 1: Traceback (most recent call last): "
        "ValueError: no such file: train.csv."
    )


@pytest.mark.parametrize("phase", ["Running", "Failed"])
def test_nothing_is_cleaned_up_before_the_job_controller_has_counted_the_failure(phase: str) -> None:
    """A pod whose container has ended counts as running until its phase says so, and would be deleted with its log."""
    failed = failing(exit_code=2, end=end(2), phase=phase).written()
    assert failed.seen.finished
    assert failed.actions() == ()
    assert failed.plan().requeue_after == COUNTED_SECONDS
    pods = failed.changing_pod("x-worker-3", phase="Failed").seen.pods
    counted = failed.with_workers(ready=3, failed=1, failure=("PodFailurePolicy", "m")).seeing(pods=pods)
    assert "Delete StatefulSet" in names(counted.actions())
    by_count = failed.with_workers(ready=3, failed=1).seeing(pods=pods)
    assert "ApplyLive Job" in names(by_count.actions())
    assert "ApplyLive Job" in names(failed.after(COUNTED_SECONDS).actions())


def test_a_time_to_live_waits_as_well() -> None:
    failed = failing(exit_code=2, end=end(2)).having(runPolicy={"ttlSecondsAfterFinished": 0}).written()
    assert failed.actions() == ()
    assert failed.after(COUNTED_SECONDS).actions() == (DeleteSelf(),)
