"""A job has an evaluator only where its spec leaves anything for one to do."""

from __future__ import annotations

from typing import Any

import pytest

from asgd_operator.constants import Condition
from asgd_operator.plan import queueing
from asgd_operator.plan.actions import Apply, Delete
from tests.unit.plan.builders import Scene, condition, make_job, names

LOGGED = [{"tensorboard": {}}]
SPENT = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
RULE = {"metric": {"name": "accuracy", "atLeast": 0.9}}
GONE = Delete("Job", "x-evaluator", "u-eval")


def script(**spec: Any) -> Scene:
    return make_job().having(entrypoint="train.py", **spec)


def evaluators(scene: Scene) -> list[str]:
    """Of those that this pass makes."""
    return [
        item.child.name
        for item in scene.actions()
        if isinstance(item, Apply) and item.child.stage == "evaluator"
    ]


@pytest.mark.parametrize(
    ("spec", "made"),
    [
        ({"entrypoint": "train:task"}, ["x-evaluator"]),
        ({"entrypoint": "train.py:task"}, ["x-evaluator"]),
        ({"entrypoint": "train.py"}, []),
        ({"entrypoint": "train.py", "stopAfter": RULE}, []),
        ({"entrypoint": "train.py", "evaluation": {"devices": {"count": 1}}}, []),
        ({"entrypoint": "train.py", "logging": LOGGED}, ["x-evaluator"]),
    ],
    ids=["module", "file", "script", "script-with-a-metric", "script-with-devices", "script-with-loggers"],
)
def test_a_script_has_an_evaluator_only_for_its_loggers(spec: dict[str, Any], made: list[str]) -> None:
    starting = make_job().having(**spec).with_supports().with_servers()
    assert evaluators(starting) == made
    assert names(starting.actions()) == ["Apply Job"] * (1 + len(made))


def test_a_script_trains_without_an_evaluator_and_needs_no_write() -> None:
    running = script().running()
    assert running.seen.evaluator is None
    assert running.actions() == () and running.plan().status == running.seen.status
    heard = running.with_report(updates=9).written()
    assert heard.seen.status["phase"] == "Running"
    assert condition(heard.plan(), Condition.DEGRADED)["status"] == "False"


def test_a_script_completes_without_an_evaluator() -> None:
    reached = script().running().with_report(stop_reason="epochs", updates=40).written()
    assert reached.seen.status["phase"] == "Completing"
    ended = reached.with_workers(ready=0, complete=True, succeeded=4)
    assert condition(ended.plan(), Condition.COMPLETE)["reason"] == "TargetReached"
    cleaned = ended.written()
    assert names(cleaned.actions()) == ["Delete StatefulSet"]


def test_a_script_that_only_a_metric_ends_is_not_failed_for_want_of_an_evaluator() -> None:
    running = script(stopAfter=RULE).running().with_report(updates=9).written()
    assert condition(running.plan(), Condition.FAILED)["status"] == "False"
    reached = running.with_report(stop_reason="metric", updates=40).with_workers(ready=0, complete=True)
    assert condition(reached.plan(), Condition.COMPLETE)["status"] == "True"


def test_a_script_in_a_queue_waits_for_its_workers_alone() -> None:
    queued = script(scheduling={"queueName": "gpu"}).running().with_report(updates=9).written()
    assert queued.actions() == () and queueing.puzzling(queued.observed()) == []
    back = queued.with_workers(ready=0, suspended=True).written()
    assert back.seen.status["phase"] == "Queued" and back.actions() == ()


@pytest.mark.parametrize(
    "ended", [{"active": 1}, {"complete": True}, {"failure": SPENT}], ids=["runs", "done", "failed"]
)
def test_one_that_is_no_longer_wanted_is_removed(ended: dict[str, Any]) -> None:
    """As after a new version of the operator, which knows that there is nothing for it."""
    scene = make_job().having(entrypoint="train.py", logging=LOGGED).running().with_evaluator(**ended)
    assert scene.written().actions() == ()
    assert scene.having(logging=[]).with_servers().with_workers().with_supports().actions() == (GONE,)


def test_loggers_that_come_while_a_script_is_suspended_bring_an_evaluator_and_take_it_along_again() -> None:
    logged = script().stopped().having(logging=LOGGED).edited()
    assert evaluators(logged) == []
    resumed = (
        logged.suspended(False).edited().with_supports().with_servers().with_workers(ready=0, suspended=True)
    )
    assert evaluators(resumed) == ["x-evaluator"]
    running = resumed.running()
    suspended = running.suspended().having(logging=[]).edited()
    assert GONE in suspended.actions()
    again = suspended.seeing(evaluator=None).stopped().suspended(False).with_servers().with_workers()
    assert evaluators(again) == []


@pytest.mark.parametrize("ended", [{"complete": True}, {"failure": SPENT}], ids=["done", "failed"])
def test_one_that_had_ended_keeps_its_log_until_the_job_is_resumed_and_another_comes(
    ended: dict[str, Any],
) -> None:
    stopped = make_job().stopped().with_evaluator(**ended).written()
    assert stopped.actions() == ()
    resumed = stopped.suspended(False).edited()
    assert GONE in resumed.actions()
    ready = resumed.seeing(evaluator=None).with_servers()
    assert evaluators(ready) == ["x-evaluator"]


def test_the_evaluator_of_before_a_suspension_fails_no_job_that_is_resumed() -> None:
    """Such as one whose entrypoint has become a script that tells its accuracy itself."""
    former = make_job().stopped().with_evaluator(failure=SPENT).written()
    resumed = former.having(entrypoint="train.py", stopAfter=RULE).suspended(False).edited()
    assert condition(resumed.plan(), Condition.FAILED)["status"] == "False"
