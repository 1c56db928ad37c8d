"""Completion: by shard 0's report and the end of the workers, never by a server's exit."""

from asgd_operator.constants import Condition
from tests.unit.plan.builders import condition, make_job, names, told


def test_a_reached_target_completes_the_job_when_the_workers_have_ended() -> None:
    reached = (
        make_job().running().with_report(stop_reason="epochs", phase="stopping", updates=40, samples=1280)
    )
    found = reached.plan()
    assert found.status is not None and found.status["phase"] == "Completing"
    assert "TargetReached" in told(found)
    ended = reached.written().with_workers(ready=0, complete=True, succeeded=4).with_evaluator(complete=True)
    ended = ended.with_report(stop_reason="epochs", phase="finished", updates=40, samples=1280)
    done = condition(ended.plan(), Condition.COMPLETE)
    assert (done["status"], done["reason"]) == ("True", "TargetReached")
    assert done["message"] == "The stop rule epochs is met after 40 updates and 1280 samples."
    assert ended.plan().status is not None
    assert "Completed" in told(ended.plan())


def test_a_job_is_complete_when_shard_0_was_asked_for_its_last_figures_after_all_had_ended() -> None:
    reached = make_job().running().with_report(stop_reason="epochs", phase="finished", updates=40).written()
    ended = reached.with_workers(ready=0, complete=True, succeeded=4).with_evaluator(complete=True)
    asked = ended.seeing(report_settled=False, report_changes=4.0).plan()
    assert condition(asked, Condition.COMPLETE)["status"] == "False"
    assert asked.requeue_after is not None and asked.requeue_after <= 4.0
    assert condition(ended.plan(), Condition.COMPLETE)["status"] == "True"


def test_a_job_is_not_complete_while_shard_0_still_writes_the_final_checkpoint_though_all_workers_have_ended() -> (
    None
):
    scene = make_job().running().with_report(stop_reason="epochs", phase="saving", updates=40).written()
    saving = scene.with_workers(ready=0, complete=True, succeeded=4).with_evaluator(complete=True)
    assert condition(saving.plan(), Condition.COMPLETE)["status"] == "False"
    saved = saving.with_report(stop_reason="epochs", phase="finished", updates=40)
    assert condition(saved.plan(), Condition.COMPLETE)["status"] == "True"


def test_the_wall_clock_is_a_reason_of_its_own() -> None:
    scene = make_job().running().with_report(stop_reason="seconds").with_workers(ready=0, complete=True)
    assert (
        condition(scene.with_evaluator(complete=True).plan(), Condition.COMPLETE)["reason"]
        == "WallClockReached"
    )


def test_a_job_that_gets_no_better_is_complete_for_a_reason_of_its_own_and_says_what_did_not_improve() -> (
    None
):
    why = "loss has not improved on 0.5 of update 10 for 3 evaluations"
    scene = (
        make_job()
        .running()
        .with_report(stop_reason="patience", stop_detail=why, updates=40, phase="finished")
    )
    ended = scene.with_workers(ready=0, complete=True).with_evaluator(complete=True)
    done = condition(ended.plan(), Condition.COMPLETE)
    assert (done["status"], done["reason"]) == ("True", "NoImprovement")
    assert done["message"].endswith("L" + why[1:] + ".")


def test_a_verdict_is_written_before_anything_is_removed() -> None:
    ended = make_job().running().with_report(stop_reason="epochs").with_workers(ready=0, complete=True)
    ended = ended.with_evaluator(complete=True)
    assert ended.actions() == ()
    assert names(ended.written().actions()) == ["Delete StatefulSet"]


def test_servers_that_vanish_complete_nothing() -> None:
    found = make_job().running().seeing(servers=None, pods=()).plan()
    assert condition(found, Condition.COMPLETE)["status"] == "False"
    assert "Apply StatefulSet" in names(found.actions)


def test_workers_that_do_not_end_hold_the_job_no_longer_than_their_drain_and_a_margin() -> None:
    reached = make_job().running().after(100).with_report(stop_reason="epochs", updates=40).written()
    assert condition(reached.after(80).plan(), Condition.COMPLETE)["status"] == "False"
    assert condition(reached.after(91).plan(), Condition.COMPLETE)["status"] == "True"
    wait = reached.after(85).plan().requeue_after
    assert wait is not None and wait <= 5
    said = "of its workers (0, 1, 2, 3) had not ended 90 s after that (workers.drainSeconds and 60 s)"
    assert said in condition(reached.after(91).plan(), Condition.COMPLETE)["message"]


def test_workers_that_all_ended_well_complete_the_job_though_shard_0_fell_silent() -> None:
    scene = make_job().running()
    ended = scene.with_workers(ready=0, complete=True, succeeded=4, finished_at=scene.seen.now)
    assert condition(ended.after(119).plan(), Condition.COMPLETE)["status"] == "False"
    assert condition(ended.after(121).plan(), Condition.COMPLETE)["status"] == "True"


def test_a_server_stopped_for_a_while_is_not_the_end() -> None:
    for reason in ("suspended", "interrupted"):
        found = make_job().running().with_report(stop_reason=reason).plan()
        assert found.status is not None and found.status["phase"] == "Running"


def test_a_finished_job_stays_finished_whatever_is_seen_later() -> None:
    ended = make_job().running().with_report(stop_reason="epochs").with_workers(ready=0, complete=True)
    finished = ended.with_evaluator(complete=True).written().seeing(servers=None, evaluator=None, report=None)
    later = finished.workers(9).after(10_000).with_servers(ready=0)
    assert later.plan().status is not None
    assert condition(later.plan(), Condition.COMPLETE)["status"] == "True"
    assert not any("Apply" in name for name in names(later.actions()))
