"""A job that waits for pods on their way says for what, without a write for each step of a start that goes well."""

from __future__ import annotations

from typing import Any

import pytest

from asgd_operator.constants import Condition, Role
from asgd_operator.plan.coming import SLOW_SECONDS, STARTING
from tests.unit.plan.builders import Scene, condition, make_job, pod

STEPS: list[tuple[dict[str, Any], str]] = [
    ({"phase": "Pending", "node": ""}, "waits for the scheduler."),
    ({"phase": "Pending"}, "The containers of POD are being created on node-1."),
    (
        {"phase": "Pending", "waiting": "PodInitializing"},
        "The containers of POD are being created on node-1.",
    ),
    ({"phase": "Running"}, "POD runs and is not ready yet."),
    (
        {"phase": "Running", "deletion": make_job().seen.now},
        "POD is ending; another one takes its place then.",
    ),
]


def waiting(role: Role, **fields: Any) -> Scene:
    """A job of which one pod of this role is there, and not ready."""
    scene = make_job().workers(1).shards(1).with_supports()
    if role is Role.SERVER:
        return scene.with_servers(ready=0).seeing(pods=(pod(role, 0, **fields),))
    scene = scene.with_servers().with_workers(ready=0, active=1)
    return scene.with_pods(pod(role, 0, **fields))


def message(scene: Scene, role: Role) -> str:
    kind = Condition.SERVERS_READY if role is Role.SERVER else Condition.WORKERS_READY
    return str(condition(scene.plan(), kind)["message"])


@pytest.mark.parametrize("role", [Role.SERVER, Role.WORKER])
@pytest.mark.parametrize(("fields", "says"), STEPS)
def test_a_pod_that_is_slow_is_named_with_what_it_waits_for(
    role: Role, fields: dict[str, Any], says: str
) -> None:
    scene = waiting(role, **fields).written()
    assert message(scene, role).endswith(STARTING), "at first the same for each step"
    wait = scene.plan().requeue_after
    assert wait is not None and wait <= SLOW_SECONDS
    assert message(scene.after(SLOW_SECONDS), role).endswith(says.replace("POD", f"x-{role.value}-0"))


@pytest.mark.parametrize("role", [Role.SERVER, Role.WORKER])
def test_pods_that_a_controller_has_not_made_are_told_of(role: Role) -> None:
    scene = waiting(role)
    scene = scene.seeing(pods=tuple(item for item in scene.seen.pods if item.role != role)).written()
    kind = "StatefulSet" if role is Role.SERVER else "Job"
    assert message(scene, role).endswith(STARTING)
    says = f"The {kind} controller has not made the pods of x-{role.value} yet."
    assert message(scene.after(SLOW_SECONDS), role).endswith(says)


def test_a_worker_that_left_and_is_replaced_after_a_back_off_is_told_of() -> None:
    scene = waiting(Role.WORKER, phase="Failed", exit_code=143, disrupted=True)
    says = "x-worker-0 has ended; the Job controller makes another one after a while."
    assert message(scene, Role.WORKER).endswith(says)


def test_what_holds_a_pod_up_goes_before() -> None:
    scene = waiting(Role.WORKER, phase="Pending", node="", unschedulable=True, unscheduled="no GPU").written()
    assert message(scene.after(60), Role.WORKER).endswith("No node takes x-worker-0: no GPU.")


def test_the_steps_of_a_start_that_goes_well_change_no_sentence() -> None:
    said = {message(waiting(Role.WORKER, **fields), Role.WORKER) for fields, _ in STEPS}
    assert len(said) == 1
