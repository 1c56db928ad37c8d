"""Live objects are reduced to what rules read, as the API writes them and as a broken object would have them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from asgd_operator.engine import views
from asgd_operator.engine.observe import Indices, observe

OWNER = {
    "apiVersion": "asgd.dev/v1alpha1",
    "kind": "AsgdJob",
    "name": "x",
    "uid": "u-job",
    "controller": True,
}


def worker_pod(**status: Any) -> dict[str, Any]:
    labels = {
        "asgd.dev/job-name": "x",
        "asgd.dev/role": "worker",
        "batch.kubernetes.io/job-completion-index": "3",
    }
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "x-worker", "uid": "u-w", "controller": True}
    metadata = {
        "name": "x-worker-3-abcde",
        "namespace": "n",
        "uid": "u",
        "labels": labels,
        "ownerReferences": [owner],
    }
    return {"metadata": metadata, "spec": {"nodeName": "node-1"}, "status": status}


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "asgd", "restartCount": 0, "state": {}} | fields


def test_a_pod_is_known_by_the_workload_that_made_it() -> None:
    assert views.workload_of_pod(worker_pod()) == "u-w"


@pytest.mark.parametrize(
    "change", [{"ownerReferences": []}, {"labels": {"asgd.dev/job-name": "y", "asgd.dev/role": "worker"}}]
)
def test_a_pod_that_only_wears_our_labels_is_nobodys(change: dict[str, Any]) -> None:
    body = worker_pod()
    body["metadata"] |= change
    assert views.workload_of_pod(body) == ""


def test_only_the_controller_owns_a_child() -> None:
    assert views.owner_uid({"metadata": {"ownerReferences": [OWNER]}}) == "u-job"
    assert views.owner_uid({"metadata": {"ownerReferences": [OWNER | {"controller": False}]}}) == ""
    assert views.owner_uid({"metadata": {"ownerReferences": [OWNER | {"kind": "TFJob"}]}}) == ""
    assert views.owner_uid({"metadata": {}}) == ""


def test_a_pods_last_exit_counts_though_its_container_runs_again() -> None:
    ended = container(restartCount=2, state={"running": {}}, lastState={"terminated": {"exitCode": 137}})
    pod = views.pod(worker_pod(phase="Running", containerStatuses=[ended]))
    assert (pod.exit_code, pod.restarts, pod.index, pod.node) == (137, 2, 3, "node-1")


def test_a_sidecars_end_is_not_ours() -> None:
    sidecar = container(name="proxy", restartCount=9, state={"terminated": {"exitCode": 2}})
    pod = views.pod(worker_pod(containerStatuses=[sidecar, container()]))
    assert (pod.exit_code, pod.restarts) == (None, 0)


def test_a_server_s_pod_is_judged_without_the_container_of_its_page() -> None:
    def seen(reason: str = "ContainersNotReady", main: bool = True, **page: Any) -> Any:
        condition = {"type": "Ready", "status": "False", "reason": reason}
        states = [container(ready=main), container(name="page", ready=False, **page)]
        return views.pod(worker_pod(conditions=[condition], containerStatuses=states))

    killed = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:00:00Z"}}
    assert seen(lastState=killed, state={"waiting": {"reason": "CrashLoopBackOff"}}).ready
    assert (seen(lastState=killed).end, seen(lastState=killed).restarts) == (None, 0)
    assert seen(state={"waiting": {"reason": "ImagePullBackOff"}}).waiting == ""
    assert not seen(main=False).ready
    assert not seen(reason="NodeNotReady").ready
    only = {"type": "Ready", "status": "False", "reason": "ContainersNotReady"}
    assert not views.pod(worker_pod(conditions=[only], containerStatuses=[container(ready=True)])).ready


def test_why_a_pod_does_not_run_is_seen() -> None:
    waiting = views.pod(
        worker_pod(containerStatuses=[container(state={"waiting": {"reason": "ErrImagePull"}})])
    )
    assert waiting.waiting == "ErrImagePull"
    placed = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    assert views.pod(worker_pod(conditions=[placed])).unschedulable
    assert views.pod(worker_pod(conditions=[{"type": "DisruptionTarget", "status": "True"}])).disrupted


def test_what_kubelet_and_scheduler_say_is_kept_in_one_bounded_line() -> None:
    wait = {"reason": "CreateContainerConfigError", "message": 'secret "hub"\n not found'}
    end = {"exitCode": 137, "reason": "OOMKilled", "message": "a\n" * 500 + "the end"}
    seen = views.pod(
        worker_pod(containerStatuses=[container(state={"waiting": wait}, lastState={"terminated": end})])
    )
    assert (seen.waiting, seen.waits_for) == (wait["reason"], 'secret "hub" not found')
    assert (seen.exit_code, seen.ended) == (137, "OOMKilled")
    assert seen.last_words.endswith("the end") and len(seen.last_words) < views.QUOTED_MOST + 10
    placed = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "m" * 999}
    assert len(views.pod(worker_pod(conditions=[placed])).unscheduled) < views.QUOTED_MOST + 10


@pytest.mark.parametrize(
    ("message", "quoted"),
    [
        ('Error creating: pods "x-worker-0-zz9" is forbidden: exceeded quota: none', "exceeded quota: none"),
        (
            'create Pod x-server-0 in StatefulSet x-server failed error: pods "x-server-0" is forbidden: error looking'
            ' up service account n/nosa: serviceaccount "nosa" not found',
            'error looking up service account n/nosa: serviceaccount "nosa" not found',
        ),
        ("create Pod x-server-0 in StatefulSet x-server failed error: timed out", "timed out"),
    ],
)
def test_a_complaint_is_quoted_without_the_name_of_the_pod_that_is_another_each_time(
    message: str, quoted: str
) -> None:
    events = [
        {"reason": "FailedCreate", "message": message, "lastTimestamp": "2026-11-01T12:00:05Z"},
        {"reason": "FailedCreate", "message": "older", "lastTimestamp": "2026-11-01T12:00:00Z"},
        {"reason": "BackOff", "message": "of no help", "lastTimestamp": "2026-11-01T12:00:09Z"},
    ]
    assert views.complaint(events) == quoted
    assert views.complaint([]) == ""


def test_the_init_container_that_has_failed_is_named_and_not_one_that_waits_for_its_turn() -> None:
    turn = {"name": "later", "state": {"waiting": {"reason": "PodInitializing"}}}
    ended = {"name": "fetch", "state": {"terminated": {"exitCode": 42, "message": "no bucket"}}}
    through = {"name": "first", "state": {"terminated": {"exitCode": 0}}}
    init = views.pod(worker_pod(initContainerStatuses=[through, ended, turn])).init
    assert init is not None and (init.name, init.exit_code, init.last_words) == ("fetch", 42, "no bucket")
    assert views.pod(worker_pod(initContainerStatuses=[through, turn])).init is None


def test_the_newest_bad_end_is_kept_with_the_end_of_its_last_lines() -> None:
    def ended(name: str, code: int, minute: int, message: str = "") -> dict[str, Any]:
        end = {"exitCode": code, "finishedAt": f"2026-01-01T00:{minute:02}:00Z", "message": message}
        return container(name=name, state={"terminated": end})

    lines = "x" * 2000 + "\nthe last line"
    inits = [ended("fetch", 1, 1)]
    found = views.pod(
        worker_pod(
            initContainerStatuses=inits,
            containerStatuses=[ended("asgd", 2, 3, lines), ended("proxy", 143, 9), ended("log", 0, 9)],
        )
    )
    assert found.end is not None
    assert (found.end.container, found.end.exit_code) == ("asgd", 2), "not who was told to end, or ended well"
    assert found.end.message.endswith("\nthe last line") and len(found.end.message) == 1024
    only_init = views.pod(worker_pod(initContainerStatuses=inits, containerStatuses=[]))
    assert only_init.end is not None and only_init.end.container == "fetch"


def test_what_is_ours_of_a_child_is_read_from_the_book_of_its_fields() -> None:
    def entry(manager: str, time: str, **fields: Any) -> dict[str, Any]:
        return {"manager": manager, "operation": "Apply", "time": time, "fieldsV1": fields}

    book = [
        entry("asgd-operator", "1", mine={}),
        entry("early", "2", a={}),
        entry("late", "3", b={}),
        entry("asgd-operator-live", "4", size={}),
        entry("kube-controller-manager", "5", status={}) | {"subresource": "status"},
    ]
    metadata = {"name": "x", "uid": "u", "resourceVersion": "7", "managedFields": book}
    found = views.child({"kind": "Service", "metadata": metadata})
    assert (found.owned, found.version) == ('{"mine":{}}', "7")
    assert found.editors == (("late", '{"b":{}}'), ("early", '{"a":{}}'))
    assert views.child({"kind": "Service", "metadata": metadata | {"managedFields": []}}).owned == ""
    assert views.child({"kind": "Service", "metadata": metadata | {"managedFields": book[1:]}}).owned == "{}"
    again = views.child({"kind": "Service", "metadata": {**metadata, "uid": "v"}})
    assert again.owned is found.owned, "children of one shape share what is kept"


@pytest.mark.parametrize(("text", "count"), [("", 0), ("4", 1), ("1,3-5,7", 5), ("0-9", 10)])
def test_failed_indexes_are_counted(text: str, count: int) -> None:
    assert views.count_indexes(text) == count


def test_the_end_of_a_job_comes_with_its_reason() -> None:
    failed = {
        "type": "Failed",
        "status": "True",
        "reason": "PodFailurePolicy",
        "message": "m",
        "lastTransitionTime": "2026-11-01T12:00:00Z",
    }
    job = views.batch_job({"metadata": {"name": "x-worker", "uid": "u"}, "status": {"conditions": [failed]}})
    assert (job.failure, job.complete, job.finished) == (("PodFailurePolicy", "m"), False, True)
    assert job.finished_at is not None


def test_a_node_that_said_nothing_yet_is_unknown() -> None:
    assert views.node({"status": {}}) is None
    lost = {"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-11-01T12:00:00Z"}
    node = views.node({"status": {"conditions": [lost]}})
    assert node is not None and not node.ready


def test_servers_whose_pages_alone_are_away_count_as_ready() -> None:
    body = {"metadata": {"namespace": "n", "name": "x", "uid": "u-job"}}
    servers = views.server_set(
        {
            "kind": "StatefulSet",
            "metadata": {"name": "x-server", "uid": "u-s"},
            "spec": {"replicas": 2},
            "status": {"readyReplicas": 1},
        }
    )

    def a_server(index: int, **changes: Any) -> Any:
        made = views.pod(worker_pod(conditions=[{"type": "Ready", "status": "True"}]))
        return replace(made, role="server", index=index, name=f"x-server-{index}", **changes)

    def ready(*pods: Any) -> int:
        indices = Indices(servers={"u-job": [servers]}, pods={"u-s": list(pods)})
        found = observe(indices, views.job(body), datetime.now(UTC)).servers
        assert found is not None
        return found.ready

    assert ready(a_server(0), a_server(1)) == 2
    assert ready(a_server(0), a_server(1), a_server(2)) == 2, "no more than there are to be"
    assert ready(a_server(0), a_server(1, deletion=datetime.now(UTC))) == 1
    assert ready() == 1
