"""`runPolicy.activeDeadlineSeconds` in every phase, found by no other looks than those that the plan asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from asgd_operator.constants import Condition, Role
from tests.unit.plan.builders import START, Scene, condition, make_job, pod

DEADLINE = 5000
"""Longer than any other wait that would end the job, but for the progress deadline, which ends none."""


def limited(**spec: object) -> Scene:
    policy = {"activeDeadlineSeconds": DEADLINE, "startupDeadlineSeconds": 10 * DEADLINE}
    return make_job().having(runPolicy=policy, **spec)


def unschedulable(scene: Scene) -> Scene:
    waiting = pod(Role.SERVER, 0, phase="Pending", unschedulable=True, unscheduled="0/3 nodes are available")
    return scene.seeing(pods=(waiting,))


PHASES: dict[str, tuple[str, Callable[[], Scene]]] = {
    "nothing made yet": ("Starting", limited),
    "servers starting": ("Starting", lambda: limited().with_supports().with_servers(ready=0)),
    "no node for the servers": (
        "Starting",
        lambda: unschedulable(limited().with_supports().with_servers(ready=0)),
    ),
    "let go by a queue": (
        "Starting",
        lambda: limited(scheduling={"queueName": "gpu"}).with_supports().with_workers(ready=0),
    ),
    "workers starting": (
        "WaitingForWorkers",
        lambda: limited().with_supports().with_servers().with_workers(ready=0),
    ),
    "running": ("Running", lambda: limited().running()),
    "running and answering": ("Stalled", lambda: limited().running().with_report(updates=7)),
    "servers lost": ("Recovering", lambda: limited().running().with_servers(ready=1)),
    "workers lost": ("WaitingForWorkers", lambda: limited().running().with_workers(ready=0)),
}


def to_the_end(scene: Scene) -> Scene:
    """Looks again and again, when the plan asks for it, until there is a verdict; or until nothing is asked for."""
    for _ in range(10_000):
        found = scene.plan()
        if found.status is not None and found.status != scene.seen.status:
            # NB: our own write is news, and looked at again at once.
            scene = scene.written()
            continue
        if scene.seen.status["phase"] in ("Failed", "Succeeded") or found.requeue_after is None:
            return scene
        scene = scene.after(found.requeue_after)
    raise AssertionError("there is no end")


def seconds(scene: Scene) -> float:
    return (scene.seen.now - START).total_seconds()


@pytest.mark.parametrize("name", PHASES)
def test_the_deadline_ends_a_job_in_each_phase_at_its_second(name: str) -> None:
    phase, made = PHASES[name]
    scene = to_the_end(made())
    assert seconds(scene) == DEADLINE
    failed = condition(scene.plan(), Condition.FAILED)
    assert (failed["status"], failed["reason"]) == ("True", "DeadlineExceeded")
    assert failed["message"] == f"Ran longer than runPolicy.activeDeadlineSeconds, {DEADLINE} s."
    assert made().written().after(DEADLINE - 1).written().seen.status["phase"] == phase, "until then"


def test_a_job_whose_children_are_refused_on_its_way_up_is_ended_too() -> None:
    scene = (
        limited().with_supports().with_servers(ready=0).written().with_problem("QuotaExceeded", "Too much.")
    )
    assert seconds(to_the_end(scene)) == DEADLINE


def test_time_suspended_does_not_count_and_the_clock_begins_anew_with_a_resume() -> None:
    """As that of a Job of batch/v1 does."""
    stopped = limited().running().after(DEADLINE - 10).stopped()
    long_after = stopped.after(10 * DEADLINE).written()
    assert long_after.seen.status["phase"] == "Suspended"
    assert "startTime" not in long_after.seen.status
    resumed = replace(long_after.suspended(False).with_servers(ready=0), shown={})
    begun = seconds(resumed)
    assert seconds(to_the_end(resumed)) == begun + DEADLINE


def test_a_job_that_is_being_suspended_is_not_ended() -> None:
    scene = limited().running().suspended().after(DEADLINE + 1).written()
    assert scene.seen.status["phase"] == "Suspending"


def test_a_job_that_is_completing_is_complete_at_the_deadline_for_its_stop_rule_is_met() -> None:
    """The wait for its end would go on for 90 s; the deadline cuts it, and what was reached stands."""
    met = limited().running().with_report(updates=7, stop_reason="epochs", phase="saving")
    scene = to_the_end(met.after(DEADLINE - 20).written())
    assert seconds(scene) == DEADLINE
    found = condition(scene.plan(), Condition.COMPLETE)
    assert (found["status"], found["reason"]) == ("True", "TargetReached")
    assert f"runPolicy.activeDeadlineSeconds, {DEADLINE} s, passed before" in found["message"]


def test_a_job_whose_shard_0_does_not_say_that_it_is_over_is_complete_at_the_deadline() -> None:
    ended = limited().running().after(DEADLINE - 20).with_workers(ready=0, complete=True, succeeded=4)
    scene = to_the_end(ended.with_evaluator(complete=True))
    assert seconds(scene) == DEADLINE
    assert condition(scene.plan(), Condition.COMPLETE)["status"] == "True"
