"""Autoscale in a queue of Kueue: what the operator sees of the queue, and what it writes down of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from asgd.spec.status import Advice
from asgd_operator.constants import Role
from asgd_operator.plan.actions import ApplyLive
from asgd_operator.plan.model import Held
from tests.unit.plan.builders import Scene, make_job, pod

NO_ROOM = "queue gpu has no room for 8 workers"


def queued(*, in_place: bool = True, **rule: Any) -> Scene:
    """A job in a queue that trains with its four workers and advises eight."""
    bounds = {"min": 2, "max": 12, **rule}
    scene = make_job().having(scheduling={"queueName": "gpu"}, workers={"autoscale": bounds}).running()
    scene = scene.with_workers(in_place=in_place).with_report(updates=9).written()
    return scene.with_report(updates=9, advice=Advice(8, "8 are better than 4", 4)).written()


def asked(**says: Any) -> Scene:
    """The job has asked for eight workers, and the queue holds the four new ones."""
    return with_held(queued().with_workers(ready=4, in_place=True), 4, 5, 6, 7).seeing(
        queue_says={"u-workers": Held("no quota", **says)}
    )


def with_held(scene: Scene, *indexes: int) -> Scene:
    held = (pod(Role.WORKER, i, ready=False, gated=True, node="", phase="Pending") for i in indexes)
    return scene.with_pods(*held).written()


def sizes(scene: Scene) -> list[int]:
    """Of the worker Job, as the next pass would make it."""
    return [int(a.spec["parallelism"]) for a in scene.actions() if isinstance(a, ApplyLive)]


def block(scene: Scene) -> dict[str, Any]:
    return dict(scene.seen.status["workers"]["autoscale"])


def test_a_queue_that_can_let_more_start_is_asked_for_them_as_by_anybody_else() -> None:
    scene = queued()
    assert (block(scene)["workers"], block(scene)["granted"]) == (8, 4)
    (action,) = [a for a in scene.actions() if isinstance(a, ApplyLive)]
    assert dict(action.spec) == {"parallelism": 8, "completions": 8}


def test_what_the_queue_has_let_start_is_written_down() -> None:
    assert block(queued().with_workers(in_place=True).written())["granted"] == 8
    assert block(asked())["granted"] == 4


def test_what_the_queue_has_no_room_for_is_given_back_with_the_reason_and_no_running_worker_goes() -> None:
    scene = asked().after(59).written()
    assert (sizes(scene), block(scene)["workers"]) == ([], 8)
    assert asked().after(30).plan().requeue_after is not None
    scene = scene.after(1).written()
    assert sizes(scene) == [4]
    found = block(scene)
    assert (found["workers"], found["reason"]) == (4, NO_ROOM)
    assert found["refused"] == {"workers": 8, "time": "2026-11-01T12:01:00Z"}
    (event,) = scene.plan().events
    assert event.message == f"Workers: 8 -> 4: {NO_ROOM}."


def test_an_operator_that_restarts_knows_what_was_refused() -> None:
    scene = asked().after(60).written().with_workers(in_place=True).after(299).written()
    assert block(scene)["workers"] == 4
    scene = scene.after(300).written()
    assert block(scene)["workers"] == 6, "half of what was refused is asked for after the window"


def test_a_queue_that_has_reserved_quota_and_prepares_nodes_is_not_given_up() -> None:
    scene = asked(reserved=True).after(600).written()
    assert (sizes(scene), block(scene)["workers"]) == ([], 8)


def test_a_queue_that_would_start_all_anew_keeps_its_number_and_says_why() -> None:
    scene = queued(in_place=False)
    for _ in range(2):
        assert (sizes(scene), block(scene)["workers"]) == ([], 4)
        assert block(scene)["reason"].startswith("queue gpu would start all workers anew for another number")
        scene = scene.after(600).written()


def test_workers_that_were_taken_back_queue_for_no_more_than_the_number_to_start_with() -> None:
    grown = queued().with_workers(in_place=True).written()
    back = grown.with_workers(ready=0, suspended=True, in_place=True).seeing(evaluator=None).written()
    assert block(back)["workers"] == 4 and "granted" not in block(back)
    assert block(back)["reason"] == (
        "the workers have to pass queue gpu again, and 4 is the number to start with"
    )
    assert sizes(back) == [4], "advice of before, which shard 0 may still tell, changes nothing"
    resized = back.with_workers(ready=0, suspended=True, in_place=True).written()
    assert sizes(resized) == [] and block(resized)["workers"] == 4


def test_a_suspended_job_of_a_queue_is_resumed_with_the_number_to_start_with() -> None:
    grown = queued().with_workers(in_place=True).written().suspended().edited()
    assert block(grown.seeing(workers=None).written())["workers"] == 4


def test_a_pod_that_ended_before_the_number_was_changed_is_none_that_the_queue_has_let_start() -> None:
    old = pod(Role.WORKER, 6, ready=False, phase="Failed")
    late = queued().after(5).written()
    asked = with_held(late.with_workers(ready=4, in_place=True), 4, 5, 7).with_pods(old)
    assert block(asked.written())["granted"] == 4
    failed_since = replace(old, created=late.seen.now)
    let_go = queued().with_workers(ready=8, in_place=True)
    rest = tuple(item for item in let_go.seen.pods if item.index != 6 or item.role != Role.WORKER)
    assert block(let_go.seeing(pods=(*rest, failed_since)).written())["granted"] == 8
