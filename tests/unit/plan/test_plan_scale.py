"""Scaling a running job: one write, of two numbers."""

from asgd_operator.constants import Condition
from asgd_operator.plan.actions import Annotate, Apply, ApplyLive
from tests.unit.plan.builders import condition, make_job, told


def test_an_edit_of_replicas_changes_only_the_size_of_the_job() -> None:
    for size, event in ((9, "WorkersScaledUp"), (2, "WorkersScaledDown")):
        scene = make_job().running().workers(size).edited()
        workloads = [action for action in scene.actions() if not isinstance(action, Apply | Annotate)]
        assert workloads == [
            ApplyLive(
                "Job", "x-worker", "u-workers", {"parallelism": size, "completions": size, "suspend": False}
            )
        ]
        assert all(a.child.name == "x-live" for a in scene.actions() if isinstance(a, Apply))
        assert event in told(scene.plan())


def test_nothing_is_scaled_once_the_target_is_reached() -> None:
    scene = make_job().running().with_report(stop_reason="epochs", phase="finished").workers(9)
    assert not any(isinstance(action, ApplyLive) for action in scene.actions())


def test_scaling_a_queued_job_leaves_its_suspension_to_kueue() -> None:
    queued = make_job().having(scheduling={"queueName": "gpu"}).with_supports().with_servers().with_workers()
    (action,) = [a for a in queued.workers(6).actions() if isinstance(a, ApplyLive)]
    assert dict(action.spec) == {"parallelism": 6, "completions": 6}


def test_a_missing_worker_degrades_but_does_not_stop_the_job() -> None:
    found = make_job().workers(4, minimum=2).running().with_workers(ready=2).with_report(updates=5).plan()
    assert condition(found, Condition.RUNNING)["status"] == "True"
    assert condition(found, Condition.DEGRADED)["reason"] == "FewerThanDesired"


def test_fewer_workers_than_the_minimum_is_waiting_not_failure() -> None:
    found = make_job().workers(4, minimum=3).running().with_workers(ready=2).with_report(updates=5).plan()
    assert found.status is not None and found.status["phase"] == "WaitingForWorkers"
    assert condition(found, Condition.WORKERS_READY)["reason"] == "BelowMinimum"
    assert "WorkersBelowMinimum" in told(found)
