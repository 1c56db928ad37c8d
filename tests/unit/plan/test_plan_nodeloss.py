"""Node loss: force only what cannot end by itself, and only when its time is over."""

from datetime import timedelta

import pytest

from asgd_operator.plan.actions import DeletePod
from tests.unit.plan.builders import START, Scene, make_job, told


def terminating(name: str = "x-server-1") -> Scene:
    return make_job().running().changing_pod(name, deletion=START + timedelta(seconds=30))


@pytest.mark.parametrize(
    ("name", "event"), [("x-server-1", "ServerForceReplaced"), ("x-worker-2", "WorkerForceReplaced")]
)
def test_a_pod_on_a_dead_node_is_removed_by_force(name: str, event: str) -> None:
    scene = terminating(name).with_node("node-1", ready=False, seconds_ago=60)
    assert scene.actions() == (DeletePod(name, f"u-{name}", force=True),)
    assert event in told(scene.plan())


def test_the_clock_starts_when_the_node_turns_not_ready() -> None:
    scene = terminating().with_node("node-1", ready=False, seconds_ago=40)
    assert scene.actions() == ()
    assert scene.seeing(report=None).plan().requeue_after == 10
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
