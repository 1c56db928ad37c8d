"""Autoscale in the operator: decided and written by one pass, made true by the next, and by nobody forgotten."""

from __future__ import annotations

from typing import Any

from asgd.spec.status import Advice
from asgd_operator.constants import Condition
from asgd_operator.plan.actions import Apply, ApplyLive
from tests.unit.plan.builders import Scene, condition, make_job, told


def autoscaled(**rule: Any) -> Scene:
    """A job that trains with its four workers."""
    bounds = {"min": 2, "max": 12, **rule}
    return make_job().having(workers={"autoscale": bounds}).running().with_report(updates=9).written()


def advised(scene: Scene, workers: int, measured: int) -> Scene:
    text = f"{workers} are better than {measured}"
    return scene.with_report(updates=9, advice=Advice(workers, text, measured))


def sizes(scene: Scene) -> list[int]:
    """Of the worker Job, as the next pass would make it."""
    return [int(a.spec["parallelism"]) for a in scene.actions() if isinstance(a, ApplyLive)]


def block(scene: Scene) -> dict[str, Any]:
    return dict(scene.seen.status["workers"]["autoscale"])


def test_advice_is_written_first_and_then_made_true_with_one_event_that_says_why() -> None:
    scene = advised(autoscaled(), 8, 4)
    first = scene.plan()
    assert sizes(scene) == [] and told(first) == []
    scene = scene.written()
    assert block(scene)["workers"] == 8 and scene.seen.status["workers"]["desired"] == 8
    assert sizes(scene) == [8]
    (event,) = scene.plan().events
    assert (event.reason, event.message) == ("WorkersScaledUp", "Workers: 4 -> 8: 8 are better than 4.")
    (live,) = [a.child.manifest["data"] for a in scene.actions() if isinstance(a, Apply)]
    assert '"replicas":8' in live["live.json"], "shard 0 is told"
    there = scene.with_workers().with_supports()
    assert there.actions() == () and there.plan().events == ()


def test_the_users_spec_is_never_written_to() -> None:
    scene = advised(autoscaled(), 8, 4).written()
    assert scene.spec["workers"]["replicas"] == 4 and scene.observed().start_workers == 4
    assert scene.job.workers.replicas == 8, "but all that is planned goes by the number in force"


def test_an_operator_that_restarts_goes_on_where_it_was() -> None:
    scene = advised(autoscaled(), 8, 4).written().with_workers().with_supports().seeing(report=None)
    for _ in range(2):
        assert sizes(scene) == [] and told(scene.plan()) == []
        scene = scene.after(7).written()
    assert block(scene)["workers"] == 8


def test_fewer_workers_wait_for_the_window_which_the_status_tells_and_a_restart_does_not_begin_anew() -> None:
    scene = advised(autoscaled(), 2, 4).written()
    assert block(scene)["pending"] == {"workers": 2, "since": "2026-11-01T12:00:00Z"}
    assert scene.plan().requeue_after is not None and scene.plan().requeue_after <= 300
    scene = scene.after(299).written()
    assert (sizes(scene), block(scene)["workers"]) == ([], 4)
    scene = scene.after(1).written()
    assert (sizes(scene), block(scene)["workers"]) == ([2], 2) and "pending" not in block(scene)
    assert told(scene.plan()) == ["WorkersScaledDown"]


def test_new_bounds_hold_at_once_and_their_absence_gives_the_number_back_to_the_spec() -> None:
    scene = advised(autoscaled(), 8, 4).written().with_workers().with_supports()
    narrow = scene.having(workers={"autoscale": {"min": 1, "max": 3}}).edited().written()
    assert sizes(narrow) == [3]
    (event,) = narrow.plan().events
    assert event.message == "Workers: 8 -> 3: workers.autoscale.max is 3."
    without = scene.having(workers={"autoscale": None}).edited().written()
    assert sizes(without) == [4] and "autoscale" not in without.seen.status["workers"]
    assert [event.message for event in without.plan().events] == ["Workers: 8 -> 4."]


def test_nothing_is_decided_while_the_job_does_not_train() -> None:
    scene = autoscaled()
    for later in (
        advised(scene.with_servers(ready=0), 8, 4),
        scene.with_report(stop_reason="epochs", advice=Advice(8, "more", 4)),
    ):
        assert block(later.written())["workers"] == 4


def test_a_suspended_job_goes_on_with_its_number_unless_it_was_given_another_to_start_with() -> None:
    scene = advised(autoscaled(), 8, 4).written().suspended().edited().written()
    assert scene.seen.status["workers"]["desired"] == 0 and block(scene)["workers"] == 8
    assert scene.suspended(False).edited().job.workers.replicas == 8
    assert scene.suspended(False).workers(6).edited().job.workers.replicas == 6


def test_the_first_number_is_replicas_brought_within_the_bounds() -> None:
    scene = make_job().having(workers={"autoscale": {"min": 6, "max": 12}}).with_supports().with_servers()
    applied = [action.child for action in scene.actions() if isinstance(action, Apply)]
    (made,) = [child for child in applied if child.stage == "worker"]
    assert made.manifest["spec"]["parallelism"] == made.manifest["spec"]["completions"] == 6


def test_what_is_missing_is_said_of_the_number_in_force() -> None:
    scene = advised(autoscaled(), 8, 4).written().with_workers(ready=5).with_supports()
    found = condition(scene.plan(), Condition.DEGRADED)
    assert (found["reason"], found["message"]) == (
        "FewerThanDesired", "Fewer workers are ready than workers.autoscale asks for.",
    )  # fmt: skip
    assert block(advised(scene, 10, 5).written())["workers"] == 8, "and no step is made on top of it"
