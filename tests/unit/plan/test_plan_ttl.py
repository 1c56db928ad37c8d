"""After the end: what is removed, what stays, and when the job itself goes."""

import pytest

from asgd_operator.plan.actions import DeleteSelf
from tests.unit.plan.builders import Scene, make_job, names, told


def finished(**policy: object) -> Scene:
    scene = make_job().having(runPolicy=policy).running().with_report(stop_reason="epochs")
    return scene.with_workers(ready=0, complete=True).with_evaluator(complete=True).written()


@pytest.mark.parametrize(
    ("policy", "removed"),
    [
        ("Running", ["Delete StatefulSet"]),
        ("All", ["Delete StatefulSet", "Delete Job", "Delete Job"]),
        ("None", []),
    ],
)
def test_clean_pod_policy_decides_what_goes(policy: str, removed: list[str]) -> None:
    assert names(finished(cleanPodPolicy=policy).actions()) == removed


def test_a_failed_job_ends_its_workers_and_keeps_their_logs() -> None:
    failing = make_job().having(runPolicy={"activeDeadlineSeconds": 1}).running().after(2).written()
    assert sorted(names(failing.actions())) == ["ApplyLive Job", "Delete Job", "Delete StatefulSet"]


def test_the_job_goes_when_its_time_to_live_is_over() -> None:
    scene = finished(ttlSecondsAfterFinished=60)
    assert scene.plan().requeue_after == 60
    assert scene.after(59).plan().requeue_after == 1
    gone = scene.after(60).plan()
    assert gone.actions == (DeleteSelf(),)
    assert told(gone) == ["TTLExpired"]


def test_a_cleaned_job_needs_no_write_and_no_look() -> None:
    scene = finished().seeing(servers=None, pods=(), report=None).written()
    found = scene.after(100_000).plan()
    assert (found.actions, found.events, found.requeue_after) == ((), (), None)
    assert found.status == scene.seen.status
