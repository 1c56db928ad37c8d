"""A worker that lives and makes no progress: named while it lasts, told once, and left to shard 0 and the Job."""

from asgd.spec.status import Notice, WorkerView
from asgd_operator.constants import Condition
from tests.unit.plan.builders import condition, make_job, told

STALLED = WorkerView(1, "stalled", 0.0, samples_held=64, idle_seconds=200.0)
HUNG = WorkerView(1, "hung", 0.0, 9.0, incarnation=1)
BACK = WorkerView(1, "running", 10.0, incarnation=2)
SAID = "worker 1 holds 64 samples and has pushed nothing for 300 s: it has to end"


def test_a_worker_that_makes_no_progress_is_named_before_it_is_given_up_and_until_its_successor_joins() -> (
    None
):
    scene = make_job().running().with_report(updates=1).written().after(1)
    found = condition(scene.with_report(updates=2, workers=[STALLED]).plan(), Condition.DEGRADED)
    assert (found["status"], found["reason"]) == ("True", "WorkerHung")
    assert found["message"].startswith("Worker 1 holds 64 samples and has pushed nothing")
    found = condition(scene.with_report(updates=2, workers=[HUNG]).plan(), Condition.DEGRADED)
    assert found["message"].startswith("Worker 1 was given up")
    found = condition(scene.with_report(updates=2, workers=[HUNG, BACK]).plan(), Condition.DEGRADED)
    assert found["reason"] == "AsExpected"


def test_its_end_is_an_event_in_shard_0s_own_words_once_whatever_the_operator_forgets() -> None:
    scene = make_job().running().with_report(updates=1).written().after(1)
    given_up = scene.with_report(updates=2, workers=[HUNG], notices=[Notice(1, SAID)])
    found = given_up.plan()
    assert [(event.reason, event.message) for event in found.events] == [
        ("WorkerHung", "Worker 1 holds 64 samples and has pushed nothing for 300 s: it has to end.")
    ]
    assert found.status is not None and found.status["training"]["noticeNumber"] == 1, "at once"
    later = given_up.written().after(60)
    assert told(later.plan()) == []
    second = Notice(2, "the evaluator has told nothing for 601 s: it has to end", "evaluator")
    again = later.with_report(updates=3, workers=[BACK], notices=[Notice(1, SAID), second])
    assert [event.message for event in again.plan().events] == [
        "The evaluator has told nothing for 601 s: it has to end."
    ]


def test_the_operator_itself_does_nothing_about_it() -> None:
    scene = make_job().running().with_report(updates=2)
    assert scene.with_report(updates=2, workers=[STALLED]).actions() == scene.actions() == ()


def test_a_job_that_is_resumed_with_other_data_has_an_event_of_its_own() -> None:
    scene = make_job().running().with_report(updates=1).written().after(1)
    changed = Notice(
        1, "the job goes on with other data or another model than before: sample 17 differs", "data"
    )
    assert [event.reason for event in scene.with_report(updates=2, notices=[changed]).plan().events] == [
        "DataChanged"
    ]
