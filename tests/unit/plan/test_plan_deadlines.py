"""Deadlines of the run, of its start, and of progress."""

from asgd_operator.constants import Condition
from asgd_operator.plan.actions import DeletePod
from tests.unit.plan.builders import condition, make_job, names, told

RESCUE = DeletePod("x-server-0", "u-x-server-0")


def test_the_active_deadline_fails_a_running_job() -> None:
    scene = make_job().having(runPolicy={"activeDeadlineSeconds": 100}).running()
    assert condition(scene.after(99).plan(), Condition.FAILED)["status"] == "False"
    assert condition(scene.after(100).plan(), Condition.FAILED)["reason"] == "DeadlineExceeded"
    assert scene.after(97).plan().requeue_after == 3


def test_the_startup_deadline_says_what_was_missing() -> None:
    scene = make_job().with_supports().with_servers(ready=0).written().after(30).written().after(1770)
    found = condition(scene.plan(), Condition.FAILED)
    assert found["reason"] == "StartupDeadlineExceeded"
    says = "1800 s: 0 of 2 parameter servers are ready. x-server-0 runs and is not ready yet."
    assert found["message"].endswith(says)


def test_the_startup_deadline_is_over_once_training_began() -> None:
    later = make_job().running().after(5000).with_report(updates=10_000)
    assert condition(later.plan(), Condition.FAILED)["status"] == "False"


def test_a_stalled_job_has_shard_0_restarted_once() -> None:
    scene = make_job().running().with_report(updates=7).written()
    assert scene.after(599).actions() == ()
    stalled = scene.after(601)
    assert stalled.actions() == (RESCUE,)
    assert "TrainingStalled" in told(stalled.plan())
    found = stalled.plan()
    assert found.status is not None and found.status["phase"] == "Stalled"
    assert stalled.written().actions() == ()


def test_a_stall_that_a_restart_did_not_mend_degrades_the_job() -> None:
    stalled = make_job().running().with_report(updates=7).written().after(601).written()
    again = stalled.changing_pod("x-server-0", uid="second").written().after(700)
    assert RESCUE not in again.actions()
    assert condition(again.plan(), Condition.DEGRADED)["reason"] == "Stalled"
    assert condition(again.plan(), Condition.FAILED)["status"] == "False"


def test_an_advance_ends_the_stall_and_the_next_one_is_rescued_again() -> None:
    stalled = make_job().running().with_report(updates=7).written().after(601).written()
    moving = stalled.after(60).with_report(updates=8).written()
    assert moving.seen.status["phase"] == "Running"
    assert moving.after(601).actions() == (RESCUE,)


def test_a_shard_that_cannot_be_asked_is_not_taken_for_a_stall() -> None:
    silent = make_job().running().with_report(updates=7).written().seeing(report=None).after(5000)
    assert names(silent.actions()) == []
    assert condition(silent.plan(), Condition.DEGRADED)["reason"] == "MetricsUnavailable"


def test_time_in_which_nobody_has_asked_is_no_stall() -> None:
    """An operator with many jobs asks each seldom, maybe less often than its progressDeadlineSeconds."""
    scene = make_job().having(runPolicy={"progressDeadlineSeconds": 30}).running().with_report(updates=7)
    scene = scene.written().after(90)
    assert scene.seeing(report_age=61.0).actions() == (), "it did answer in time, and was well then"
    assert scene.seeing(report_age=59.0).actions() == (RESCUE,), "a newer answer says the same as before"
    assert scene.with_report(updates=8).seeing(report_age=0.0).actions() == ()


def test_time_without_servers_is_no_stall() -> None:
    scene = make_job().running().with_report(updates=7).written()
    out = scene.with_servers(ready=1).after(3600).written()
    assert out.seen.status["phase"] == "Recovering"
    back = out.with_servers(ready=2).with_report(updates=7).written()
    assert back.after(10).actions() == ()
