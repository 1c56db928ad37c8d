"""Node loss: force only what cannot end by itself, and only when its time is over."""

from datetime import timedelta

from asgd_operator.plan.actions import DeletePod, FailPod
from tests.unit.plan.builders import START, Scene, make_job, told


def terminating(name: str = "x-server-1") -> Scene:
    return make_job().running().changing_pod(name, deletion=START + timedelta(seconds=30))


def test_a_server_on_a_dead_node_is_removed_by_force() -> None:
    scene = terminating().with_node("node-1", ready=False, seconds_ago=60)
    assert scene.actions() == (DeletePod("x-server-1", "u-x-server-1", force=True),)
    assert "ServerForceReplaced" in told(scene.plan())


def test_a_worker_on_a_dead_node_is_first_said_to_have_failed_or_its_job_would_wait_for_ever() -> None:
    scene = terminating("x-worker-2").with_node("node-1", ready=False, seconds_ago=60)
    failed = FailPod("x-worker-2", "u-x-worker-2", "node node-1 does not answer")
    assert scene.actions() == (failed, DeletePod("x-worker-2", "u-x-worker-2", force=True))
    assert "WorkerForceReplaced" in told(scene.plan())


def test_the_clock_starts_when_the_node_turns_not_ready() -> None:
    scene = terminating().with_node("node-1", ready=False, seconds_ago=40)
    assert scene.actions() == ()
    assert scene.seeing(report=None).plan().requeue_after == 20
    assert scene.after(20).actions() != ()


def test_a_pod_that_drains_on_a_healthy_node_is_left_alone() -> None:
    assert terminating().with_node("node-1", ready=True, seconds_ago=5).after(3600).actions() == ()


def test_a_pod_that_nobody_deletes_is_left_alone() -> None:
    assert make_job().running().with_node("node-1", ready=False, seconds_ago=3600).actions() == ()


def test_without_leave_to_watch_nodes_only_the_pods_own_time_counts() -> None:
    assert terminating().seeing(nodes=None).after(89).actions() == ()
    assert len(terminating().seeing(nodes=None).after(90).actions()) == 1


def test_the_wait_is_the_roles_own() -> None:
    scene = make_job().having(parameterServer={"nodeLossTimeoutSeconds": 5}).running()
    scene = scene.changing_pod("x-server-1", deletion=START + timedelta(seconds=30))
    assert len(scene.with_node("node-1", ready=False, seconds_ago=6).actions()) == 1
