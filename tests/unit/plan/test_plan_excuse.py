"""A worker's pod that somebody deletes costs no budget."""

from datetime import timedelta

from asgd_operator.plan.actions import ExcusePod
from tests.unit.plan.builders import START, Scene, make_job

EXCUSED = ExcusePod("x-worker-2", "u-x-worker-2", "deleted by request")


def deleted(scene: Scene) -> Scene:
    return scene.changing_pod("x-worker-2", deletion=START + timedelta(seconds=30))


def test_a_worker_that_somebody_deletes_is_marked_as_disrupted_once_while_it_ends() -> None:
    scene = deleted(make_job().running())
    assert scene.actions() == (EXCUSED,)
    assert scene.changing_pod("x-worker-2", disrupted=True).actions() == ()
    assert scene.changing_pod("x-worker-2", phase="Failed").actions() == (), "that has been counted already"


def test_workers_that_leave_because_the_job_says_so_are_left_alone() -> None:
    fewer = deleted(make_job().running().with_workers(parallelism=2, completions=2))
    assert EXCUSED not in fewer.actions(), "scaled down"
    suspended = make_job().running().suspended().with_workers(suspended=True)
    assert EXCUSED not in deleted(suspended).actions()


def test_a_worker_on_a_lost_node_is_not_taken_for_one_that_somebody_deletes() -> None:
    scene = deleted(make_job().running()).with_node("node-1", ready=False, seconds_ago=10)
    assert EXCUSED not in scene.actions()
