"""Why a pod does not run stands on the job, in the words of who knows it: scheduler, kubelet, the container itself."""

from __future__ import annotations

from typing import Any

import pytest

from asgd_operator.constants import REASONS, Condition, EventReason, Role
from asgd_operator.plan.actions import DeleteSelf
from asgd_operator.plan.coming import JOIN_SECONDS, SLOW_SECONDS
from asgd_operator.plan.model import Init
from asgd_operator.plan.trouble import ASK_SECONDS, puzzling, short
from tests.unit.plan.builders import condition, make_job, pod, told

CAUSES: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "a claim that is not there",
        {"unschedulable": True, "unscheduled": 'persistentvolumeclaim "data" not found.'},
        "Unschedulable",
        'No node takes x-worker-0: persistentvolumeclaim "data" not found.',
    ),
    (
        "an image that nobody has",
        {"waiting": "ErrImagePull", "waits_for": 'failed to pull image "hub/x:1": not found'},
        "ImagePullError",
        'The image of x-worker-0 cannot be pulled: failed to pull image "hub/x:1": not found.',
    ),
    (
        "a secret that is not there",
        {"waiting": "CreateContainerConfigError", "waits_for": 'secret "hub" not found'},
        "ContainerError",
        'The container of x-worker-0 cannot be started: secret "hub" not found.',
    ),
    (
        "a container that ends again and again",
        {
            "waiting": "CrashLoopBackOff",
            "waits_for": "back-off 20s restarting failed container",
            "exit_code": 2,
            "ended": "Error",
            "last_words": "asgd: spec.entrypoint: no module named train.",
        },
        "CrashLoop",
        "x-worker-0 ends with exit code 2 again and again: asgd: spec.entrypoint: no module named train.",
    ),
    (
        "a container that needs more memory than it may have",
        {"waiting": "CrashLoopBackOff", "exit_code": 137, "ended": "OOMKilled"},
        "CrashLoop",
        "x-worker-0 was killed again and again for it used more memory than its limit (OOMKilled); raise"
        " workers.resources.limits.memory.",
    ),
    (
        "an init container that fails",
        {"init": Init("fetch", waiting="CrashLoopBackOff", exit_code=42, last_words="no such bucket")},
        "InitContainerFailed",
        "Init container fetch of x-worker-0 ended with exit code 42: no such bucket.",
    ),
    (
        "an init container without an image",
        {"init": Init("fetch", waiting="ImagePullBackOff", waits_for="not found")},
        "ImagePullError",
        "The image of init container fetch of x-worker-0 cannot be pulled: not found.",
    ),
    (
        "an init container that cannot be made",
        {"init": Init("fetch", waiting="CreateContainerConfigError", waits_for='configmap "c" not found')},
        "ContainerError",
        'Init container fetch of x-worker-0 cannot be started: configmap "c" not found.',
    ),
]


@pytest.mark.parametrize(
    ("pod_of", "reason", "sentence"), [each[1:] for each in CAUSES], ids=[c[0] for c in CAUSES]
)
def test_the_job_says_why_its_worker_does_not_start(
    pod_of: dict[str, Any], reason: str, sentence: str
) -> None:
    scene = make_job().running().with_workers(ready=0, active=1).seeing(pods=())
    found = condition(
        scene.with_pods(pod(Role.WORKER, 0, phase="Pending", **pod_of)).plan(), Condition.WORKERS_READY
    )
    assert (found["status"], found["reason"]) == ("False", reason)
    assert found["message"].endswith(sentence)
    assert reason in REASONS[Condition.SERVERS_READY], "the same is told of servers"


def test_a_worker_that_was_killed_for_its_memory_says_so_when_it_is_replaced() -> None:
    before = make_job().running().written()
    died = before.with_workers(ready=3, active=4, failed=1).with_pods(
        pod(Role.WORKER, 9, phase="Failed", exit_code=137, ended="OOMKilled")
    )
    events = [event.message for event in died.plan().events]
    assert any("used more memory than its limit (OOMKilled)" in message for message in events)


def test_the_startup_deadline_repeats_the_cause() -> None:
    scene = make_job().with_supports().with_servers(ready=0).written()
    stuck = scene.with_pods(
        pod(Role.SERVER, 0, phase="Pending", waiting="ErrImagePull", waits_for="not found")
    )
    late = stuck.written().after(10_000)
    failed = condition(late.plan(), Condition.FAILED)
    assert failed["reason"] == "StartupDeadlineExceeded"
    assert "The image of x-server-0 cannot be pulled: not found" in failed["message"]


def test_trouble_stands_in_the_columns_of_kubectl_get_and_is_told_as_an_event_once() -> None:
    scene = make_job().with_supports().with_servers(ready=0).seeing(pods=()).written()
    stuck = scene.with_pods(
        pod(Role.SERVER, 0, phase="Pending", waiting="ErrImagePull", waits_for="not found")
    )
    plan = stuck.plan()
    assert plan.status is not None
    said = "0 of 2 parameter servers are ready. The image of x-server-0 cannot be pulled: not found."
    assert (plan.status["phase"], plan.status["reason"]) == ("Starting", "ImagePullError")
    assert plan.status["message"] == said
    assert [event.message for event in plan.events if event.reason == EventReason.SERVERS_HINDERED] == [said]
    assert EventReason.SERVERS_HINDERED not in told(stuck.written().after(60).plan())


def test_the_columns_of_a_job_say_why_it_is_in_its_phase() -> None:
    running = make_job().running().with_report(updates=10).written()
    assert (running.seen.status["phase"], running.seen.status["reason"]) == ("Running", "TrainingProgressing")
    fewer = running.with_workers(ready=2, active=4).written().seen.status
    assert (fewer["phase"], fewer["reason"]) == ("Running", "FewerThanDesired")
    starting = make_job().with_supports().with_servers().written().seeing(workers=None).plan().status
    assert starting is not None
    assert (starting["phase"], starting["message"]) == ("Starting", "Workers are being started.")
    none = running.with_workers(ready=0, active=4).written().seen.status
    assert (none["phase"], none["reason"]) == ("WaitingForWorkers", "BelowMinimum")
    assert none["message"].startswith("0 workers are ready")


def test_a_worker_that_runs_and_never_joins_is_named_after_a_minute() -> None:
    scene = make_job().workers(1).running().with_workers(ready=0, active=1).seeing(pods=())
    servers = (pod(Role.SERVER, index, ready=True) for index in range(2))
    scene = scene.with_pods(*servers, pod(Role.WORKER, 0, ready=False))
    assert condition(scene.plan(), Condition.WORKERS_READY)["reason"] == "BelowMinimum"
    later = scene.after(SLOW_SECONDS).written().plan()
    assert later.requeue_after == JOIN_SECONDS - SLOW_SECONDS, "nothing else tells when a minute is over"
    late = scene.after(JOIN_SECONDS).plan()
    assert EventReason.WORKERS_HINDERED in told(late)
    found = condition(late, Condition.WORKERS_READY)
    assert found["reason"] == "NotJoined"
    assert found["message"].endswith(
        "x-worker-0 runs and is not ready: its entrypoint may not have returned; see `kubectl logs x-worker-0`."
    )


QUOTA = "exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0"


def test_pods_that_the_api_server_refuses_to_make_are_explained_by_who_was_refused() -> None:
    scene = make_job().with_supports().with_servers(ready=0).seeing(pods=()).written()
    servers = scene.seen.servers
    assert servers is not None
    assert puzzling(scene.observed()) == [], "every job is short of pods in its first seconds"
    assert scene.plan().requeue_after == ASK_SECONDS
    scene = scene.after(ASK_SECONDS)
    assert puzzling(scene.observed()) == [(servers.uid, "x-server")], "its events are asked for"
    asked = scene.seeing(complaints={servers.uid: QUOTA})
    found = condition(asked.plan(), Condition.SERVERS_READY)
    assert found["reason"] == "PodsRefused"
    assert (
        found["message"] == f"0 of 2 parameter servers are ready. Pods of x-server cannot be made: {QUOTA}."
    )
    assert asked.plan().requeue_after == ASK_SECONDS, "and again: nothing else tells when it is over"


def test_workers_that_may_not_be_made_are_explained_too() -> None:
    scene = make_job().running().with_workers(ready=0, active=0).written().after(ASK_SECONDS)
    workers = scene.seen.workers
    assert workers is not None and (workers.uid, "x-worker") in puzzling(scene.observed())
    found = condition(scene.seeing(complaints={workers.uid: QUOTA}).plan(), Condition.WORKERS_READY)
    assert (found["reason"], QUOTA in found["message"]) == ("PodsRefused", True)


def test_a_pod_that_waits_for_a_volume_says_which() -> None:
    creating = pod(Role.WORKER, 0, phase="Pending", waiting="ContainerCreating")
    scene = make_job().running().with_workers(ready=0, active=1).seeing(pods=()).with_pods(creating)
    assert (creating.uid, creating.name) not in puzzling(scene.observed()), (
        "a container may take some seconds"
    )
    late = scene.after(ASK_SECONDS)
    assert (creating.uid, creating.name) in puzzling(late.observed())
    told = late.seeing(complaints={creating.uid: 'configmap "data" not found'})
    found = condition(told.plan(), Condition.WORKERS_READY)
    assert found["message"].endswith('x-worker-0 cannot be started: configmap "data" not found.')


def test_nobody_is_asked_about_a_job_that_runs_is_suspended_or_over() -> None:
    running = make_job().running().with_report(updates=10).written()
    assert puzzling(running.observed()) == []
    assert puzzling(running.seeing(pods=()).suspended().observed()) == []


def test_a_job_whose_namespace_is_deleted_goes_by_itself_for_its_pods_could_never_go() -> None:
    scene = make_job().running().seeing(pods=(), namespace_ends=True)
    plan = scene.plan()
    assert plan.actions == (DeleteSelf(),)
    assert not plan.events, "nothing can be made there any more"


def test_it_is_asked_whether_the_namespace_ends_only_where_pods_are_long_missing() -> None:
    scene = make_job().with_supports().with_servers(ready=0).seeing(pods=()).written()
    assert not short(scene.observed())
    assert short(scene.after(ASK_SECONDS).observed())
