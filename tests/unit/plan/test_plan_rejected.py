"""A worker that Safeguard does not listen to is named, told once, and otherwise left alone."""

from asgd_operator.constants import Condition
from tests.unit.plan.builders import condition, make_job, told


def test_a_rejected_worker_is_named_in_status_condition_and_event() -> None:
    scene = make_job().running().with_report(updates=1).written().after(1)
    found = scene.with_report(updates=2, rejected_workers=[2]).plan()
    assert found.status is not None
    assert found.status["training"]["rejectedWorkers"] == [2], (
        "at once, not with the figures of half a minute"
    )
    degraded = condition(found, Condition.DEGRADED)
    assert (degraded["status"], degraded["reason"]) == ("True", "WorkerRejected")
    assert degraded["message"].startswith("Worker 2 is not listened to")
    assert told(found) == ["WorkerRejected"]


def test_it_is_told_once_and_only_who_is_new() -> None:
    scene = make_job().running().with_report(updates=2, rejected_workers=[2]).written().after(40)
    assert told(scene.with_report(updates=3, rejected_workers=[2]).plan()) == []
    both = scene.with_report(updates=3, rejected_workers=[1, 2]).plan()
    assert [event.message.split(" is ")[0] for event in both.events] == ["Worker 1"]


def test_it_is_not_restarted() -> None:
    scene = make_job().running().with_report(updates=2)
    assert scene.with_report(updates=2, rejected_workers=[2]).actions() == scene.actions() == ()


def test_when_it_is_let_back_the_job_is_as_expected() -> None:
    scene = make_job().running().with_report(updates=2, rejected_workers=[2]).written().after(1)
    found = scene.with_report(updates=3).plan()
    assert found.status is not None and "rejectedWorkers" not in found.status["training"]
    assert condition(found, Condition.DEGRADED)["reason"] == "AsExpected"
