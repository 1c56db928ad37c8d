"""The Secret with the keys: new ones are made only where nobody holds the former ones."""

from __future__ import annotations

from asgd_operator.constants import Condition, Role
from asgd_operator.plan.actions import CreateOnce
from asgd_operator.render import Owner
from asgd_operator.render.names import keys
from tests.unit.plan.builders import Scene, condition, make_job, names, pod, told


def missing(scene: Scene, uid: str) -> Scene:
    secret = next(mine.name for mine in scene.wanted() if mine.kind == "Secret")
    said = f'MountVolume.SetUp failed for volume "config" : secret "{secret}" not found'
    return scene.seeing(complaints={uid: said})


def test_keys_that_nobody_has_read_are_made_anew() -> None:
    waiting = make_job().with_supports().with_servers(ready=0)
    pods = tuple(pod(Role.SERVER, i, phase="Pending", waiting="ContainerCreating") for i in range(2))
    found = missing(waiting.seeing(pods=pods), "u-x-server-0").plan()
    assert names(found.actions) == ["CreateOnce Secret"]
    assert "DriftHealed" in told(found)


def test_keys_that_running_pods_hold_are_not_replaced_and_the_job_says_what_to_do() -> None:
    running = make_job().running()
    lost = missing(
        running.changing_pod("x-worker-3", phase="Pending", waiting="ContainerCreating"), "u-x-worker-3"
    )
    found = lost.plan()
    assert found.actions == ()
    degraded = condition(found, Condition.DEGRADED)
    assert degraded["reason"] == "KeysLost"
    assert "was deleted: running pods go on" in degraded["message"]
    assert "Suspend the job and resume it" in degraded["message"]
    assert "KeysLost" in told(found)


def test_a_resumed_job_gets_its_keys_before_its_servers() -> None:
    resumed = make_job().stopped().suspended(False)
    assert names(resumed.actions())[-2:] == ["CreateOnce Secret", "ApplyLive StatefulSet"]


def test_keys_of_a_running_job_are_never_made_again() -> None:
    assert not any(isinstance(action, CreateOnce) for action in make_job().running().actions())


def test_the_name_of_the_keys_is_of_this_very_job() -> None:
    first, again = Owner("u-1", "x", "n"), Owner("u-2", "x", "n")
    assert keys(first).startswith("x-keys-")
    assert keys(first) != keys(again), (
        "a job that is made again has other keys than the former one of its name"
    )
