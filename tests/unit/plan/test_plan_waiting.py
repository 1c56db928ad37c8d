"""Every state that waits says for what, and ends or is shown when it lasts; the table is docs/reference/waiting.md."""

from dataclasses import replace
from datetime import timedelta

from asgd_operator.constants import Condition
from asgd_operator.plan import plan
from asgd_operator.plan.actions import DeletePod
from asgd_operator.plan.model import Problem
from tests.unit.plan.builders import START, Scene, condition, make_job, names, told

QUOTA = ("QuotaExceeded", "spec.workers: exceeded quota: small.")


def degraded(scene: Scene) -> tuple[str, str]:
    found = condition(scene.plan(), Condition.DEGRADED)
    return found["status"], found["reason"]


# The first answer of shard 0.
def test_nothing_is_decided_about_a_job_that_runs_before_shard_0_was_heard_for_a_moment() -> None:
    """An operator that restarts knows of no report: it would take all jobs for silent, completed ones for running."""
    found = make_job().running().seeing(awaits_report=True, report_changes=4.0).plan()
    assert (found.status, found.actions, found.requeue_after) == (None, (), 4.0)


def test_a_job_that_starts_does_not_wait_for_a_report() -> None:
    scene = make_job().with_supports().with_servers().seeing(awaits_report=True, report_changes=4.0)
    assert "Apply Job" in names(scene.actions())


def test_a_report_is_looked_at_again_when_it_is_too_old() -> None:
    scene = make_job().running().with_report(updates=1).written().seeing(report_changes=7.5)
    assert scene.plan().requeue_after == 7.5


# Starting.
def test_a_job_refused_on_its_way_up_fails_at_the_startup_deadline_and_says_why() -> None:
    scene = make_job().with_supports().with_servers().written().with_problem(*QUOTA)
    assert scene.after(1799).plan().requeue_after is not None
    assert condition(scene.after(1799).plan(), Condition.FAILED)["status"] == "False"
    found = condition(scene.after(1800).plan(), Condition.FAILED)
    assert found["reason"] == "StartupDeadlineExceeded"
    assert found["message"].endswith("1800 s: spec.workers: exceeded quota: small.")


def test_a_job_refused_before_its_start_holds_nothing_and_may_wait() -> None:
    scene = make_job().with_problem(*QUOTA).written().after(100_000)
    found = scene.plan()
    assert condition(found, Condition.FAILED)["status"] == "False"
    assert condition(found, Condition.ACCEPTED)["message"] == QUOTA[1]
    assert found.requeue_after == 30


# A deletion that a frozen edit asked for.
def test_servers_that_are_removed_for_an_edit_are_named_and_bounded_by_the_startup_deadline() -> None:
    edited = make_job().stopped().shards(3).suspended(False).written()
    assert edited.seen.servers is not None
    going = edited.seeing(servers=replace(edited.seen.servers, deleting=True)).written()
    found = condition(going.plan(), Condition.SERVERS_READY)
    assert found["message"].endswith(
        "StatefulSet x-server is being deleted; it is made anew when it is gone."
    )
    late = condition(going.after(1800).plan(), Condition.FAILED)
    assert late["reason"] == "StartupDeadlineExceeded"
    assert "x-server is being deleted" in late["message"]


def test_a_worker_job_that_is_removed_is_named() -> None:
    scene = make_job().with_supports().with_servers().with_workers(ready=0, deleting=True).written()
    found = condition(scene.plan(), Condition.WORKERS_READY)
    assert found["message"] == "Job x-worker is being deleted; it is made anew when it is gone."


# Recovering, and waiting for workers.
def test_servers_that_do_not_come_back_degrade_the_job_after_the_progress_deadline() -> None:
    scene = make_job().running().with_report(updates=7).written().after(50)
    out = scene.with_servers(ready=1).seeing(report=None).written()
    assert degraded(out.after(599))[1] != "Stalled"
    assert out.after(590).plan().requeue_after == 10
    late = out.after(600)
    assert degraded(late) == ("True", "Stalled")
    assert "TrainingStalled" in told(late.plan())
    assert condition(late.plan(), Condition.FAILED)["status"] == "False", "a node may come back"
    assert told(late.written().after(60).plan()) == []


def test_workers_that_do_not_come_back_degrade_the_job_too() -> None:
    scene = make_job().workers(4, minimum=3).running().with_report(updates=7).written()
    out = scene.with_workers(ready=2).written()
    assert degraded(out.after(599)) == ("True", "FewerThanDesired")
    found = condition(out.after(601).with_report(updates=9).plan(), Condition.DEGRADED)
    assert (
        found["message"]
        == "WorkersReady has been False for more than runPolicy.progressDeadlineSeconds, 600 s."
    )


def test_a_removed_worker_job_that_never_goes_is_shown_though_the_job_once_trained() -> None:
    scene = make_job().running().with_report(updates=7).written()
    going = scene.with_workers(ready=0, deleting=True).written()
    assert degraded(going.after(601)) == ("True", "Stalled")


def test_a_job_that_was_put_back_in_its_queue_is_not_stuck() -> None:
    scene = make_job().having(scheduling={"queueName": "gpu"}).running().with_report(updates=7).written()
    back = scene.with_workers(ready=0, suspended=True).written()
    assert degraded(back.after(5000))[1] != "Stalled"


# Completing.
def test_shard_0_that_goes_on_saying_that_the_job_runs_holds_it_for_ten_minutes() -> None:
    """It has restarted, and forgotten that the workers' own loops have ended."""
    scene = make_job().running().with_report(updates=40).written()
    ended = scene.with_workers(ready=0, complete=True, succeeded=4, finished_at=scene.seen.now).written()
    waiting = condition(ended.plan(), Condition.RUNNING)
    assert waiting["reason"] == "Completing"
    assert waiting["message"] == "All workers ended well; shard 0 has not said yet that the job is over."
    assert condition(ended.after(599).plan(), Condition.COMPLETE)["status"] == "False"
    assert ended.after(590).plan().requeue_after == 10
    found = condition(ended.after(600).plan(), Condition.COMPLETE)
    assert (found["status"], found["reason"]) == ("True", "TargetReached")
    assert found["message"].endswith("shard 0 has not taken note of it.")


def test_a_worker_job_that_does_not_say_when_it_ended_is_waited_for_no_longer() -> None:
    scene = make_job().running().with_report(updates=40).written()
    ended = scene.with_workers(ready=0, complete=True, succeeded=4).seeing(report=None).written()
    assert condition(ended.after(119).plan(), Condition.COMPLETE)["status"] == "False"
    assert condition(ended.after(121).plan(), Condition.COMPLETE)["status"] == "True"


# Pods that do not end.
def ending(scene: Scene, name: str) -> Scene:
    """Its grace ends in 30 s, on a node that answers."""
    pod = scene.changing_pod(name, deletion=scene.seen.now + timedelta(seconds=30))
    return pod.with_node("node-1", ready=True, seconds_ago=1000)


def test_a_suspension_says_who_is_waited_for() -> None:
    leaving = make_job().running().suspended().seeing(evaluator=None)
    assert condition(leaving.plan(), Condition.SUSPENDED)["message"].startswith("Workers hand in their work")
    saving = leaving.with_workers(ready=0, suspended=True)
    assert condition(saving.plan(), Condition.SUSPENDED)["message"].startswith("The workers have left")


def test_a_pod_that_holds_up_a_suspension_is_named_a_minute_after_its_grace() -> None:
    scene = make_job().running().suspended().seeing(evaluator=None).with_workers(ready=0, suspended=True)
    scene = ending(scene, "x-server-1").written()
    assert degraded(scene.after(89)) == ("False", "AsExpected")
    assert scene.after(80).plan().requeue_after == 10
    late = scene.after(90)
    found = condition(late.plan(), Condition.DEGRADED)
    assert found["reason"] == "PodsNotEnding"
    assert found["message"].startswith("x-server-1 on node-1 should have ended at 2026-11-01T12:00:30Z.")
    assert told(late.plan()) == ["PodsNotEnding"]
    assert late.written().after(60).plan().status == late.written().seen.status, "the sentence does not move"


def test_a_pod_that_holds_up_a_scaling_is_named_too() -> None:
    scene = ending(make_job().running().with_report(updates=1).written(), "x-worker-3")
    assert degraded(scene.after(91).with_report(updates=9)) == ("True", "PodsNotEnding")


# Deletion.
def test_a_lost_node_does_not_hold_up_a_jobs_deletion() -> None:
    scene = make_job().running().seeing(deleting=True)
    scene = scene.changing_pod("x-server-1", deletion=START).with_node("node-1", ready=False, seconds_ago=60)
    assert scene.actions() == (DeletePod("x-server-1", "u-x-server-1", force=True),)
    soon = scene.with_node("node-1", ready=False, seconds_ago=50)
    assert (soon.actions(), soon.plan().requeue_after) == ((), 10)


# The operator's own failure.
BUG = Problem("OperatorBug", "The operator fails on this job.")


def test_what_the_operator_fails_with_is_shown_on_running_finished_and_unreadable_jobs() -> None:
    running = make_job().running().with_report(updates=1).written()
    finished = running.with_condition(Condition.COMPLETE, "True", "TargetReached")
    for scene, spec in ((running, running.job), (finished, running.job), (running, None)):
        failing = replace(scene.observed(), spec=spec, failing=BUG)
        found = plan(failing)
        assert condition(found, Condition.DEGRADED)["reason"] == "OperatorBug"
        assert found.status is not None
        later = replace(failing, status=found.status)
        assert plan(later).status == found.status
        assert condition(plan(replace(later, failing=None)), Condition.DEGRADED)["reason"] == "AsExpected"


def test_a_finished_job_keeps_what_degraded_it_for_another_reason() -> None:
    scene = make_job().running().with_condition(Condition.COMPLETE, "True", "TargetReached")
    scene = scene.with_condition(Condition.DEGRADED, "True", "FewerThanDesired")
    assert degraded(scene) == ("True", "FewerThanDesired")
