"""Failure: what ends a job for good, and what does not."""

import pytest

from asgd_operator.constants import Condition, Role
from tests.unit.plan.builders import START, Scene, condition, make_job, pod, told


def failed(scene: Scene) -> str:
    found = condition(scene.plan(), Condition.FAILED)
    return found["reason"] if found["status"] == "True" else ""


def test_one_lost_worker_or_server_fails_nothing() -> None:
    assert failed(make_job().running().with_workers(ready=3, failed=1)) == ""
    assert failed(make_job().running().with_servers(ready=1)) == ""


def test_divergence_fails_the_job_by_report_or_by_exit_code() -> None:
    running = make_job().running()
    assert failed(running.with_report(stop_reason="diverged")) == "Diverged"
    assert failed(running.with_pods(pod(Role.WORKER, 7, phase="Failed", exit_code=78))) == "Diverged"
    policy = (
        "PodFailurePolicy",
        "Container asgd for pod default/x-worker-0 failed with exit code 78 matching FailJob",
    )
    assert failed(running.with_workers(ready=0, failure=policy)) == "Diverged"


def test_a_fatal_exit_code_fails_the_job_and_names_the_pod() -> None:
    scene = make_job().running().changing_pod("x-worker-1", phase="Failed", exit_code=2)
    assert failed(scene) == "FatalExitCode"
    assert "x-worker-1 exited with 2" in condition(scene.plan(), Condition.FAILED)["message"]


@pytest.mark.parametrize("code", [0, 1, 75, 130, 137, 143])
def test_other_exit_codes_are_left_to_the_budget(code: int) -> None:
    assert failed(make_job().running().changing_pod("x-worker-1", phase="Failed", exit_code=code)) == ""


def test_servers_fail_the_job_when_their_budget_is_spent() -> None:
    scene = make_job().having(parameterServer={"backoffLimit": 2}).running()
    crashed = scene.changing_pod("x-server-0", restarts=2)
    assert failed(crashed) == ""
    assert (
        failed(crashed.written().changing_pod("x-server-1", restarts=1)) == "ParameterServerBackoffExceeded"
    )


def test_restarts_are_counted_over_replaced_pods() -> None:
    scene = make_job().running().changing_pod("x-server-0", restarts=2).written()
    scene = scene.changing_pod("x-server-0", uid="second", restarts=0).written()
    assert scene.seen.status["parameterServer"]["restarts"] == 3
    assert scene.seen.status["parameterServer"]["failures"] == 3
    assert scene.plan().status == scene.seen.status


def test_an_evicted_server_costs_no_budget() -> None:
    scene = make_job().running().changing_pod("x-server-0", disrupted=True).written()
    replaced = scene.changing_pod("x-server-0", uid="second", disrupted=False)
    assert told(replaced.plan()) == ["ServerRestarted"]
    counts = replaced.written().seen.status["parameterServer"]
    assert (counts["restarts"], counts["failures"]) == (1, 0)


def test_a_server_that_somebody_deletes_costs_no_budget() -> None:
    scene = make_job().running().changing_pod("x-server-0", deletion=START).written()
    replaced = scene.changing_pod("x-server-0", uid="second", deletion=None)
    servers = (replaced.plan().status or {})["parameterServer"]
    assert (servers["restarts"], servers["failures"]) == (1, 0)


def test_the_servers_budget_is_whole_again_after_ten_minutes_without_a_failure() -> None:
    crashed = make_job().having(parameterServer={"backoffLimit": 2}).running()
    crashed = crashed.changing_pod("x-server-0", restarts=2).written()
    soon = crashed.after(599).changing_pod("x-server-1", restarts=1)
    assert failed(soon) == "ParameterServerBackoffExceeded"
    later = crashed.after(601).changing_pod("x-server-1", restarts=1)
    servers = (later.plan().status or {})["parameterServer"]
    assert (failed(later), servers["restarts"], servers["failures"]) == ("", 3, 1)
    assert later.written().plan().status == later.written().seen.status, "the same pass again counts the same"


def test_too_many_workers_given_up_fail_the_job() -> None:
    scene = make_job().workers(4, minimum=3).running()
    assert failed(scene.with_workers(ready=3, failed_indexes=1)) == ""
    assert failed(scene.with_workers(ready=2, failed_indexes=2)) == "WorkerBackoffExceeded"
    assert failed(scene.with_workers(ready=0, failure=("FailedIndexes", "all"))) == "WorkerBackoffExceeded"


def test_a_reached_target_wins_over_workers_that_end_badly_after_it() -> None:
    scene = make_job().running().with_report(stop_reason="epochs")
    scene = scene.with_workers(ready=0, failure=("FailedIndexes", "all")).with_evaluator(complete=True)
    assert failed(scene) == ""
    assert condition(scene.plan(), Condition.COMPLETE)["status"] == "True"


def test_a_crashing_server_is_named_with_its_exit_code() -> None:
    scene = make_job().with_supports().with_servers(ready=1)
    scene = scene.changing_pod("x-server-1", waiting="CrashLoopBackOff", exit_code=1)
    found = condition(scene.plan(), Condition.SERVERS_READY)
    assert found["reason"] == "CrashLoop"
    assert "x-server-1 ends with exit code 1 again and again" in found["message"]


def test_pods_that_nobody_can_place_are_said_to_be() -> None:
    scene = (
        make_job()
        .running()
        .with_workers(ready=0)
        .with_pods(
            pod(
                Role.WORKER,
                0,
                phase="Pending",
                unschedulable=True,
                unscheduled="0/2 nodes are available: 2 Insufficient cpu.",
            )
        )
    )
    found = condition(scene.plan(), Condition.WORKERS_READY)
    assert (
        found["reason"],
        "No node takes x-worker-0: 0/2 nodes are available: 2 Insufficient cpu." in found["message"],
    ) == (
        "Unschedulable",
        True,
    )
