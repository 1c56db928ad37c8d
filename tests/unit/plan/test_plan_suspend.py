"""Suspending: workers leave, servers save, and the job says when it is done."""

from asgd_operator.constants import Condition
from asgd_operator.plan.actions import ApplyLive, Delete
from tests.unit.plan.builders import condition, make_job, told

STOP = ApplyLive("Job", "x-worker", "u-workers", {"parallelism": 4, "completions": 4, "suspend": True})


def test_workers_are_taken_away_before_the_servers() -> None:
    scene = make_job().running().suspended()
    assert scene.actions() == (STOP, Delete("Job", "x-evaluator", "u-eval"))
    found = scene.plan()
    assert found.status is not None and found.status["phase"] == "Suspending"
    assert condition(found, Condition.SUSPENDED)["status"] == "False"


def test_servers_go_when_the_last_worker_has_left() -> None:
    leaving = make_job().running().suspended().seeing(evaluator=None)
    leaving = leaving.with_workers(ready=1, suspended=True)
    assert leaving.actions() == ()
    assert leaving.with_workers(ready=0, suspended=True).actions() == (
        ApplyLive("StatefulSet", "x-server", "u-servers", {"replicas": 0}),
    )


def test_servers_go_when_shard_0_was_asked_for_its_last_figures_after_the_workers_had_left() -> None:
    left = make_job().running().suspended().seeing(evaluator=None).with_workers(ready=0, suspended=True)
    asked = left.seeing(report_settled=False, report_changes=4.0)
    assert asked.actions() == ()
    assert asked.plan().requeue_after == 4.0
    assert left.actions() == (ApplyLive("StatefulSet", "x-server", "u-servers", {"replicas": 0}),)


def test_a_job_is_suspended_only_when_no_pod_is_left() -> None:
    saving = make_job().running().suspended().seeing(evaluator=None).with_workers(ready=0, suspended=True)
    assert saving.seen.servers is not None
    saving = saving.seeing(servers=type(saving.seen.servers)(name="x-server", replicas=0))
    assert condition(saving.plan(), Condition.SUSPENDED)["status"] == "False"
    found = saving.seeing(pods=()).plan()
    assert condition(found, Condition.SUSPENDED)["reason"] == "SuspendedByUser"
    assert found.status is not None and found.status["phase"] == "Suspended"
    assert "startTime" not in found.status
    assert told(found) == ["Suspended"]


def test_a_job_that_is_created_suspended_makes_nothing() -> None:
    found = make_job().suspended().plan()
    assert found.actions == ()
    assert found.status is not None and found.status["phase"] == "Suspended"


def test_a_queued_job_is_suspended_by_deleting_its_worker_job() -> None:
    queued = make_job().having(scheduling={"queueName": "gpu"}).running().suspended()
    assert Delete("Job", "x-worker", "u-workers") in queued.actions()


def test_deadlines_do_not_run_while_suspended() -> None:
    scene = make_job().having(runPolicy={"activeDeadlineSeconds": 10}).stopped().after(1000)
    assert condition(scene.plan(), Condition.FAILED)["status"] == "False"


def test_resumed_servers_are_no_restarts() -> None:
    resumed = make_job().stopped().suspended(False).with_servers()
    found = resumed.changing_pod("x-server-0", uid="another").plan()
    assert found.status is not None and found.status["parameterServer"]["restarts"] == 0
